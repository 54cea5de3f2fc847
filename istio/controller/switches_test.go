package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/kill"
)

// killBook are kills without a control plane: the states are real.
type killBook struct {
	mu      sync.Mutex
	states  map[kill.Target]kill.State
	proof   Proof
	proofs  int                    // that were asked for
	second  error                  // of a revive
	unknown map[kill.Target]error  // targets that there are not
	slow    map[kill.Target]func() // before a kill
}

func newKillBook() *killBook {
	return &killBook{states: map[kill.Target]kill.State{}, unknown: map[kill.Target]error{}, slow: map[kill.Target]func(){}}
}

func (b *killBook) State(t kill.Target) kill.State {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, known := b.states[t]; known {
		return s
	}
	return kill.New(t)
}

func (b *killBook) Kill(_ context.Context, t kill.Target, o kill.Order) (kill.State, error) {
	b.mu.Lock()
	wait := b.slow[t]
	b.mu.Unlock()
	if wait != nil {
		wait()
	}
	state := b.State(t)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.unknown[t]; err != nil {
		return kill.New(t), err
	}
	b.states[t] = kill.Kill(state, o)
	return b.states[t], nil
}

func (b *killBook) Revive(_ context.Context, t kill.Target, r kill.Request) (kill.State, error) {
	state := b.State(t)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.second != nil {
		return state, b.second
	}
	next, err := kill.Revive(state, r)
	if err == nil {
		b.states[t] = next
	}
	return next, err
}

func (b *killBook) Proof() Proof {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.proofs++
	return b.proof
}

func (b *killBook) killed(t kill.Target) bool { s := b.State(t); return s.Killed }

// desk are KillSwitches without an API server.
type desk struct {
	*switches
	t     *testing.T
	kills *killBook

	mu      sync.Mutex
	objects []*v1alpha1.KillSwitch
	events  []string
	writes  func() // before a status is written
}

func newDesk(t *testing.T, objects ...*v1alpha1.KillSwitch) *desk {
	d := &desk{t: t, kills: newKillBook(), objects: objects}
	d.switches = newSwitches(&Controller{writer: &writer{}})
	s := d.switches
	s.namespace, s.leads, s.kills = "safestate-system", func() bool { return true }, d.kills
	s.problem = func(err error) { t.Errorf("told: %v", err) }
	s.list = func(context.Context) (out []*v1alpha1.KillSwitch, err error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, k := range d.objects {
			out = append(out, k.DeepCopy())
		}
		return out, nil
	}
	s.event = func(_ *v1alpha1.KillSwitch, _, reason, text string) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.events = append(d.events, reason+": "+text)
	}
	s.write = func(_ context.Context, k *v1alpha1.KillSwitch, next *v1alpha1.KillSwitchStatus) error {
		if d.writes != nil {
			d.writes()
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, one := range d.objects {
			if one.UID == k.UID {
				one.Status = *next
			}
		}
		return nil
	}
	s.beyond = func(kill.Target) []string { return nil }
	s.uncarried = func() func(kill.Target) []string { return func(kill.Target) []string { return nil } }
	return d
}

// look has the objects looked at and their statuses written, some times.
func (d *desk) look(times int) {
	d.t.Helper()
	for range times {
		if err := errors.Join(d.carryOut(d.t.Context()), d.bringBack(d.t.Context()), d.tell(d.t.Context())); err != nil {
			d.t.Fatal(err)
		}
	}
}

// edit changes the spec of the first object.
func (d *desk) edit(change func(*v1alpha1.KillSwitchSpec)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.objects[0].Spec)
	d.objects[0].Generation++
}

// says is a condition of the first object, "STATUS REASON MESSAGE".
func (d *desk) says(condition string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := meta.FindStatusCondition(d.objects[0].Status.Conditions, condition)
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s %s %s", c.Status, c.Reason, c.Message)
}

func (d *desk) wants(condition, text string) {
	d.t.Helper()
	if got := d.says(condition); !strings.Contains(got, text) {
		d.t.Errorf("%s: %q, want %q in it", condition, got, text)
	}
}

func killSwitch(version string) *v1alpha1.KillSwitch {
	k := &v1alpha1.KillSwitch{Spec: v1alpha1.KillSwitchSpec{
		Target: v1alpha1.KillTarget{Scope: v1alpha1.ScopeVersion, Model: "fraud", Version: version}, Mode: v1alpha1.KillDegrade, Reason: "scores are wrong",
	}}
	k.Namespace, k.Name, k.Generation = "models", version, 1
	k.UID = types.UID("uid-of-" + version)
	return k
}

