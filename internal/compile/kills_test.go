package compile

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/policy"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// killed is a set in which the targets are killed, each by its mode.
func killed(modes map[kill.Target]kill.Mode) *kill.Set {
	var states []kill.State
	for t, m := range modes {
		states = append(states, kill.Kill(kill.New(t), kill.Order{ID: t.Key(), At: noon, By: "a", Reason: "b", Mode: m}))
	}
	return kill.NewSet(states...)
}

// ramping is a target's state where that many percent pass at noon.
func ramping(t *testing.T, target kill.Target, percent int) kill.State {
	t.Helper()
	s := kill.Kill(kill.New(target), kill.Order{ID: "1", At: noon, By: "a", Reason: "b"})
	for ago := range 60 {
		revived, err := kill.Revive(s, kill.Request{At: noon.Add(-time.Duration(ago) * time.Minute), By: "a", Reason: "b", Generation: 1, Ramp: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := revived.Ramp.Percent(noon); got == percent {
			return revived
		}
	}
	t.Fatalf("no ramp lets %d %% pass", percent)
	return s
}

func TestWithKills(t *testing.T) {
	a1, a2, a3, b1 := "ns/a/v1", "ns/a/v2", "ns/a/v3", "ns/b/v1"
	const degrade, standard, blackhole = kill.Degrade, kill.Default, kill.Blackhole
	type modes = map[kill.Target]kill.Mode
	for _, tc := range []struct {
		name     string
		backends []Backend
		kills    modes
		want     []uint32
		mode     kill.Mode // of the route; empty: it is not killed
	}{
		{"another model", []Backend{{a1, 7}}, modes{kill.ForModel("ns/c"): degrade}, []uint32{7}, ""},
		{"a version: the others in proportion", []Backend{{a1, 60}, {a2, 30}, {a3, 10}}, modes{kill.ForVersion("ns/a", "v1"): degrade}, []uint32{0, 75, 25}, ""},
		{"where the sum does not divide", []Backend{{a1, 1}, {a2, 1}, {a3, 1}}, modes{kill.ForVersion("ns/a", "v1"): degrade}, []uint32{0, 3, 3}, ""},
		{"its last version with weight", []Backend{{a1, 100}, {a2, 0}}, modes{kill.ForVersion("ns/a", "v1"): standard}, []uint32{0, 0}, standard},
		{"a version without weight", []Backend{{a1, 100}, {a2, 0}}, modes{kill.ForVersion("ns/a", "v2"): degrade}, []uint32{100, 0}, ""},
		{"a model", []Backend{{a1, 90}, {a2, 10}}, modes{kill.ForModel("ns/a"): degrade}, []uint32{0, 0}, degrade},
		{"a model beside another", []Backend{{a1, 90}, {b1, 10}}, modes{kill.ForModel("ns/a"): degrade}, []uint32{0, 10}, ""},
		{"a version beside another model", []Backend{{a1, 50}, {b1, 30}, {a2, 20}}, modes{kill.ForVersion("ns/a", "v1"): degrade}, []uint32{0, 30, 70}, ""},
		{"the route", []Backend{{a1, 90}, {b1, 10}}, modes{kill.ForRoute("ns/r/0"): blackhole}, []uint32{0, 0}, blackhole},
		{"another route", []Backend{{a1, 90}}, modes{kill.ForRoute("ns/r/1"): blackhole}, []uint32{90}, ""},
		{"everything", []Backend{{a1, 90}}, modes{kill.Everything: standard}, []uint32{0}, standard},
		{"the strictest mode", []Backend{{a1, 90}, {b1, 10}}, modes{kill.Everything: degrade, kill.ForModel("ns/b"): blackhole}, []uint32{0, 0}, blackhole},
		{"but not of what has no traffic", []Backend{{a1, 90}, {a2, 0}}, modes{kill.Everything: degrade, kill.ForVersion("ns/a", "v2"): blackhole}, []uint32{0, 0}, degrade},
		{"what releases gave no weight", []Backend{{a1, 0}, {a2, 0}}, modes{kill.ForModel("ns/a"): standard}, []uint32{0, 0}, standard},
		{"a part of that", []Backend{{a1, 0}, {a2, 0}}, modes{kill.ForVersion("ns/a", "v1"): standard}, []uint32{0, 0}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := snapshotOf(ruleOf("ns/r/0", tc.backends...))
			before := slices.Clone(tc.backends)
			k := killed(tc.kills)
			got := s.WithKills(k, noon)
			r := &got.Routes[0]
			if !slices.Equal(weightsOf(r), tc.want) {
				t.Errorf("got %v, want %v", weightsOf(r), tc.want)
			}
			mode := kill.Mode("")
			if r.Kill != nil {
				mode = r.Kill.Mode
				if tc.kills[r.Kill.Target] != mode {
					t.Errorf("%s has mode %s", r.Kill.Target, mode)
				}
			}
			if mode != tc.mode {
				t.Errorf("mode %q, want %q", mode, tc.mode)
			}
			for i := range got.Clusters {
				c := &got.Clusters[i]
				if want := k.Of("", c.Namespace+"/"+c.Model, c.Version, noon).Killed; c.Killed != want || s.Clusters[i].Killed {
					t.Errorf("%s is marked %v, want %v, and before %v", c.Name, c.Killed, want, s.Clusters[i].Killed)
				}
			}
			if !slices.Equal(s.Routes[0].Backends, before) || s.Routes[0].Kill != nil {
				t.Error("the snapshot itself was changed")
			}
		})
	}
}

// TestWithKillsRamps: what a ramp withholds goes where it went while it was
// killed, and only where that was nowhere to nobody.
func TestWithKillsRamps(t *testing.T) {
	version, model := kill.ForVersion("ns/a", "v2"), kill.ForModel("ns/a")
	for _, tc := range []struct {
		name     string
		backends []Backend
		states   []kill.State
		want     string
	}{
		{"a version beside another", []Backend{{"ns/a/v1", 80}, {"ns/a/v2", 20}}, []kill.State{ramping(t, version, 25)}, "ns/a/v1 95, ns/a/v2 5"},
		{"a version alone", []Backend{{"ns/a/v2", 100}}, []kill.State{ramping(t, version, 25)}, "ns/a/v2 25, safestate_none 75"},
		{"a model", []Backend{{"ns/a/v1", 80}, {"ns/a/v2", 20}}, []kill.State{ramping(t, model, 5)}, "ns/a/v1 4, ns/a/v2 1, safestate_none 95"},
		{"a sum that does not divide", []Backend{{"ns/a/v1", 2}, {"ns/a/v2", 1}}, []kill.State{ramping(t, model, 1)}, "ns/a/v1 2, ns/a/v2 1, safestate_none 297"},
		{"a model beside another", []Backend{{"ns/a/v1", 50}, {"ns/b/v1", 50}}, []kill.State{ramping(t, model, 10)}, "ns/a/v1 5, ns/b/v1 95"},
		{"a version and its model", []Backend{{"ns/a/v1", 50}, {"ns/a/v2", 50}}, []kill.State{ramping(t, version, 10), ramping(t, model, 50)}, "ns/a/v1 25, ns/a/v2 5, safestate_none 70"},
		{"everything", []Backend{{"ns/a/v1", 50}, {"ns/b/v1", 50}}, []kill.State{ramping(t, kill.Everything, 50)}, "ns/a/v1 25, ns/b/v1 25, safestate_none 50"},
		{"beside what is killed", []Backend{{"ns/a/v1", 90}, {"ns/a/v2", 10}},
			append(killed(map[kill.Target]kill.Mode{kill.ForVersion("ns/a", "v1"): kill.Degrade}).All(), ramping(t, version, 10)), "ns/a/v1 0, ns/a/v2 10, safestate_none 90"},
		{"over gRPC", []Backend{{"ns/a/v2/grpc", 100}}, []kill.State{ramping(t, version, 25)}, "ns/a/v2/grpc 25, safestate_none/grpc 75"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := snapshotOf(ruleOf("ns/r/0", tc.backends...))
			s.Routes[0].GRPC = s.Clusters[0].HTTP2
			got, text, none := s.WithKills(kill.NewSet(tc.states...), noon), "", ""
			for i, b := range got.Routes[0].Backends {
				if i > 0 {
					text += ", "
				}
				text += fmt.Sprint(b.Cluster, " ", b.Weight)
				none = b.Cluster
			}
			if text != tc.want {
				t.Errorf("got %s, want %s", text, tc.want)
			}
			if got.Routes[0].Kill != nil {
				t.Errorf("killed: %+v", got.Routes[0].Kill)
			}
			last := got.Clusters[len(got.Clusters)-1]
			if rendered := last.Model == ""; rendered != (len(got.Routes[0].Backends) > len(tc.backends)) || rendered && (last.Name != none || len(last.Endpoints) > 0) {
				t.Errorf("the last cluster is %+v", last)
			}
		})
	}
}

