package compile

import (
	"math"
	"math/big"
	"slices"

	"github.com/safestate/safestate/internal/policy"
)

// Release is what releases have made of one model.
type Release struct {
	Generation uint64
	// Weights are percents by version; nil: the files' hold.
	Weights map[string]int
	// Fallen is the version whose cached answers stand in while all Weights are 0;
	// empty: none is fit to. Where a version has a weight it is the heaviest one.
	Fallen string
}

// WithReleases returns s with the weights of released models in the place of the
// files', by the models' names (namespace/name). It is pure, and shares with s
// what it does not change.
//
// In each rule a model keeps the share that its versions have together in the
// file, and the percents divide it among those of them that the rule names; a
// version that the percents do not name has 0. Weights are exact, whole numbers
// in proportion; in a rule of one model whose named versions have a weight in
// the file they are the percents themselves. Where all of a model's versions in
// a rule have 0 they stay at 0: nothing gets its share but the rule's other
// models, and where there is none, a request is answered without a model. A
// model without percents keeps its weights, and one that the file gives no
// weight in a rule gets none there.
func (s *Snapshot) WithReleases(releases map[string]Release) *Snapshot {
	out := *s
	out.Routes = slices.Clone(s.Routes)
	clusters := make(map[string]*Cluster, len(s.Clusters))
	for i := range s.Clusters {
		clusters[s.Clusters[i].Name] = &s.Clusters[i]
	}
	for i := range out.Routes {
		r := &out.Routes[i]
		r.Generation = releases[generationOf(r, clusters)].Generation
		r.Releases = releasesOf(r, releases, clusters)
		if divided, changed := divide(r.Backends, releases, clusters); changed {
			r.Backends = divided
		}
		r.follow(releases, clusters)
	}
	return &out
}

// releasesOf sums the generations of all models that a route leads to.
func releasesOf(r *Route, releases map[string]Release, clusters map[string]*Cluster) (sum uint64) {
	seen := map[string]bool{}
	for _, b := range r.Backends {
		if m := clusters[b.Cluster].model(); !seen[m] {
			seen[m] = true
			sum += releases[m].Generation
		}
	}
	return sum
}

// generationOf names the model whose generation a route carries: its policy's,
// which is that of the heaviest version in the file, or without a policy the
// first backend's.
func generationOf(r *Route, clusters map[string]*Cluster) string {
	if r.Policy != nil {
		return r.Policy.Model
	}
	if len(r.Backends) == 0 {
		return ""
	}
	return clusters[r.Backends[0].Cluster].model()
}

// model is namespace/name of the cluster's model; of no cluster empty.
func (c *Cluster) model() string {
	if c == nil {
		return ""
	}
	return c.Namespace + "/" + c.Model
}

// stake is what one model has in one rule.
type stake struct {
	share uint64 // sum of its versions' weights in the file
	total uint64 // sum of their percents, or of their weights without any
}

// divide gives a rule's backends their weights; false: they are as they were.
func divide(backends []Backend, releases map[string]Release, clusters map[string]*Cluster) ([]Backend, bool) {
	stakes, parts, released := map[string]*stake{}, make([]uint64, len(backends)), false
	for i, b := range backends {
		c := clusters[b.Cluster]
		k := stakes[c.model()]
		if k == nil {
			k = &stake{}
			stakes[c.model()] = k
		}
		parts[i] = uint64(b.Weight)
		if percents := releases[c.model()].Weights; percents != nil && c != nil {
			parts[i], released = uint64(max(percents[c.Version], 0)), true
		}
		k.share += uint64(b.Weight)
		k.total += parts[i]
	}
	if !released {
		return nil, false
	}
	factors := factorsOf(stakes)
	exact := make([]*big.Int, len(backends))
	for i, b := range backends {
		exact[i] = new(big.Int).Mul(new(big.Int).SetUint64(parts[i]), factors[clusters[b.Cluster].model()])
	}
	out := slices.Clone(backends)
	for i, weight := range capped(exact) {
		out[i].Weight = uint32(weight)
	}
	return out, !slices.Equal(out, backends)
}

// factorsOf gives for each model what to multiply its parts by, so that its sum
// over the rule is in proportion to its share: share / total of every model,
// brought to the smallest whole numbers. They do not depend on how the percents
// are divided while their sum is the same, so that in a rule whose choice is by
// a hash a shift moves nobody but those it has to.
func factorsOf(stakes map[string]*stake) map[string]*big.Int {
	ratios, common := map[string]*big.Rat{}, big.NewInt(1) // the least common denominator
	for name, k := range stakes {
		r := new(big.Rat)
		if k.total > 0 {
			r.SetFrac(new(big.Int).SetUint64(k.share), new(big.Int).SetUint64(k.total))
		}
		divisor := new(big.Int).GCD(nil, nil, common, r.Denom())
		common.Mul(common, new(big.Int).Div(r.Denom(), divisor))
		ratios[name] = r
	}
	factors, divisor := map[string]*big.Int{}, new(big.Int)
	for name, r := range ratios {
		f := new(big.Int).Div(common, r.Denom())
		factors[name] = f.Mul(f, r.Num())
		divisor.GCD(nil, nil, divisor, f)
	}
	if divisor.Sign() > 0 {
		for _, f := range factors {
			f.Div(f, divisor)
		}
	}
	return factors
}

// capped keeps the sum under 2^32, which is Envoy's bound, in the nearest
// proportion that has whole numbers.
func capped(exact []*big.Int) []uint64 {
	sum := new(big.Int)
	for _, e := range exact {
		sum.Add(sum, e)
	}
	if sum.Cmp(big.NewInt(math.MaxUint32)) > 0 {
		return apportion(exact, math.MaxUint32)
	}
	out := make([]uint64, len(exact))
	for i, e := range exact {
		out[i] = e.Uint64()
	}
	return out
}

// follow makes the heaviest version of the policy's own model the stable one, the
// first among equals. Where releases have taken all weights away it is the fallen
// one, which nobody asks, not in the background either; where the files give none
// it stays.
func (r *Route) follow(releases map[string]Release, clusters map[string]*Cluster) {
	if r.Policy == nil {
		return
	}
	heaviest, release := r.heaviest(clusters), releases[r.Policy.Model]
	switch {
	case heaviest != nil && heaviest.Version != r.Policy.Stable:
		r.setPolicy(withStable(r.Policy, heaviest))
	case heaviest == nil && release.Weights != nil:
		r.setPolicy(withFallen(r.Policy, release.Fallen))
	}
}

// heaviest is the version of the policy's own model that has the most weight, the
// first among equals; nil: none has any.
func (r *Route) heaviest(clusters map[string]*Cluster) *Cluster {
	var out *Cluster
	most := uint32(0)
	for _, b := range r.Backends {
		if c := clusters[b.Cluster]; c.model() == r.Policy.Model && b.Weight > most {
			out, most = c, b.Weight
		}
	}
	return out
}

// setPolicy puts a policy in the place of the route's own.
func (r *Route) setPolicy(p *policy.Policy) {
	text, err := p.Marshal()
	if err != nil {
		return // it was compiled with each of its versions as the stable one
	}
	r.Policy, r.PolicyJSON = p, string(text)
}