var fraudV2 = kill.ForVersion("models/fraud", "v2")

// TestKillOnce: a KillSwitch is one kill, however often it is looked at, and one that is
// revived does not come back; its revive counts for the kill that it names.
func TestKillOnce(t *testing.T) {
	d := newDesk(t, killSwitch("v2"))
	d.look(3)
	if s := d.kills.State(fraudV2); !s.Killed || s.Generation != 1 || d.objects[0].Status.Generation != 1 || !d.objects[0].Status.Killed {
		t.Fatalf("state %+v, status %+v", s, d.objects[0].Status)
	}
	d.edit(func(k *v1alpha1.KillSwitchSpec) {
		k.Revive = &v1alpha1.KillRevive{Generation: 1, Reason: "the feed is back"}
	})
	d.look(3)
	if s := d.kills.State(fraudV2); s.Killed || s.Generation != 2 || d.objects[0].Status.Killed {
		t.Errorf("state %+v, status %+v", s, d.objects[0].Status)
	}
	d.wants("Applied", "False NotKilled")
	if want := []string{"Killed: version models/fraud/v2 is stopped (degrade): scores are wrong", "Revived: version models/fraud/v2 gets traffic again: the feed is back"}; !slices.Equal(d.events, want) {
		t.Errorf("Events %q", d.events)
	}
	proofs := d.kills.proofs
	d.look(2)
	if d.kills.proofs != proofs {
		t.Error("it is asked what is proven of what is not killed")
	}
	d.refused, d.said = map[types.UID]*metav1.Condition{}, map[types.UID]map[string]string{} // a restart
	d.look(2)
	if d.killed() {
		t.Error("a restart kills it again")
	}
}

// TestReviveNeedsASecond: where that is so an object revives nothing, asks for nothing,
// and says so once.
func TestReviveNeedsASecond(t *testing.T) {
	d := newDesk(t, killSwitch("v2"))
	d.look(1)
	d.kills.second = errors.New("a second person is needed here")
	d.edit(func(k *v1alpha1.KillSwitchSpec) {
		k.Revive = &v1alpha1.KillRevive{Generation: 1, Reason: "the feed is back"}
	})
	before := d.kills.State(fraudV2)
	d.look(5)
	after := d.kills.State(fraudV2)
	if !after.Killed || after.Asked != nil || after.Sequence != before.Sequence {
		t.Errorf("it was %+v, and is %+v", before, after)
	}
	d.wants("Accepted", "False ReviveRefused a second person is needed here")
	if len(d.events) != 2 || d.events[1] != "ReviveRefused: a second person is needed here" {
		t.Errorf("Events %q", d.events)
	}
	d.edit(func(k *v1alpha1.KillSwitchSpec) { k.Revive = nil })
	d.look(1)
	d.wants("Accepted", "True Accepted")
}

// TestKillModes: each change of an object's mode is carried out, also back to one that it
// had before; a change of something else leaves what a person has chosen since.
func TestKillModes(t *testing.T) {
	d := newDesk(t, killSwitch("v2"))
	d.look(2)
	for n, mode := range []v1alpha1.KillMode{v1alpha1.KillBlackhole, v1alpha1.KillDegrade, v1alpha1.KillBlackhole} {
		d.edit(func(k *v1alpha1.KillSwitchSpec) { k.Mode = mode })
		d.look(3)
		if s := d.kills.State(fraudV2); string(s.Mode) != strings.ToLower(string(mode)) || s.Generation != uint64(n+2) {
			t.Errorf("%s: %+v", mode, s)
		}
	}
	if _, err := d.kills.Kill(t.Context(), fraudV2, kill.Order{ID: "ann's", At: time.Now(), By: "ann", Reason: "worse than that", Mode: kill.Default}); err != nil {
		t.Fatal(err)
	}
	d.edit(func(k *v1alpha1.KillSwitchSpec) { k.Reason = "scores are 0" })
	d.look(2)
	if s := d.kills.State(fraudV2); s.Mode != kill.Default {
		t.Errorf("another reason makes it %+v", s)
	}
	d.wants("Accepted", "True Accepted ann has killed it since, with mode default: worse than that")
}

