package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/audit"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store/storetest"
)

// trail remembers entries, and refuses them while it is broken.
type trail struct {
	mu      sync.Mutex
	entries []audit.Entry
	broken  error
}

func (l *trail) Append(_ context.Context, e audit.Entry) (audit.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return e, l.broken
	}
	for _, old := range l.entries {
		if e.ID != "" && old.ID == e.ID {
			return old, nil
		}
	}
	l.entries = append(l.entries, e)
	return e, nil
}

func (l *trail) breaks(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = err
}

// kinds are those of the entries about kills, in order.
func (l *trail) kinds() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, e := range l.entries {
		if strings.HasPrefix(e.ID, "kill/") {
			out = append(out, string(e.Kind))
		}
	}
	return strings.Join(out, " ")
}

var theModel = kill.ForModel(fraud)

func stopping(id string) kill.Order {
	return kill.Order{ID: id, At: time.Now().UTC(), By: "on-call", Reason: "wrong answers"}
}

func reviving(generation uint64) kill.Request {
	return kill.Request{At: time.Now().UTC(), By: "lead", Reason: "mended", Generation: generation}
}

// replica runs a control plane on a shared store that can be cut off.
func replica(t *testing.T, m *storetest.Memory, dir, name string, l *trail) (*bench, *storetest.Client) {
	t.Helper()
	client := m.Open()
	return startWith(t, dir, name, client, func(o *Options) { o.Trail = l }), client
}

// replicaCutOff is one that starts while it does not reach the store.
func replicaCutOff(t *testing.T, m *storetest.Memory, dir, name string, l *trail) (*bench, *storetest.Client) {
	t.Helper()
	client := m.Open()
	client.Cut(true)
	return startWith(t, dir, name, client, func(o *Options) { o.Trail, o.FirstRead = l, 200*time.Millisecond }), client
}

// weight is what the proxies are told of a version.
func (b *bench) weight(version string) uint32 {
	b.control.publishing.Lock()
	defer b.control.publishing.Unlock()
	files := b.control.rendered.files
	if files == nil {
		return 0
	}
	s := files.WithReleases(b.control.rendered.releases).WithKills(b.control.rendered.kills, time.Now())
	for _, backend := range s.Routes[0].Backends {
		if strings.HasSuffix(backend.Cluster, "/"+version) {
			return backend.Weight
		}
	}
	return 0
}

func TestKillAndReviveOfAModel(t *testing.T) {
	m, l := storetest.NewMemory(5*time.Second), &trail{}
	b, _ := replica(t, m, t.TempDir(), "one", l)
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	state, where, err := b.control.Kill(t.Context(), theModel, stopping("1"))
	if err != nil || where != InStore || !state.Killed || state.Generation != 1 {
		t.Fatalf("%+v in %s, %v", state, where, err)
	}
	if n := b.weight("v1"); n != 0 {
		t.Errorf("killed, and v1 has %d", n)
	}
	if set, _ := b.control.KillsInForce().Load(); !set.Of("", fraud, "v1", time.Now()).Killed {
		t.Error("the hosts are not told")
	}
	if _, err := b.control.Revive(t.Context(), theModel, reviving(7)); !errors.Is(err, kill.ErrRefused) {
		t.Errorf("a revive of another generation: %v", err)
	}
	if _, err := b.control.Revive(t.Context(), theModel, reviving(1)); err != nil {
		t.Fatal(err)
	}
	if n := b.weight("v1"); n != 100 {
		t.Errorf("revived, and v1 has %d", n)
	}
	if got := l.kinds(); got != "kill revive" {
		t.Errorf("trail: %s", got)
	}
	for _, bad := range []kill.Target{kill.ForModel("default/none"), kill.ForVersion(fraud, "v9"), kill.ForRoute("default/fraud/none"), {Scope: "pod"}} {
		if _, where, err := b.control.Kill(t.Context(), bad, stopping("2")); err == nil || where != "" {
			t.Errorf("%v: %s, %v", bad, where, err)
		}
	}
}

