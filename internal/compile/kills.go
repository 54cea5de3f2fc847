package compile

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/policy"
)

// RouteKill says what a killed route answers with.
type RouteKill struct {
	Mode   kill.Mode
	Target kill.Target // that has the mode
}

// Kills is the mark of a set of kills, by which a proxy shows that it works with
// it.
type Kills struct {
	Generation uint64 // of the set
	Enforced   string // hash of what hosts are told of it; never empty
}

// KillsOf is the mark of a set; of nil that of none.
func KillsOf(k *kill.Set) Kills {
	text, err := json.Marshal(k.Enforced())
	if err != nil { // a time outside of RFC 3339
		text = []byte(err.Error())
	}
	sum := sha256.Sum256(text)
	return Kills{Generation: k.Generation(), Enforced: hex.EncodeToString(sum[:8])}
}

// WithKills returns s as it is while the kills of a set hold at a time. It comes
// after WithReleases: what is killed gets no traffic, whatever a release gives it.
// It is pure, and shares with s what it does not change.
//
// In each rule the share of a killed version goes to the versions of its model
// that have weight there, in proportion; where none has, to the rule's other
// models; and where nothing is left, or the route itself is killed, all weights
// are 0 and the route's Kill says what its callers get. Of several modes it is
// the strictest among those that its traffic meets.
//
// What a ramp withholds goes where all of it went while it was killed, and where
// that was nowhere to a cluster without endpoints, which the ladder answers for.
// Weights are exact, whole numbers, and keep their sum where they can: of callers
// with a session those move that have to.
func (s *Snapshot) WithKills(k *kill.Set, now time.Time) *Snapshot {
	out := *s
	out.Kills = KillsOf(k)
	if len(k.All()) == 0 {
		return &out
	}
	out.Routes, out.Clusters = slices.Clone(s.Routes), slices.Clone(s.Clusters)
	clusters := make(map[string]*Cluster, len(s.Clusters))
	for i := range out.Clusters {
		c := &out.Clusters[i]
		clusters[c.Name] = c
		c.Killed = k.Of("", c.model(), c.Version, now).Killed
	}
	out.Inbound = inboundWithKills(s.Inbound, k, now)
	withheld := map[string]bool{}
	for i := range out.Routes {
		if none := out.Routes[i].heed(k, now, clusters); none != "" && !withheld[none] {
			withheld[none] = true
			out.Clusters = append(out.Clusters, Cluster{Name: none, HTTP2: none == noneGRPC, Killed: true, ConnectTimeout: time.Second})
		}
	}
	return &out
}

// noneGRPC is policy.ClusterNone of a GRPCRoute.
const noneGRPC = policy.ClusterNone + "/grpc"

// heed gives a route what kills leave of it, and returns the cluster for what is
// withheld; empty: nothing is.
func (r *Route) heed(k *kill.Set, now time.Time, clusters map[string]*Cluster) (none string) {
	r.KillGeneration, r.KillMark = killsOn(r.killTargets(clusters), k)
	if len(r.Backends) == 0 { // of a mesh: what stops all routes, or this one, stops it too
		if e := k.Of(r.Name, "", "", now); e.Killed {
			r.Kill = &RouteKill{Mode: e.Mode, Target: e.Target}
		}
		return ""
	}
	effects := make([]kill.Effect, len(r.Backends))
	touched := false
	for i, b := range r.Backends {
		version := ""
		if c := clusters[b.Cluster]; c != nil {
			version = c.Version
		}
		effects[i] = k.Of(r.Name, clusters[b.Cluster].model(), version, now)
		touched = touched || effects[i].Killed || effects[i].Percent < 100
	}
	if !touched {
		return ""
	}
	if r.Kill = verdictOn(r.Backends, effects); r.Kill != nil {
		r.Backends = slices.Clone(r.Backends)
		for i := range r.Backends {
			r.Backends[i].Weight = 0
		}
	} else {
		r.Backends, none = r.share(effects, clusters)
	}
	r.forget(k, now, clusters)
	return none
}

// killTargets are the targets that concern the route, each once.
func (r *Route) killTargets(clusters map[string]*Cluster) []kill.Target {
	out := []kill.Target{kill.Everything, kill.ForRoute(r.Name)}
	for _, b := range r.Backends {
		c := clusters[b.Cluster]
		if c == nil {
			continue
		}
		for _, t := range []kill.Target{kill.ForModel(c.model()), kill.ForVersion(c.model(), c.Version)} {
			if !slices.Contains(out, t) {
				out = append(out, t)
			}
		}
	}
	return out
}

// KillTargets are the targets that concern each route, those at the models' own sidecars
// among them, by its name.
func (s *Snapshot) KillTargets() map[string][]kill.Target {
	clusters := make(map[string]*Cluster, len(s.Clusters))
	for i := range s.Clusters {
		clusters[s.Clusters[i].Name] = &s.Clusters[i]
	}
	out := map[string][]kill.Target{}
	for i := range s.Routes {
		out[s.Routes[i].Name] = s.Routes[i].killTargets(clusters)
	}
	for i := range s.Inbound {
		in := &s.Inbound[i]
		out[in.Name] = in.killTargets(in.cluster())
	}
	return out
}

