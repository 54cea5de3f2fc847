package compile

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/safestate/safestate/internal/policy"
)

// rule makes a route of clusters "ns/model/version" with weights.
func ruleOf(name string, backends ...Backend) Route {
	return Route{Name: name, Namespace: "ns", Backends: backends}
}

// snapshotOf makes the clusters that routes name.
func snapshotOf(routes ...Route) *Snapshot {
	s := &Snapshot{Routes: routes}
	seen := map[string]bool{}
	for _, r := range routes {
		for _, b := range r.Backends {
			if seen[b.Cluster] {
				continue
			}
			seen[b.Cluster] = true
			var c Cluster
			name, grpc := b.Cluster, false
			if n := len(name) - len("/grpc"); n > 0 && name[n:] == "/grpc" {
				name, grpc = name[:n], true
			}
			if _, err := fmt.Sscanf(name, "ns/%1s/%2s", &c.Model, &c.Version); err != nil {
				panic(err)
			}
			c.Name, c.Namespace, c.HTTP2 = b.Cluster, "ns", grpc
			s.Clusters = append(s.Clusters, c)
		}
	}
	return s
}

func weightsOf(r *Route) []uint32 {
	var out []uint32
	for _, b := range r.Backends {
		out = append(out, b.Weight)
	}
	return out
}

func TestWithWeights(t *testing.T) {
	percents := map[string]map[string]int{"ns/a": {"v1": 99, "v2": 1}, "ns/b": {"v1": 0, "v2": 100}}
	for _, tc := range []struct {
		name     string
		backends []Backend
		want     []uint32
	}{
		{"percents as they are", []Backend{{"ns/a/v1", 100}, {"ns/a/v2", 0}}, []uint32{99, 1}},
		{"whatever the file's scale", []Backend{{"ns/a/v1", 7}, {"ns/a/v2", 1_000_000}}, []uint32{99, 1}},
		{"a version that has no percents", []Backend{{"ns/a/v1", 1}, {"ns/a/v2", 1}, {"ns/a/v3", 1}}, []uint32{99, 1, 0}},
		{"a rule of one version", []Backend{{"ns/a/v2", 5}}, []uint32{1}},
		{"a rule whose versions have 0", []Backend{{"ns/b/v1", 5}}, []uint32{0}},
		{"a rule without weight in the file", []Backend{{"ns/a/v1", 0}, {"ns/a/v2", 0}}, []uint32{0, 0}},
		{"over gRPC", []Backend{{"ns/a/v2/grpc", 3}, {"ns/a/v1/grpc", 4}}, []uint32{1, 99}},
		{"beside a model without a release", []Backend{{"ns/a/v1", 60}, {"ns/c/v1", 30}, {"ns/a/v2", 0}, {"ns/c/v2", 10}}, []uint32{297, 150, 3, 50}},
		{"beside another one with a release", []Backend{{"ns/a/v1", 3}, {"ns/b/v1", 1}, {"ns/a/v2", 0}, {"ns/b/v2", 0}}, []uint32{297, 0, 3, 100}},
		{"beside one that has none left", []Backend{{"ns/a/v1", 3}, {"ns/b/v1", 1}, {"ns/a/v2", 0}}, []uint32{99, 0, 1}},
		{"no release", []Backend{{"ns/c/v1", 3}, {"ns/c/v2", 1}}, []uint32{3, 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := snapshotOf(ruleOf("r", tc.backends...))
			before := slices.Clone(tc.backends)
			got := s.WithReleases(released(percents))
			if !slices.Equal(weightsOf(&got.Routes[0]), tc.want) {
				t.Errorf("got %v, want %v", weightsOf(&got.Routes[0]), tc.want)
			}
			if !slices.Equal(s.Routes[0].Backends, before) {
				t.Errorf("the snapshot itself was changed")
			}
		})
	}
}

// TestWithWeightsKeepsShares: in any rule each model's share is the file's, and
// its versions have their percents of it, exactly; but for the few whose exact
// weights have no sum under 2^32.
func TestWithWeightsKeepsShares(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	exact := 0
	for range 20_000 {
		var backends []Backend
		weights := map[string]map[string]int{}
		for m := range 1 + random.IntN(4) {
			model := string(rune('a' + m))
			percents := map[string]int{}
			rest := 100
			for v := range 1 + random.IntN(4) {
				p := random.IntN(rest + 1)
				rest -= p
				percents[fmt.Sprintf("v%d", v)] = p
				if random.IntN(6) > 0 { // else the rule does not name it
					backends = append(backends, Backend{fmt.Sprintf("ns/%s/v%d", model, v), uint32(random.IntN(3) * random.IntN(1000))})
				}
			}
			if random.IntN(4) > 0 {
				weights["ns/"+model] = percents
			}
		}
		random.Shuffle(len(backends), func(i, j int) { backends[i], backends[j] = backends[j], backends[i] })
		s := snapshotOf(ruleOf("r", backends...))
		got, sum := s.WithReleases(released(weights)), uint64(0)
		for _, w := range weightsOf(&got.Routes[0]) {
			sum += uint64(w)
		}
		if sum < math.MaxUint32 {
			checkShares(t, s, got, weights)
			exact++
		}
	}
	if exact < 19_000 {
		t.Errorf("%d of 20000 were exact", exact)
	}
}