// TestKillWaitsForNothing: neither a status that is not written, nor another kill that
// takes its time, holds up a kill.
func TestKillWaitsForNothing(t *testing.T) {
	stuck := make(chan struct{})
	d := newDesk(t, killSwitch("v1"))
	d.writes = func() { <-stuck }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.run(ctx)
	}()
	defer func() {
		cancel()
		close(stuck)
		<-ended
	}()
	d.stir()
	eventually(t, "the first is killed", func() bool { return d.kills.killed(kill.ForVersion("models/fraud", "v1")) })
	d.kills.mu.Lock()
	d.kills.slow[kill.ForVersion("models/fraud", "v0")] = func() { <-stuck }
	d.kills.mu.Unlock()
	d.mu.Lock()
	d.objects = append(d.objects, killSwitch("v0"), killSwitch("v2"))
	d.mu.Unlock()
	d.stir()
	eventually(t, "the others are killed", func() bool { return d.kills.killed(fraudV2) })
}

// TestKillOfNothing: what is not there is not killed, is told of once, and killed when it
// comes.
func TestKillOfNothing(t *testing.T) {
	d := newDesk(t, killSwitch("v2"))
	d.kills.unknown[fraudV2] = errors.New("there is no such target")
	d.look(3)
	d.wants("Accepted", "False Invalid there is no such target")
	if len(d.events) != 1 || d.objects[0].Status.Generation != 0 {
		t.Errorf("Events %q, status %+v", d.events, d.objects[0].Status)
	}
	delete(d.kills.unknown, fraudV2)
	d.look(2)
	d.wants("Accepted", "True Accepted")
	if !d.killed() {
		t.Error("it is not killed")
	}
	d.objects[0].Spec.Target = v1alpha1.KillTarget{Scope: v1alpha1.ScopeAll}
	d.look(1)
	d.wants("Accepted", "False Invalid scope All stops every namespace: want it in namespace safestate-system")
}

// TestStatusBeforeKill: a target that is killed already is not noted as that of a
// KillSwitch whose own kill is due still.
func TestStatusBeforeKill(t *testing.T) {
	d := newDesk(t, killSwitch("v2"))
	if _, err := d.kills.Kill(t.Context(), fraudV2, kill.Order{ID: "ann's", At: time.Now(), By: "ann", Reason: "a test"}); err != nil {
		t.Fatal(err)
	}
	if err := d.tell(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d.objects[0].Status.Generation != 0 {
		t.Errorf("status %+v", d.objects[0].Status)
	}
	d.look(1)
	if s := d.kills.State(fraudV2); s.Generation != 2 || d.objects[0].Status.Generation != 2 {
		t.Errorf("state %+v, status %+v", s, d.objects[0].Status)
	}
}

// TestApplied: a kill is applied once all that are expected show it, a proxy that it
// concerns among them, and every route of it is carried.
func TestApplied(t *testing.T) {
	heard := map[kill.Target]bool{fraudV2: true}
	for _, c := range []struct {
		proof             Proof
		beyond, uncarried []string
		want              string
	}{
		{Proof{Expected: 3, Proven: 3, Heard: heard}, nil, nil, "True Proven 3 of 3 show it"},
		{Proof{Expected: 3, Proven: 2, Missing: "gw-1 (it is slow)", Heard: heard}, nil, nil, "False Unproven 2 of 3 show it; not gw-1 (it is slow)"},
		{Proof{Expected: 2, Proven: 2}, nil, nil, "Unknown Unheard 2 of 2 show it; no proxy is among them"},
		{Proof{Expected: 2, Proven: 2, Heard: map[kill.Target]bool{kill.Everything: true}}, nil, nil, "Unknown Unheard"},
		{Proof{Expected: 3, Proven: 3, Heard: heard}, nil, []string{"models/fraud/score: it clashes"}, "False NotCarried 3 of 3 show it; it is not carried by models/fraud/score: it clashes"},
		{Proof{Expected: 3, Proven: 3, Heard: heard}, []string{"HTTPRoute a/b"}, nil, "False OutOfReach 3 of 3 show it; it does not reach HTTPRoute a/b"},
	} {
		d := newDesk(t, killSwitch("v2"))
		d.kills.proof = c.proof
		d.beyond = func(kill.Target) []string { return c.beyond }
		d.uncarried = func() func(kill.Target) []string { return func(kill.Target) []string { return c.uncarried } }
		d.look(1)
		if got := d.says("Applied"); !strings.HasPrefix(got, c.want) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func (d *desk) killed() bool { return d.kills.killed(fraudV2) }
