package conformance

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
)

// update writes the table anew that TestConformance is held against.
var update = flag.Bool("update", false, "write docs/conformance.md anew")

// feature is one row of the table.
type feature struct {
	name string
	// route is what its route and its policy are called; empty: it has none. model is
	// what the route leads to; versions: it has two, v2 without weight, and rollout.
	// Default: score, of one version.
	route, model string
	versions     bool
	rollout      string
	kill         string     // when it is killed by itself
	parents      string     // of the route, in the place of one
	rules        string     // of the route, in the place of one that leads to the model
	grpc         bool       // it is a GRPCRoute
	policy       spec       // nil: none
	extra        string     // further objects
	plainOnly    bool       // the objects are no mesh's
	custom       bool       // it writes its objects itself
	path         string     // of its requests
	asks         []question // one for each of its rules; none: it has one rule
	// settles is the source of an answer once the policy is at the proxy; "-": that is
	// not waited for. Default: primary.
	settles string
	// together: the three places are tried at once.
	together bool
	// before runs while all is well, run in the state that when says, and after once all
	// is well again.
	when          state
	before, after func(*check)
	run           func(*check)
}

// state is how the safestates are.
type state int

// The states, in the order in which they come.
const (
	well state = iota
	hung       // they hold their connections, and do nothing
	dead
)

// area is one part of the table.
type area struct {
	name     string
	features []feature
}

var areas = []area{
	{"Detectors", detectors},
	{"How much is enforced", modes},
	{"The ladder", rungs},
	{"Limits", limits},
	{"Requests and answers", exchanges},
	{"Protocols", slices.Concat(protocols, chats)},
	{"Without the processor", lastRungs},
	{"Policies", policies},
	{"Releases", releases},
	{"Kills", kills},
	{"Hosts, and gRPC", hosts}, // behind the kills, whose proofs ask every route that had traffic
	{"What the mesh keeps for itself", meshOwn},
}

var features = func() (out []feature) {
	for _, a := range areas {
		out = append(out, a.features...)
	}
	return out
}()

// TestConformance runs each feature at each place and holds what became of it against
// docs/conformance.md.
func TestConformance(t *testing.T) {
	s := newStand(t)
	r := &runs{s: s, results: table{}}
	r.step(t, "before/", func(f *feature) func(*check) {
		if f.when != well && f.before == nil {
			return func(*check) {} // it has to be at the proxy by then
		}
		return f.before
	})
	r.step(t, "", in(well))
	s.freeze(true)
	r.step(t, "", in(hung))
	s.freeze(false)
	s.kill()
	r.step(t, "", in(dead))
	s.revive()
	r.step(t, "after/", func(f *feature) func(*check) { return f.after })
	switch {
	case t.Failed():
	case len(r.results) < len(features):
		t.Log("-run has left cases out: the table is not looked at")
	default:
		r.results.hold(t, s.places)
	}
}

// runs are the cases of one stand.
type runs struct {
	s  *stand
	mu sync.Mutex

	results table
}

// step runs what a step has of each feature.
func (r *runs) step(t *testing.T, step string, of func(*feature) func(*check)) {
	for i := range features {
		f := &features[i]
		run := of(f)
		if run == nil {
			continue
		}
		var all sync.WaitGroup
		for _, p := range r.s.places {
			one := func() {
				t.Run(step+strings.ReplaceAll(f.name, " ", "-")+"/"+strings.ReplaceAll(p.name, " ", "-"), func(t *testing.T) { r.one(t, step, f, p, run) })
			}
			if f.together {
				all.Go(one)
			} else {
				one()
			}
		}
		all.Wait()
	}
}

// one runs one feature at one place.
func (r *runs) one(t *testing.T, step string, f *feature, p *place, run func(*check)) {
	r.mu.Lock()
	before := r.results.of(f, p)
	r.mu.Unlock()
	if before != "" && step != "after/" {
		return // it is not there
	}
	c := &check{T: t, s: r.s, p: p, f: f, client: p.client}
	outcome := ""
	if step == "before/" || step == "" && f.when == well {
		outcome = c.settle()
	}
	if outcome == "" {
		run(c)
		outcome = c.outcome
	}
	if outcome == "" && step == "" {
		outcome = "yes"
	}
	if outcome != "" && !t.Failed() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.results.set(f, p, outcome)
	}
}

// in are the features that run in a state.
func in(when state) func(*feature) func(*check) {
	return func(f *feature) func(*check) {
		if f.when != when {
			return nil
		}
		return f.run
	}
}

// table is what became of each feature at each place.
type table map[*feature]map[*place]string

func (r table) of(f *feature, p *place) string { return r[f][p] }

func (r table) set(f *feature, p *place, outcome string) {
	if r[f] == nil {
		r[f] = map[*place]string{}
	}
	r[f][p] = outcome
}

// hold compares the table with the one in docs.
func (r table) hold(t *testing.T, places []*place) {
	t.Helper()
	var out, notes strings.Builder
	out.WriteString("# What works where\n\n" +
		"Generated by `go test ./e2e/istio/conformance -update`. Each row is one case that ran before an Envoy that safestate\n" +
		"configures itself, before a gateway that istiod configures, and before a sidecar that istiod configures, with the same Models\n" +
		"and FailSafePolicies word for word.\n")
	var reasons []string
	next := 0
	for _, a := range areas {
		out.WriteString("\n## " + a.name + "\n\n|")
		for _, p := range places {
			out.WriteString(" | " + p.name)
		}
		out.WriteString(" |\n|---|" + strings.Repeat("---|", len(places)) + "\n")
		for range a.features {
			f := &features[next]
			next++
			out.WriteString("| " + f.name + " |")
			for _, p := range places {
				cell := r.of(f, p)
				if reason, is := strings.CutPrefix(cell, "no: "); is {
					i := slices.Index(reasons, reason)
					if i < 0 {
						i = len(reasons)
						reasons = append(reasons, reason)
						fmt.Fprintf(&notes, "%d. %s\n", i+1, reason)
					}
					cell = fmt.Sprintf("no (%d)", i+1)
				}
				out.WriteString(" " + cell + " |")
			}
			out.WriteString("\n")
		}
	}
	out.WriteString("\n## Why not\n\n" + notes.String())
	path := filepath.Join(dataplane.Root(), "docs", "conformance.md")
	if *update {
		if err := os.WriteFile(path, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || string(have) != out.String() {
		t.Errorf("docs/conformance.md is not what the cases say (%v): run this test with -update, and look at the difference", err)
	}
}