// checkShares compares cross products, so that nothing is rounded.
func checkShares(t *testing.T, s, got *Snapshot, weights map[string]map[string]int) {
	t.Helper()
	share, now, named := map[string]int64{}, map[string]int64{}, map[string]int64{}
	total, totalNow := int64(0), int64(0)
	for i, c := range s.Clusters {
		file, weight := int64(s.Routes[0].Backends[i].Weight), int64(got.Routes[0].Backends[i].Weight)
		share[c.model()] += file
		now[c.model()] += weight
		totalNow += weight
		if percents, ok := weights[c.model()]; ok {
			named[c.model()] += int64(percents[c.Version])
		} else {
			named[c.model()] += file
		}
	}
	for m := range share {
		if named[m] > 0 {
			total += share[m]
		}
	}
	product := func(a, b int64) *big.Int { return new(big.Int).Mul(big.NewInt(a), big.NewInt(b)) }
	for i, c := range s.Clusters {
		m, weight := c.model(), int64(got.Routes[0].Backends[i].Weight)
		if named[m] == 0 || share[m] == 0 {
			if weight != 0 {
				t.Fatalf("%s has weight %d; the model has nothing in %+v", c.Name, weight, s.Routes[0].Backends)
			}
			continue
		}
		if product(now[m], total).Cmp(product(share[m], totalNow)) != 0 {
			t.Fatalf("%s has %d of %d, in the file %d of %d", m, now[m], totalNow, share[m], total)
		}
		part := int64(s.Routes[0].Backends[i].Weight)
		if percents, ok := weights[m]; ok {
			part = int64(percents[c.Version])
		}
		if product(weight, named[m]).Cmp(product(part, now[m])) != 0 {
			t.Fatalf("%s has %d of %d, want %d of %d", c.Name, weight, now[m], part, named[m])
		}
	}
}

// TestWithWeightsHasABound: where no exact weights sum to less than 2^32 they
// are the nearest that do, and 0 stays 0.
func TestWithWeightsHasABound(t *testing.T) {
	var backends []Backend
	weights := map[string]map[string]int{}
	for m := range 20 {
		model := string(rune('a' + m))
		backends = append(backends, Backend{"ns/" + model + "/v1", uint32(999_983 - m)}, Backend{"ns/" + model + "/v2", 0}, Backend{"ns/" + model + "/v3", 0})
		weights["ns/"+model] = map[string]int{"v1": 97 - m, "v2": 1} // v3: none
	}
	got := snapshotOf(ruleOf("r", backends...)).WithReleases(released(weights))
	sum := uint64(0)
	for i, b := range got.Routes[0].Backends {
		sum += uint64(b.Weight)
		if zero := i%3 == 2; zero != (b.Weight == 0) {
			t.Errorf("%s has weight %d", b.Cluster, b.Weight)
		}
	}
	if sum != math.MaxUint32 {
		t.Errorf("the sum is %d, want %d", sum, uint32(math.MaxUint32))
	}
	for i := 0; i < len(backends); i += 3 {
		share := float64(got.Routes[0].Backends[i].Weight+got.Routes[0].Backends[i+1].Weight) / float64(sum)
		if math.Abs(share-0.05) > 1e-6 {
			t.Errorf("%s has %v of the traffic, want a twentieth", backends[i].Cluster, share)
		}
	}
}

// TestWithWeightsSharesTheRest: what no release touches is the same memory, so
// that to render it again is to find it unchanged.
func TestWithWeightsSharesTheRest(t *testing.T) {
	s := compileFile(t, "testdata/full.yaml")
	got := s.WithReleases(nil)
	if !reflect.DeepEqual(got, s) {
		t.Errorf("no release, and something changed")
	}
	got = s.WithReleases(map[string]Release{"default/fraud": {Generation: 7, Weights: map[string]int{"v1": 60, "v2": 40}}})
	if r := got.Routes[0]; !slices.Equal(weightsOf(&r), []uint32{60, 40}) || r.Generation != 7 || r.Policy != s.Routes[0].Policy || r.PolicyJSON != s.Routes[0].PolicyJSON {
		t.Errorf("got %v, generation %d, policy made anew: %v", weightsOf(&r), r.Generation, r.Policy != s.Routes[0].Policy)
	}
}