// TestWithKillsKeepsTheRest: in any rule that is left something the weights are in
// the proportion of the shares that are live, and their sum is a multiple of what
// it was, less the models that have none left.
func TestWithKillsKeepsTheRest(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 5_000 {
		var backends []Backend
		modes := map[kill.Target]kill.Mode{}
		for m := range 1 + random.IntN(3) {
			for v := range 1 + random.IntN(3) {
				b := Backend{fmt.Sprintf("ns/%c/v%d", 'a'+m, v+1), uint32(random.IntN(101))}
				backends = append(backends, b)
				if random.IntN(3) == 0 {
					modes[kill.ForVersion("ns/"+string(rune('a'+m)), fmt.Sprint("v", v+1))] = kill.Degrade
				}
			}
		}
		k := killed(modes)
		s := snapshotOf(ruleOf("ns/r/0", backends...))
		got := s.WithKills(k, noon).Routes[0]
		model := func(b Backend) string { return b.Cluster[:4] }
		dead := func(b Backend) bool { return k.Of("", model(b), b.Cluster[5:], noon).Killed }
		share, left := map[string]int64{}, map[string]int64{}
		for _, b := range backends {
			share[model(b)] += int64(b.Weight)
			if !dead(b) {
				left[model(b)] += int64(b.Weight)
			}
		}
		total, sum := int64(0), int64(0)
		for name, n := range left {
			if n > 0 {
				total += share[name]
			}
		}
		for _, b := range got.Backends {
			sum += int64(b.Weight)
		}
		if (total == 0) != (sum == 0) || total > 0 && sum%total != 0 {
			t.Fatalf("%v less %v: %v", backends, modes, got.Backends)
		}
		for i, b := range backends {
			want := new(big.Rat)
			if !dead(b) && b.Weight > 0 {
				want = big.NewRat(int64(b.Weight)*share[model(b)], left[model(b)]*total)
			}
			if have := big.NewRat(int64(got.Backends[i].Weight), max(sum, 1)); have.Cmp(want) != 0 {
				t.Fatalf("%v less %v: %v, and %s has %v, want %v", backends, modes, got.Backends, b.Cluster, have, want)
			}
		}
	}
}

