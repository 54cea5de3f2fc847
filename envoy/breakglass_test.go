package envoy

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/porttest"
)

// passes is a policy whose requests go to the model while nobody is at the
// processor.
func passes(p *policy.Policy) { p.WhenProcessorAway = policy.AwayPass }

// glass is one Envoy whose model has two versions.
type glass struct {
	*proxy
	grpc  bool
	calls [2]*atomic.Int64
}

// ask makes one call: whether it was answered, and else whether plainly refused.
func (g *glass) ask() (answered, refused bool) {
	if g.grpc {
		got := g.call(inferCall, []byte("x"))
		return got.err == nil, status.Code(got.err) == codes.Unavailable && got.get("x-safestate-source") == ""
	}
	got := g.post()
	return got.status == 200, got.status == 503 && got.source() == ""
}

// set writes a key of Envoy's runtime; empty: takes it away.
func (g *glass) set(key, value string) {
	g.t.Helper()
	if err := g.adminPost("/runtime_modify?" + url.Values{key: {value}}.Encode()); err != nil {
		g.t.Fatal(err)
	}
}

// TestBreakGlass: with nobody but Envoy there each key stops what it names, and
// nothing else, with a plain refusal; the last rung does not answer in its place.
// Without a key nothing is stopped.
func TestBreakGlass(t *testing.T) {
	const all, none = 1.0, 0.0
	for name, c := range map[string]struct {
		grpc    bool
		policy  func(*policy.Policy) // nil: none
		weights [2]uint32
	}{
		"HTTP":                     {false, nil, [2]uint32{100, 0}},
		"HTTP, two versions":       {false, nil, [2]uint32{50, 50}},
		"policy, two versions":     {false, passes, [2]uint32{50, 50}},
		"policy that fails closed": {false, func(*policy.Policy) {}, [2]uint32{50, 50}},
		"gRPC":                     {true, nil, [2]uint32{100, 0}},
		"gRPC, two versions":       {true, passes, [2]uint32{50, 50}},
		"gRPC, a message at last":  {true, func(p *policy.Policy) { byMessage(p); passes(p) }, [2]uint32{50, 50}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := startGlass(t, c.grpc, c.policy, c.weights)
			shares := map[kill.Target][2]float64{ // of the requests to each version that are refused
				kill.Everything:                         {all, all},
				kill.ForRoute("default/fraud/score"):    {all, all},
				kill.ForModel("default/fraud"):          {all, all},
				kill.ForVersion("default/fraud", "v1"):  {all, none},
				kill.ForVersion("default/fraud", "v2"):  {none, all},
				kill.ForModel("default/frau"):           {none, none},
				kill.ForVersion("default/fraud", "v11"): {none, none},
			}
			for target, share := range shares {
				g.live()
				g.set(RuntimeKey(target), "100")
				before := [2]int64{g.calls[0].Load(), g.calls[1].Load()}
				answered, refused := 0, 0
				const requests = 30
				for range requests {
					a, r := g.ask()
					if a {
						answered++
					}
					if r {
						refused++
					}
				}
				wantRefused := c.weights[0] > 0 && share[0] > 0 || c.weights[1] > 0 && share[1] > 0
				wantAnswered := c.weights[0] > 0 && share[0] == 0 || c.weights[1] > 0 && share[1] == 0
				if answered+refused != requests || refused > 0 != wantRefused || answered > 0 != wantAnswered {
					t.Errorf("%s: %d answered and %d refused of %d", target, answered, refused, requests)
				}
				for i, n := range before {
					if share[i] > 0 && g.calls[i].Load() != n {
						t.Errorf("%s: %d requests reached version %d", target, g.calls[i].Load()-n, i+1)
					}
				}
				g.set(RuntimeKey(target), "")
			}
			g.live()
		})
	}
}

// live waits until calls are answered: Envoy's admin interface does not wait for
// its workers.
func (g *glass) live() {
	g.t.Helper()
	inARow := 0
	eventually(g.t, "calls are answered", func() bool {
		if answered, _ := g.ask(); !answered {
			inARow = 0
		}
		inARow++
		return inARow > 4
	})
}

func startGlass(t *testing.T, grpc bool, edit func(*policy.Policy), weights [2]uint32) *glass {
	t.Helper()
	g := &glass{grpc: grpc}
	var versions []compile.Cluster
	for i := range g.calls {
		var addr string
		if grpc {
			m := newGRPCModel(t)
			addr, g.calls[i] = m.addr, &m.calls
		} else {
			m := newModel(t, nil)
			addr, g.calls[i] = m.addr, &m.calls
		}
		versions = append(versions, version(fmt.Sprint("v", i+1), addr))
	}
	o := testOptions(t)
	o.Answers = porttest.Address(t)
	g.proxy = startStatic(t, glassSnapshot(t, grpc, edit, weights, versions...), o)
	return g
}

func glassSnapshot(t *testing.T, grpc bool, edit func(*policy.Policy), weights [2]uint32, versions ...compile.Cluster) *compile.Snapshot {
	t.Helper()
	var p *policy.Policy
	switch {
	case edit != nil && grpc:
		p = grpcPolicy(edit)
	case edit != nil:
		p = enforced(edit)
	}
	of := snapshot
	if grpc {
		of = grpcSnapshot
	}
	s := of(t, p, versions...)
	for i := range s.Routes[0].Backends {
		s.Routes[0].Backends[i].Weight = weights[i]
	}
	return s
}

// TestBreakGlassByFile: a key in a folder stops as well, from the moment that the
// link is moved there, and still does when Envoy has started anew.
func TestBreakGlassByFile(t *testing.T) {
	m := newModel(t, nil)
	o := testOptions(t)
	dir := t.TempDir()
	o.RuntimeDir = filepath.Join(dir, "current")
	s := snapshot(t, nil, version("v1", m.addr))
	p := startStatic(t, s, o)
	if r := p.post(); r.status != 200 {
		t.Fatalf("without the folder: status %d", r.status)
	}
	swap := func(name string, keys ...kill.Target) {
		t.Helper()
		folder := filepath.Join(dir, name)
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if err := os.WriteFile(filepath.Join(folder, RuntimeKey(k)), []byte("100\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		fresh := filepath.Join(dir, "new")
		if err := os.Symlink(name, fresh); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(fresh, o.RuntimeDir); err != nil {
			t.Fatal(err)
		}
	}
	swap("one", kill.ForModel("default/fraud"))
	eventually(t, "it is stopped", func() bool { return p.post().status == 503 })
	before := m.calls.Load()
	o.Listen, o.Admin = porttest.Address(t), porttest.Address(t)
	again := startStatic(t, s, o)
	if r := again.post(); r.status != 503 || r.reason() != reasonKilled || m.calls.Load() != before {
		t.Errorf("started anew: status %d, reason %q, %d calls", r.status, r.reason(), m.calls.Load()-before)
	}
	swap("two")
	eventually(t, "it is live", func() bool { return again.post().status == 200 })
}

// TestRuntimeKey: no two scopes have one key.
func TestRuntimeKey(t *testing.T) {
	for target, want := range map[kill.Target]string{
		kill.Everything:                         "safestate.kill.all",
		kill.ForRoute("default/fraud/score"):    "safestate.kill.route.default.fraud.score",
		kill.ForModel("default/fraud"):          "safestate.kill.model.default.fraud",
		kill.ForVersion("default/fraud", "1.2"): "safestate.kill.version.default.fraud.1.2",
	} {
		if got := RuntimeKey(target); got != want || !strings.HasPrefix(got, filterKill+".") {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
}
