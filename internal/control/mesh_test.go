package control

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/signals/signalsv1"
	"github.com/safestate/safestate/internal/store/etcd"
)

// carriedMesh keeps what was published last.
type carriedMesh struct {
	mu   sync.Mutex
	last *compile.Snapshot
}

func (m *carriedMesh) Publish(s *compile.Snapshot, _ func(route, namespace, policy string) string, _ string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = s
}

func (*carriedMesh) Lead(bool) {}

func (*carriedMesh) Written(context.Context, string) iter.Seq[map[string]error] {
	return func(yield func(map[string]error) bool) { yield(nil) }
}

// mark is the mark of the kills that a route was published with.
func (m *carriedMesh) mark(t *testing.T) uint64 {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.last.Judged() {
		if r.Name == scored {
			return r.KillMark
		}
	}
	t.Fatal("the route is not published")
	return 0
}

const scored = "default/fraud/score"

// gateway is a proxy whose requests a processor tells of.
type gateway struct {
	t        *testing.T
	hub      *signals.Hub
	sequence uint64
}

// shows has a processor tell of a request on the route that came by a mark.
func (g *gateway) shows(mark uint64) {
	g.t.Helper()
	g.sequence++
	now := uint64(time.Now().UnixNano())
	err := g.hub.Deliver(&signalsv1.Report{Reporter: "processor/1", Epoch: 1, Sequence: g.sequence, Sent: now, Counts: []*signalsv1.Counts{{
		Node: "models/gateway", Route: scored, Model: fraud, Version: "v2", Asked: g.sequence, Clean: 0, LastAsked: now, Policy: 1, Kills: mark, Marked: now,
	}}})
	if err != nil {
		g.t.Fatal(err)
	}
}

// TestMeshProof: that a proxy has shown kills of before proves nothing of those of now,
// not even where these are fewer, and neither does one that no request has met.
func TestMeshProof(t *testing.T) {
	dir := t.TempDir()
	s, err := etcd.Open(t.Context(), etcd.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	mesh := &carriedMesh{}
	processors := xds.New(xds.Options{ProcessorsOnly: true})
	defer processors.Close()
	b := startWith(t, dir, "one", s, func(o *Options) { o.Mesh, o.XDS = mesh, processors })
	defer b.stop()
	models := newModels(t)
	b.configure(models.world(t, one, 1, 100, unedited))
	v2, v3 := kill.ForVersion(fraud, "v2"), kill.ForVersion(fraud, "v3")
	stop := func(target kill.Target, id string) {
		t.Helper()
		if _, _, err := b.control.Kill(t.Context(), target, kill.Order{ID: id, At: time.Now(), By: "ann", Reason: "a test"}); err != nil {
			t.Fatal(err)
		}
	}
	proxies := func() (proven, expected int, heard map[kill.Target]bool) {
		proof, heard := b.control.MeshProof()
		for _, r := range proof.Rows {
			if r.Kind == kindProxy {
				expected++
				if r.State == admin.StepProven {
					proven++
				}
			}
		}
		return proven, expected, heard
	}
	want := func(what string, proven, expected int, heardOf bool) {
		t.Helper()
		gotProven, gotExpected, heard := proxies()
		if gotProven != proven || gotExpected != expected || heard[v2] != heardOf || heard[v3] != heardOf {
			t.Errorf("%s: %d of %d proxies show it, heard of %v", what, gotProven, gotExpected, heard)
		}
	}
	for n := range 3 {
		stop(v2, fmt.Sprintf("v2-%d", n))
	}
	want("no request", 0, 0, false)
	gw := &gateway{t: t, hub: b.hub}
	gw.shows(0)
	want("by no kill", 0, 1, true)
	many := mesh.mark(t)
	gw.shows(many)
	want("by the kills", 1, 1, true)
	stop(v3, "v3")
	want("by the kills before another", 0, 1, true)
	gw.shows(mesh.mark(t))
	want("by all of them", 1, 1, true)
	gw.shows(many)
	want("by those of before again", 0, 1, true)
}

// TestShown counts, for all routes at once, the proxies whose newest requests came by
// the policy that is carried.
func TestShown(t *testing.T) {
	c := &Control{proofs: newProofs("one", nil)}
	c.proofs.meshSeen = func(func(string) bool) []signals.Proxy {
		return []signals.Proxy{{Node: "a", Route: "ns/r/0", Policy: 1}, {Node: "b", Route: "ns/r/0", Policy: 2}, {Node: "b", Route: "ns/r/1", Policy: 1}}
	}
	want := func(route string, shown, seen int) {
		t.Helper()
		if a, b := c.Shown()(route); a != shown || b != seen {
			t.Errorf("%s: %d of %d", route, a, b)
		}
	}
	want("ns/r/0", 0, 0) // nothing is published
	c.proofs.meshRoutes.Store(&map[string]carried{"ns/r/0": {policy: 2}, "ns/r/1": {policy: 1}})
	want("ns/r/0", 1, 2)
	want("ns/r/1", 1, 1)
	want("ns/r/2", 0, 0)
}

// BenchmarkShown is a round of conditions over 1,000 routes that 50 proxies have had
// requests on.
func BenchmarkShown(b *testing.B) {
	routes := map[string]carried{}
	var seen []signals.Proxy
	for route := range 1000 {
		routes[fmt.Sprintf("models/route-%d/score", route)] = carried{policy: 1}
	}
	for node := range 50 {
		for name := range routes {
			seen = append(seen, signals.Proxy{Node: fmt.Sprintf("models/gateway-%d", node), Route: name, Policy: 1})
		}
	}
	c := &Control{proofs: newProofs("one", nil)}
	c.proofs.meshRoutes.Store(&routes)
	c.proofs.meshSeen = func(func(string) bool) []signals.Proxy { return seen }
	for b.Loop() {
		shown := c.Shown()
		for name := range routes {
			if a, n := shown(name); a != 50 || n != 50 {
				b.Fatalf("%s: %d of %d", name, a, n)
			}
		}
	}
}