// killsOn sums the generations of targets, and marks how they stand: 0, where none was
// ever killed.
func killsOn(targets []kill.Target, k *kill.Set) (generation, mark uint64) {
	hash := sha256.New()
	for _, t := range targets {
		if s := k.Get(t); s.Generation > 0 {
			generation += s.Generation
			fmt.Fprintf(hash, "%s %d %t %s\n", t.Key(), s.Generation, s.Killed, s.Mode)
		}
	}
	if generation == 0 {
		return 0, 0
	}
	return generation, max(binary.BigEndian.Uint64(hash.Sum(nil)), 1)
}

// verdictOn is the kill of a rule whose versions with weight, or without any all
// of whose versions, are killed; nil: something is left.
func verdictOn(backends []Backend, effects []kill.Effect) *RouteKill {
	weighted := slices.ContainsFunc(backends, func(b Backend) bool { return b.Weight > 0 })
	var out *RouteKill
	for i, e := range effects {
		switch {
		case weighted && backends[i].Weight == 0:
		case !e.Killed:
			return nil
		case out == nil || kill.Stricter(out.Mode, e.Mode) != out.Mode:
			out = &RouteKill{Mode: e.Mode, Target: e.Target}
		}
	}
	return out
}

// share divides a rule's weights among what is not killed: first what is killed
// is given to what is not, then of that what a ramp withholds to what has none.
func (r *Route) share(effects []kill.Effect, clusters map[string]*Cluster) (out []Backend, none string) {
	parts := make([]*big.Rat, len(r.Backends))
	for i, b := range r.Backends {
		parts[i] = new(big.Rat).SetUint64(uint64(b.Weight))
	}
	sameModel := func(i, j int) bool {
		return clusters[r.Backends[i].Cluster].model() == clusters[r.Backends[j].Cluster].model()
	}
	live := func(j int) bool { return !effects[j].Killed }
	full := func(j int) bool { return live(j) && effects[j].Percent == 100 }

	files := slices.Clone(parts)
	for i := range parts {
		if !live(i) {
			parts[i] = new(big.Rat)
			give(parts, files, files[i], func(j int) bool { return live(j) && sameModel(i, j) })
		}
	}
	before, withheld := slices.Clone(parts), new(big.Rat)
	for i := range parts {
		if !live(i) || full(i) {
			continue
		}
		rest := new(big.Rat).Mul(before[i], big.NewRat(int64(100-effects[i].Percent), 100))
		parts[i] = new(big.Rat).Sub(parts[i], rest)
		if !give(parts, before, rest, func(j int) bool { return full(j) && sameModel(i, j) }) && !give(parts, before, rest, full) {
			withheld.Add(withheld, rest)
		}
	}
	out = slices.Clone(r.Backends)
	if withheld.Sign() > 0 {
		none = policy.ClusterNone
		if r.GRPC {
			none = noneGRPC
		}
		out, parts = append(out, Backend{Cluster: none}), append(parts, withheld)
	}
	for i, weight := range capped(whole(parts)) {
		out[i].Weight = uint32(weight)
	}
	return out, none
}

// give adds to those parts that may have it, in proportion to what they were
// before; false: nobody may. It changes parts, and none of the numbers in it.
func give(parts, before []*big.Rat, what *big.Rat, to func(j int) bool) bool {
	sum := new(big.Rat)
	for j := range before {
		if to(j) {
			sum.Add(sum, before[j])
		}
	}
	if sum.Sign() == 0 {
		return false
	}
	factor := new(big.Rat).Quo(what, sum)
	for j := range before {
		if to(j) {
			parts[j] = new(big.Rat).Add(parts[j], new(big.Rat).Mul(before[j], factor))
		}
	}
	return true
}

// whole multiplies parts by the least number that makes all of them whole.
func whole(parts []*big.Rat) []*big.Int {
	common := big.NewInt(1)
	for _, p := range parts {
		divisor := new(big.Int).GCD(nil, nil, common, p.Denom())
		common.Mul(common, new(big.Int).Div(p.Denom(), divisor))
	}
	out := make([]*big.Int, len(parts))
	for i, p := range parts {
		out[i] = new(big.Int).Mul(p.Num(), new(big.Int).Div(common, p.Denom()))
	}
	return out
}

// forget keeps the policy from what is killed: the stable version is one that is
// asked, and where none of the policy's model is, there is none whose cached
// answers count, and none that is asked in the background.
func (r *Route) forget(k *kill.Set, now time.Time, clusters map[string]*Cluster) {
	if r.Policy == nil {
		return
	}
	heaviest := r.heaviest(clusters)
	switch {
	case heaviest != nil && heaviest.Version != r.Policy.Stable:
		r.setPolicy(withStable(r.Policy, heaviest))
	case heaviest == nil && (r.Kill != nil || k.Of(r.Name, r.Policy.Model, r.Policy.Stable, now).Killed):
		r.setPolicy(withFallen(r.Policy, ""))
	}
}