// With the store away a kill is in force at once, on this replica's disk, and kept
// by a restart; when the store is back it has it, though somebody revived meanwhile.
func TestAKillWithoutTheStore(t *testing.T) {
	m, dir, l, theirs := storetest.NewMemory(5*time.Second), t.TempDir(), &trail{}, &trail{}
	world := newModels(t)
	b, link := replica(t, m, dir, "one", l)
	b.configure(world.world(t, one, 1, 100, unedited))
	other, _ := replica(t, m, t.TempDir(), "two", theirs)
	other.configure(world.world(t, one, 1, 100, unedited))
	if _, _, err := other.control.Kill(t.Context(), theModel, stopping("1")); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return b.weight("v1") == 0 }) {
		t.Fatal("the other replica's kill did not come")
	}
	link.Cut(true)
	state, where, err := b.control.Kill(t.Context(), theModel, stopping("2"))
	if err != nil || where != InCopy || !state.Killed || state.Generation != 2 {
		t.Fatalf("%+v in %s, %v", state, where, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, killFile)); err != nil || !strings.Contains(string(text), `"2"`) {
		t.Errorf("on the disk: %s, %v", text, err)
	}
	if _, err := b.control.Revive(t.Context(), theModel, reviving(2)); err == nil {
		t.Error("revived without the store")
	}
	if _, err := other.control.Revive(t.Context(), theModel, reviving(1)); err != nil {
		t.Fatal(err)
	}
	b.stop()

	b, link = replicaCutOff(t, m, dir, "one", l)
	if s := b.control.kills.get(theModel).state; !s.Killed {
		t.Fatalf("a restart forgot it: %+v", s)
	}
	link.Cut(false)
	if !eventually(func() bool { s := other.control.kills.get(theModel).state; return s.Killed && s.Generation > 2 }) {
		t.Fatalf("the store has %+v", other.control.kills.get(theModel).state)
	}
	if n := other.weight("v1"); n != 0 {
		t.Errorf("v1 has %d at the other replica", n)
	}
	if !eventually(func() bool {
		return strings.HasPrefix(l.kinds(), "kill") && strings.Contains(l.kinds()+theirs.kinds(), "merge")
	}) {
		t.Errorf("trails: %s and %s", l.kinds(), theirs.kinds())
	}
	if s := b.control.kills.get(theModel).state; !s.Killed {
		t.Errorf("the replica that took it has %+v", s)
	}
}

// A disk that hangs takes neither the store's write nor the local copy's: the proxies
// are told before it is waited for, and whoever kills, as the leader does, is not held
// up for good.
func TestAKillWhileTheDiskHangs(t *testing.T) {
	m := storetest.NewMemory(5 * time.Second)
	b, link := replica(t, m, t.TempDir(), "one", &trail{})
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	goesOn, copied := make(chan struct{}), b.control.kills.copy
	patient := func(d time.Duration) {
		copied.mu.Lock()
		defer copied.mu.Unlock()
		copied.patience = d
		copied.replace = func(path string, text []byte) error {
			<-goesOn
			return replaceFile(path, text)
		}
	}
	link.Cut(true)
	patient(10 * time.Millisecond)
	state, where, err := b.control.Kill(t.Context(), kill.ForVersion(fraud, "v2"), stopping("1"))
	if where != InMemory || !errors.Is(err, errDiskHangs) || !state.Killed {
		t.Errorf("%+v in %s, %v", state, where, err)
	}
	if !slices.ContainsFunc(b.control.troubles(), func(x admin.Trouble) bool { return strings.Contains(x.What, "what is killed: ") }) {
		t.Errorf("status does not say it: %+v", b.control.troubles())
	}
	patient(time.Hour)
	killed := make(chan Durability, 1)
	go func() {
		_, where, err := b.control.Kill(t.Context(), theModel, stopping("2"))
		if err != nil {
			t.Error(err)
		}
		killed <- where
	}()
	if !eventually(func() bool { return b.weight("v1") == 0 }) {
		t.Error("the proxies are not told while the disk is waited for")
	}
	close(goesOn)
	if where := <-killed; where != InCopy {
		t.Errorf("the disk goes on: in %s", where)
	}
}

// A trail that takes nothing keeps nobody from killing, and says so; it gets the
// entry when it can.
func TestAKillThatTheTrailDoesNotTake(t *testing.T) {
	m, l := storetest.NewMemory(5*time.Second), &trail{broken: errors.New("the disk is full")}
	b, _ := replica(t, m, t.TempDir(), "one", l)
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	state, where, err := b.control.Kill(t.Context(), kill.Everything, stopping("1"))
	if err == nil || !strings.Contains(err.Error(), "disk is full") || where != InStore || !state.Killed || b.weight("v1") != 0 {
		t.Errorf("%+v in %s, %v", state, where, err)
	}
	l.breaks(nil)
	if !eventually(func() bool { return l.kinds() == "kill" }) {
		t.Errorf("trail: %q", l.kinds())
	}
}