// TestStableFollows: the version with the most traffic is the stable one, in
// the policy, in its text, and behind a cache that answers first.
func TestStableFollows(t *testing.T) {
	s := compileFile(t, "testdata/full.yaml")
	for _, tc := range []struct {
		v1, v2 int
		want   string
	}{{90, 10, "v1"}, {50, 50, "v1"}, {49, 51, "v2"}, {0, 100, "v2"}, {0, 0, ""}} {
		got := s.WithReleases(released(map[string]map[string]int{"default/fraud": {"v1": tc.v1, "v2": tc.v2}}))
		read, err := policy.Parse(got.Routes[0].PolicyJSON)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []*policy.Policy{got.Routes[0].Policy, read} {
			if p.Stable != tc.want {
				t.Errorf("at %d and %d the stable version is %s, want %s", tc.v1, tc.v2, p.Stable, tc.want)
			}
		}
		if s.Routes[0].Policy.Stable != "v1" {
			t.Fatal("the snapshot itself was changed")
		}
	}
}

// TestFallen: while no version has a weight, the cache of one that was good
// answers, and of no other; and nobody asks a model in the background.
func TestFallen(t *testing.T) {
	s := snapshotOf(ruleOf("r", Backend{"ns/a/v1", 1}, Backend{"ns/a/v2", 0}))
	s.Routes[0].Policy = &policy.Policy{Format: policy.FormatVersion, Model: "ns/a", Stable: "v1", Deadline: 10,
		Ladder: []policy.Rung{{Cache: &policy.Cache{When: policy.First, TTL: 1, StaleWhileRevalidate: 1, Origin: &policy.Fallback{Version: "v1"}}}}}
	for _, fallen := range []string{"v1", "v2", ""} {
		got := s.WithReleases(map[string]Release{"ns/a": {Weights: map[string]int{}, Fallen: fallen}}).Routes[0].Policy
		if got.Stable != fallen || got.Ladder[0].Cache.Origin != nil {
			t.Errorf("stable is %q, want %q; the origin is %v", got.Stable, fallen, got.Ladder[0].Cache.Origin)
		}
	}
	if s.Routes[0].Policy.Ladder[0].Cache.Origin == nil {
		t.Error("the snapshot itself was changed")
	}
}

// TestOriginFollows: what asks the model in the background asks the stable
// version.
func TestOriginFollows(t *testing.T) {
	s := snapshotOf(ruleOf("r", Backend{"ns/a/v1", 1}, Backend{"ns/a/v2", 0}))
	s.Clusters[1].Endpoints = []policy.Endpoint{{Address: "192.0.2.2", Port: 9}}
	s.Clusters[1].AuthorizationFile = "/run/token"
	s.Routes[0].Policy = &policy.Policy{Format: policy.FormatVersion, Model: "ns/a", ServedName: "a", Stable: "v1", Deadline: 10, Reserve: 4,
		Ladder: []policy.Rung{{Cache: &policy.Cache{When: policy.First, TTL: 1, StaleWhileRevalidate: 1, Origin: &policy.Fallback{Version: "v1"}}}}}
	got := s.WithReleases(released(map[string]map[string]int{"ns/a": {"v2": 100}})).Routes[0].Policy.Ladder[0].Cache.Origin
	want := &policy.Fallback{Model: "ns/a", Version: "v2", ServedName: "a", Endpoints: s.Clusters[1].Endpoints, Deadline: 6, Credentials: "/run/token"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if s.Routes[0].Policy.Ladder[0].Cache.Origin.Version != "v1" {
		t.Error("the snapshot itself was changed")
	}
}

// TestAShiftMovesNoMoreThanItHasTo: the weights of a rule have one sum whatever
// the percents, so that a choice by a hash over it stays where it can.
func TestAShiftMovesNoMoreThanItHasTo(t *testing.T) {
	s := snapshotOf(ruleOf("r", Backend{"ns/a/v1", 60}, Backend{"ns/a/v2", 0}, Backend{"ns/b/v1", 40}))
	sums := map[uint32]bool{}
	for v2 := range 101 {
		sum := uint32(0)
		for _, w := range weightsOf(&s.WithReleases(released(map[string]map[string]int{"ns/a": {"v1": 100 - v2, "v2": v2}})).Routes[0]) {
			sum += w
		}
		sums[sum] = true
	}
	if len(sums) != 1 {
		t.Errorf("the sums are %v, want one", sums)
	}
}

// released are releases of which the weights alone matter.
func released(weights map[string]map[string]int) map[string]Release {
	out := map[string]Release{}
	for model, w := range weights {
		if w == nil {
			w = map[string]int{}
		}
		out[model] = Release{Weights: w}
	}
	return out
}
