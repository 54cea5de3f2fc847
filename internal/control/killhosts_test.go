package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/feed"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/signing"
	"github.com/safestate/safestate/internal/store/storetest"
)

// rowsOf writes processors' rows down.
func rowsOf(rows []admin.KillRow) string {
	var out []string
	for _, r := range rows {
		if r.Kind != kindProcessor {
			continue
		}
		line := r.Node + " " + string(r.State)
		if r.InFlight > 0 {
			line += fmt.Sprintf(" %d", r.InFlight)
		}
		out = append(out, line)
	}
	return strings.Join(out, "; ")
}

// TestProcessorRows: a processor is proven by its ACK and its report together,
// whichever replicas have them.
func TestProcessorRows(t *testing.T) {
	const set = "s2"
	one := func(state admin.KillStep, streams int) processor {
		return processor{Node: "safestate-extproc/one", Replica: "a", State: state, How: "it", Streams: streams}
	}
	enforces := func(name string, open uint64) hostWord { return hostWord{Name: name, Set: set, InFlight: open} }
	for _, x := range []struct {
		name  string
		hosts killHosts
		want  string
	}{
		{"nobody is there", killHosts{}, ""},
		{"it has taken them, and reports so", killHosts{Processors: []processor{one(admin.StepAcked, 1)}, Words: []hostWord{enforces("one/x", 0)}}, "safestate-extproc/one proven"},
		{"it has requests open", killHosts{Processors: []processor{one(admin.StepAcked, 1)}, Words: []hostWord{enforces("one/x", 3)}}, "safestate-extproc/one acked 3"},
		{"it has not reported", killHosts{Processors: []processor{one(admin.StepAcked, 1)}}, "safestate-extproc/one acked"},
		{"it reports others still", killHosts{Processors: []processor{one(admin.StepAcked, 1)}, Words: []hostWord{{Name: "one/x", Set: "s1"}}}, "safestate-extproc/one acked"},
		{"its report came before its ACK", killHosts{Processors: []processor{one(admin.StepPushed, 1)}, Words: []hostWord{enforces("one/x", 0)}}, "safestate-extproc/one pushed"},
		{"it refuses them", killHosts{Processors: []processor{one(admin.StepRefused, 1)}, Words: []hostWord{{Name: "one/x", Set: "s1"}}}, "safestate-extproc/one refused"},
		{"it is cut off before", killHosts{Processors: []processor{one(admin.StepSilent, 0)}, Words: []hostWord{{Name: "one/x", Set: "s1", Silent: true}}}, "safestate-extproc/one silent"},
		{"it is cut off since it took them", killHosts{Processors: []processor{one(admin.StepAcked, 0)}}, "safestate-extproc/one silent"},
		{"it is cut off since it was proven", killHosts{Processors: []processor{one(admin.StepAcked, 0)}, Words: []hostWord{{Name: "one/x", Set: set, Silent: true, Lost: true}}}, "safestate-extproc/one proven"},
		{"it has begun anew", killHosts{Processors: []processor{one(admin.StepAcked, 1)}, Words: []hostWord{{Name: "one/old", Set: "s1", InFlight: 7, Silent: true}, enforces("one/new", 0)}}, "safestate-extproc/one proven"},
		{"two have one name, and one is open", killHosts{Processors: []processor{one(admin.StepAcked, 2)}, Words: []hostWord{enforces("one/x", 0)}}, "safestate-extproc/one acked"},
		{"two have one name", killHosts{Processors: []processor{one(admin.StepAcked, 2)}, Words: []hostWord{enforces("one/x", 0), enforces("one/y", 0)}}, "safestate-extproc/one proven"},
		{"two replicas have heard its reports", killHosts{Processors: []processor{one(admin.StepAcked, 1)}, Words: []hostWord{enforces("one/x", 2), enforces("one/x", 0), {Name: "one/x", Set: "s1"}}}, "safestate-extproc/one proven"},
		{"two replicas have known it", killHosts{Processors: []processor{one(admin.StepSilent, 0), one(admin.StepAcked, 1)}, Words: []hostWord{enforces("one/x", 0)}}, "safestate-extproc/one proven"},
		{"below a name in its certificate", killHosts{Processors: []processor{{Node: "spiffe://m/h/safestate-extproc/one", State: admin.StepAcked, Streams: 1}}, Words: []hostWord{enforces("one/x", 0)}}, "spiffe://m/h/safestate-extproc/one proven"},
		{"in a control plane's process", killHosts{Words: []hostWord{enforces("all-1/x", 0)}}, "all-1 proven"},
		{"in a control plane's process, busy", killHosts{Words: []hostWord{enforces("all-1/x", 1)}}, "all-1 acked 1"},
		{"in one that is behind", killHosts{Words: []hostWord{{Name: "all-1/x", Set: "s1"}}}, "all-1 pushed"},
		{"in one that is silent", killHosts{Words: []hostWord{{Name: "all-1/x", Set: "s1", Silent: true}}}, "all-1 silent"},
		{"in one that has died", killHosts{Words: []hostWord{{Name: "all-1/x", Set: "s1", Silent: true, Lost: true}}}, ""},
		{"in replicas that had no room for all", killHosts{Words: []hostWord{enforces("one/x", 0)}, More: 1}, "(processors not named) pushed; one proven"},
		{"of an older build", killHosts{Words: []hostWord{{Name: "old/x"}}}, "old pushed"},
	} {
		if got := rowsOf(x.hosts.rows(set)); got != x.want {
			t.Errorf("%s: %q, want %q", x.name, got, x.want)
		}
	}
}