// One order is one kill, however often it is sent: also after its revive.
func TestAnOrderThatComesTwice(t *testing.T) {
	m, l := storetest.NewMemory(5*time.Second), &trail{}
	b, _ := replica(t, m, t.TempDir(), "one", l)
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	for range 2 {
		if s, _, err := b.control.Kill(t.Context(), theModel, stopping("1")); err != nil || s.Generation != 1 {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	if _, err := b.control.Revive(t.Context(), theModel, reviving(1)); err != nil {
		t.Fatal(err)
	}
	if s, _, err := b.control.Kill(t.Context(), theModel, stopping("1")); err != nil || s.Killed {
		t.Errorf("a late repeat: %+v, %v", s, err)
	}
}

// Many at once, of many targets: none is lost.
func TestManyKillsAtOnce(t *testing.T) {
	m, l := storetest.NewMemory(5*time.Second), &trail{}
	world := newModels(t)
	a, _ := replica(t, m, t.TempDir(), "one", l)
	a.configure(world.world(t, one, 1, 100, unedited))
	b, _ := replica(t, m, t.TempDir(), "two", &trail{})
	b.configure(world.world(t, one, 1, 100, unedited))
	targets := []kill.Target{theModel, kill.Everything, kill.ForVersion(fraud, "v1"), kill.ForVersion(fraud, "v2")}
	var running sync.WaitGroup
	for i := range 40 {
		running.Go(func() {
			who := []*bench{a, b}[i%2]
			if _, where, err := who.control.Kill(t.Context(), targets[i%len(targets)], stopping(string(rune('a'+i)))); err != nil || where == "" {
				t.Errorf("%s, %v", where, err)
			}
		})
	}
	running.Wait()
	for _, target := range targets {
		if !eventually(func() bool {
			x, y := a.control.kills.get(target).state, b.control.kills.get(target).state
			return x.Killed && y.Killed && x.Generation == y.Generation && len(x.Seen) == 10 && len(y.Seen) == 10
		}) {
			t.Errorf("%v: %+v and %+v", target, a.control.kills.get(target).state, b.control.kills.get(target).state)
		}
	}
}

// What has left the files may still have traffic, by a proxy that is cut off: it can be
// killed, and more strictly than before. What nobody has heard of is a mistake.
func TestAKillOfWhatHasLeftTheFiles(t *testing.T) {
	m, dir := storetest.NewMemory(5*time.Second), t.TempDir()
	models := newModels(t)
	before := models.world(t, one, 1, 100, unedited)
	b, _ := replica(t, m, dir, "one", &trail{})
	b.configure(before)
	b.kill(theModel, "1")
	b.until("the versions are registered", func(s release.State) bool { return len(s.Versions) > 1 })
	after := models.elsewhere(t, unedited)
	b.configure(after)
	v2, rule := kill.ForVersion(fraud, "v2"), kill.ForRoute(before.Routes[0].Name)
	for i, target := range []kill.Target{theModel, v2, rule} {
		order := stopping(fmt.Sprint("late", i))
		order.Mode = kill.Blackhole
		if state, where, err := b.control.Kill(t.Context(), target, order); err != nil || where != InStore || state.Mode != kill.Blackhole {
			t.Errorf("%s: %+v in %s, %v", target, state, where, err)
		}
	}
	for _, none := range []kill.Target{kill.ForModel("default/none"), kill.ForVersion(fraud, "v9"), kill.ForVersion("default/none", "v1"), kill.ForRoute("default/none/score")} {
		if _, where, err := b.control.Kill(t.Context(), none, stopping("none")); !errors.Is(err, ErrNoTarget) || where != "" {
			t.Errorf("%s: in %s, %v", none, where, err)
		}
	}
	b.stop()

	b, _ = replica(t, m, dir, "one", &trail{})
	b.configure(after)
	b.kill(kill.ForVersion(fraud, "v1"), "after a restart")
	b.kill(rule, "after a restart")
}