// TestWithKillsForgets: cached answers of what is killed do not count, and it is
// not asked in the background.
func TestWithKillsForgets(t *testing.T) {
	cached := &policy.Policy{Format: policy.FormatVersion, Model: "ns/a", Stable: "v1", Ladder: []policy.Rung{
		{Cache: &policy.Cache{When: policy.First, StaleWhileRevalidate: 1, Origin: &policy.Fallback{Version: "v1"}}}, {SafeDefault: &policy.SafeDefault{}},
	}}
	for name, tc := range map[string]struct {
		target kill.Target
		stable string
		origin string
	}{
		"another version":    {kill.ForVersion("ns/a", "v2"), "v1", "v1"},
		"the stable version": {kill.ForVersion("ns/a", "v1"), "v2", "v2"},
		"the model":          {kill.ForModel("ns/a"), "", ""},
		"the route":          {kill.ForRoute("ns/r/0"), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := snapshotOf(ruleOf("ns/r/0", Backend{"ns/a/v1", 90}, Backend{"ns/a/v2", 10}))
			p := *cached
			s.Routes[0].Policy = &p
			r := s.WithKills(killed(map[kill.Target]kill.Mode{tc.target: kill.Degrade}), noon).Routes[0]
			origin := ""
			if o := r.Policy.Ladder[0].Cache.Origin; o != nil {
				origin = o.Version
			}
			if r.Policy.Stable != tc.stable || origin != tc.origin {
				t.Errorf("stable %q, asked in the background %q; want %q and %q", r.Policy.Stable, origin, tc.stable, tc.origin)
			}
			if p.Stable != "v1" || p.Ladder[0].Cache.Origin == nil {
				t.Error("the policy itself was changed")
			}
		})
	}
}