// apart is a processor that runs apart, without what it judges.
type apart struct {
	enforced *feed.Enforced
	reporter *signals.Reporter
	keys     signing.Keys
	end      func() // as a process ends
	cut      func() // as a network does
}

func (b *bench) apart(name string) *apart {
	b.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	g := grpc.NewServer()
	b.xds.Register(g)
	b.hub.Register(g)
	go func() { _ = g.Serve(l) }()
	a := &apart{cut: g.Stop}
	if a.enforced, err = feed.OpenEnforced("", nil); err != nil {
		b.t.Fatal(err)
	}
	trusted, err := feed.OpenTrusted("", &a.keys, "test", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	a.reporter = signals.NewReporter(signals.ReporterOptions{
		Name: name, Links: []signals.Link{signals.Dial(signals.DialOptions{Targets: []string{l.Addr().String()}, Credentials: insecure.NewCredentials()})},
		Kills: func() signals.InForce {
			set, changed := a.enforced.Live().Load()
			return signals.InForce{Set: compile.KillsOf(set).Enforced, Changed: changed, Stops: func(route, model, version string) bool {
				return set.Of(route, model, version, time.Time{}).Killed
			}}
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		feed.Run(ctx, feed.Options{
			Node: feed.Node("", name), Targets: []string{l.Addr().String()}, Credentials: insecure.NewCredentials(),
			Take: map[string]func(string) error{feed.Kills: a.enforced.Take, feed.PolicyKeys: trusted.Take},
		})
	}()
	a.end = sync.OnceFunc(func() {
		cancel()
		<-ended
		a.reporter.Close()
	})
	b.t.Cleanup(func() {
		a.end()
		g.Stop()
	})
	return a
}

// processors waits until a proof's rows of processors are as they should be.
func (b *bench) processors(target kill.Target, want string) {
	b.t.Helper()
	var rows []admin.KillRow
	if !eventually(func() bool {
		rows = b.control.KillProof(target).Rows
		rows = slices.DeleteFunc(rows, func(r admin.KillRow) bool { return r.Node == "test" }) // of the bench
		return rowsOf(rows) == want
	}) {
		b.t.Fatalf("the processors are %q, want %q\n%+v", rowsOf(rows), want, rows)
	}
}

func (b *bench) kill(target kill.Target, id string) {
	b.t.Helper()
	if _, _, err := b.control.Kill(b.t.Context(), target, stopping(id)); err != nil {
		b.t.Fatal(err)
	}
}

// TestProcessorsApart: a processor that runs apart is told what is killed, is proven
// when it enforces that with nothing in flight, and named when it is cut off.
func TestProcessorsApart(t *testing.T) {
	b := start(t, t.TempDir())
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	a := b.apart("one")
	rows := a.reporter.Rows("default/fraud/score", fraud, "v1")
	elsewhere := a.reporter.Rows("default/rank/score", "default/rank", "v1")
	rows.Open()
	elsewhere.Open()
	b.kill(theModel, "k1")
	b.processors(theModel, "safestate-extproc/one acked 1")
	if set, _ := a.enforced.Live().Load(); !set.Get(theModel).Killed || set.Get(theModel).Reason != "" {
		t.Errorf("it enforces %+v", set.All())
	}
	rows.Done()
	b.processors(theModel, "safestate-extproc/one proven")
	var conflict admin.Problem
	ask(t, admin.New(admin.Options{Control: b.api()}), http.MethodPost, "/v1/proxies/safestate-extproc%2Fone/deregister", `{"reason":"it is here"}`, http.StatusConflict, &conflict)
	if _, err := b.control.Revive(t.Context(), theModel, reviving(1)); err != nil {
		t.Fatal(err)
	}
	b.processors(theModel, "safestate-extproc/one proven")
	a.cut()
	b.kill(theModel, "k2")
	b.processors(theModel, "safestate-extproc/one silent")
	h := admin.New(admin.Options{Control: b.api()})
	var p admin.Problem
	ask(t, h, http.MethodPost, "/v1/proxies/safestate-extproc%2Fnone/deregister", `{"reason":"a typo"}`, http.StatusNotFound, &p)
	if !strings.Contains(p.Hint, "safestate-extproc/one") {
		t.Errorf("%+v", p)
	}
	var done admin.Done
	ask(t, h, http.MethodPost, "/v1/proxies/safestate-extproc%2Fone/deregister", `{"reason":"scrapped"}`, http.StatusOK, &done)
	b.processors(theModel, "one pushed") // its reports are heard of another set still, for some seconds
	if p := b.control.proofs.proxies(); len(p.Proxies) > 0 || p.Expected > 0 {
		t.Errorf("a processor is among the proxies: %+v", p)
	}
}

// TestProcessorThatKnowsMore refuses what is older, and stays so in the proof.
func TestProcessorThatKnowsMore(t *testing.T) {
	b := start(t, t.TempDir())
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	a := b.apart("one")
	b.kill(theModel, "k1")
	b.processors(theModel, "safestate-extproc/one proven")
	if err := a.enforced.Take(`[{"target":{"scope":"model","name":"default/fraud"},"generation":9,"killed":true,"mode":"blackhole"}]`); err != nil {
		t.Fatal(err)
	}
	if _, err := b.control.Revive(t.Context(), theModel, reviving(1)); err != nil {
		t.Fatal(err)
	}
	b.processors(theModel, "safestate-extproc/one refused")
	for _, r := range b.control.KillProof(theModel).Rows {
		if r.State == admin.StepRefused && !strings.Contains(r.How, "model default/fraud is at generation 9 (killed, blackhole), and this says 2 (not killed)") {
			t.Errorf("it says %q", r.How)
		}
	}
}

// TestProcessorThatLeaves is not missed, here and by a replica that knew of it from
// the store alone; one that is not back after a restart is.
func TestProcessorThatLeaves(t *testing.T) {
	m := storetest.NewMemory(5 * time.Second)
	b, _ := replica(t, m, t.TempDir(), "one", &trail{})
	w := newModels(t).world(t, one, 1, 100, unedited)
	b.configure(w)
	goes, stays := b.apart("goes"), b.apart("stays")
	b.kill(theModel, "k1")
	b.processors(theModel, "safestate-extproc/goes proven; safestate-extproc/stays proven")
	registered := func(want ...string) {
		t.Helper()
		if !eventually(func() bool {
			r := b.control.register
			r.mu.Lock()
			defer r.mu.Unlock()
			return slices.Equal(sortedKeys(r.list.Seen), want)
		}) {
			t.Fatalf("want %v registered", want)
		}
	}
	registered("safestate-extproc/goes", "safestate-extproc/stays")
	other, _ := replica(t, m, t.TempDir(), "two", &trail{})
	other.configure(w)
	goes.end()
	b.processors(theModel, "safestate-extproc/stays proven")
	registered("safestate-extproc/stays")
	other.processors(theModel, "safestate-extproc/stays proven")
	stays.cut()
	b.stop()
	other.kill(theModel, "k2")
	other.processors(theModel, "safestate-extproc/stays silent")
}

// TestKeysForHosts: hosts that run apart are told whose policies to take, and a key
// is not at those that have not taken it.
func TestKeysForHosts(t *testing.T) {
	key := func(b byte) signing.Public {
		k, err := signing.FromSeed([]byte(strings.Repeat(string(rune(b)), 32)))
		if err != nil {
			t.Fatal(err)
		}
		return k.Public()
	}
	var mu sync.Mutex
	keys := []signing.Public{key('a')}
	b := startWith(t, t.TempDir(), "one", storetest.NewMemory(5*time.Second).Open(), func(o *Options) {
		o.Keys = func() []signing.Public {
			mu.Lock()
			defer mu.Unlock()
			return keys
		}
	})
	b.configure(newModels(t).world(t, one, 1, 100, unedited))
	if lack := b.control.HostsWithout(key('a').ID); len(lack) > 0 {
		t.Errorf("there is no host, and %v lack it", lack)
	}
	a := b.apart("one")
	has := func(id string) bool { return slices.Contains(a.keys.Current().IDs(), id) }
	if !eventually(func() bool { return has(key('a').ID) && len(b.control.HostsWithout(key('a').ID)) == 0 }) {
		t.Fatalf("the host trusts %v, lacking: %v", a.keys.Current().IDs(), b.control.HostsWithout(key('a').ID))
	}
	if lack := b.control.HostsWithout(key('b').ID); len(lack) != 1 {
		t.Errorf("nobody has the next key, and %v lack it", lack)
	}
	mu.Lock()
	keys = append(slices.Clone(keys), key('b'))
	mu.Unlock()
	if !eventually(func() bool { return has(key('b').ID) && len(b.control.HostsWithout(key('b').ID)) == 0 }) {
		t.Fatalf("the host trusts %v, lacking: %v", a.keys.Current().IDs(), b.control.HostsWithout(key('b').ID))
	}
	a.cut()
	mu.Lock()
	keys = append(slices.Clone(keys), key('c'))
	mu.Unlock()
	want := "processor safestate-extproc/one: silent"
	if !eventually(func() bool { l := b.control.HostsWithout(key('c').ID); return len(l) == 1 && l[0] == want }) {
		t.Errorf("lacking: %v, want %s", b.control.HostsWithout(key('c').ID), want)
	}
}

// What a statement has no room for is missing in the proof of every other replica, and
// is said to be.
func TestProcessorsThatAStatementHasNoRoomFor(t *testing.T) {
	const set = "s2"
	var all killHosts
	for i := range mostWords + 3 {
		name := fmt.Sprintf("host-%d", i)
		all.Processors = append(all.Processors, processor{Node: "safestate-extproc/" + name, State: admin.StepAcked, How: "ACKed", Streams: 1})
		all.Words = append(all.Words, hostWord{Name: name + "/x", Set: set})
	}
	p := proofsOn(t)
	p.kills = func() killStatement { return killStatement{Set: set, Hosts: all.short(mostWords)} }
	for _, fill := range []string{"", strings.Repeat("x", 600)} { // the second is over what a store takes
		for i := range all.Processors {
			all.Processors[i].How += fill
		}
		var said statement
		if err := json.Unmarshal(p.statement(), &said); err != nil {
			t.Fatal(err)
		}
		var here killHosts
		said.Kills.Hosts.addTo(&here, true)
		unproven := slices.DeleteFunc(here.rows(set), func(r admin.KillRow) bool { return r.State == admin.StepProven })
		if len(unproven) != 1 || !strings.Contains(unproven[0].How, fmt.Sprint(2*len(all.Words)-len(said.Kills.Hosts.Words)-len(said.Kills.Hosts.Processors))) {
			t.Errorf("%d named: %+v", len(said.Kills.Hosts.Words), unproven)
		}
	}
}