// TestKillMark: what requests of a route have shown of other kills is not the mark of
// those that it is to have now, however often those were killed; and the same kills have
// the same.
func TestKillMark(t *testing.T) {
	state := func(target kill.Target, generation uint64, mode kill.Mode) kill.State {
		s := kill.New(target)
		s.Generation, s.Killed, s.Mode = generation, mode != "", mode
		return s
	}
	mark := func(version string, states ...kill.State) uint64 {
		s := snapshotOf(ruleOf("ns/r/0", Backend{"ns/a/" + version, 1})).WithKills(kill.NewSet(states...), noon)
		return s.Routes[0].KillMark
	}
	v2, v3 := kill.ForVersion("ns/a", "v2"), kill.ForVersion("ns/a", "v3")
	seen := map[uint64]string{0: "no kill"}
	for _, c := range []struct {
		name string
		mark uint64
	}{
		{"v2, killed and revived", mark("v2", state(v2, 5, ""))},
		{"v2, killed at that generation", mark("v2", state(v2, 5, kill.Degrade))},
		{"in another mode", mark("v2", state(v2, 5, kill.Default))},
		{"v3 instead, killed once", mark("v3", state(v2, 5, ""), state(v3, 1, kill.Degrade))},
		{"v3 as often", mark("v3", state(v2, 5, ""), state(v3, 5, kill.Degrade))},
		{"its model", mark("v2", state(kill.ForModel("ns/a"), 5, kill.Degrade))},
	} {
		if other, known := seen[c.mark]; known {
			t.Errorf("%s has the mark of %s", c.name, other)
		}
		seen[c.mark] = c.name
	}
	if a, b := mark("v2", state(v2, 5, "")), mark("v2", state(v2, 5, ""), state(v3, 9, kill.Degrade)); a != b {
		t.Error("a kill that does not concern the route changes its mark")
	}
	if got := mark("v3", state(v2, 5, "")); got != 0 {
		t.Errorf("nothing of it was killed, and it has the mark %x", got)
	}
}

// TestKillGeneration: it sums what concerns the route, once each, also after all
// of it was revived; and nothing else changes then.
func TestKillGeneration(t *testing.T) {
	s := snapshotOf(ruleOf("ns/r/0", Backend{"ns/a/v1", 90}, Backend{"ns/a/v2", 10}), ruleOf("ns/s/0", Backend{"ns/b/v1", 1}))
	if got := s.WithKills(nil, noon); got.Kills != KillsOf(kill.NewSet()) || got.Routes[0].KillGeneration != 0 {
		t.Errorf("of no kills: %+v", got.Kills)
	}
	var states []kill.State
	for i, target := range []kill.Target{kill.Everything, kill.ForRoute("ns/r/0"), kill.ForModel("ns/a"), kill.ForVersion("ns/a", "v2"), kill.ForModel("ns/c")} {
		state := kill.New(target)
		state.Generation = 1 << (4 * i)
		states = append(states, state)
	}
	set := kill.NewSet(states...)
	got := s.WithKills(set, noon)
	if a, b := got.Routes[0].KillGeneration, got.Routes[1].KillGeneration; a != 0x1111 || b != 1 {
		t.Errorf("got %x and %x", a, b)
	}
	if got.Kills != KillsOf(set) || got.Kills.Generation != set.Generation() {
		t.Errorf("got %+v", got.Kills)
	}
	for i := range got.Routes {
		if got.Routes[i].KillMark == 0 {
			t.Errorf("route %d has no mark", i)
		}
		got.Routes[i].KillGeneration, got.Routes[i].KillMark = 0, 0
	}
	if !reflect.DeepEqual(got.Routes, s.Routes) || !reflect.DeepEqual(got.Clusters, s.Clusters) {
		t.Errorf("got %+v", got)
	}
	if one, two := KillsOf(killed(map[kill.Target]kill.Mode{kill.Everything: kill.Degrade})), KillsOf(killed(map[kill.Target]kill.Mode{kill.Everything: kill.Default})); one.Enforced == two.Enforced {
		t.Error("two modes have one mark")
	}
}
