package compile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/config"
)

// anyHost is the domain of a route that names no host.
const anyHost = "*"

// candidate is one match of one rule under one of its route's hosts.
type candidate struct {
	host  string
	match Match
	rank  rank
	route int // index into Snapshot.Routes
	// for the order among equals, and for messages
	rule    *config.Rule
	created time.Time
	index   int // of the match in its rule
}

// rank is what a match has over others of its kind, the first difference
// deciding.
type rank [5]int

// owner is a route of either kind, as far as its matches go.
type owner struct {
	hosts   []string
	created time.Time
	rules   []config.Rule
}

// hosts orders the matches as the Gateway API does: the most specific host
// first; of an HTTPRoute's matches an exact path, an expression, the longest
// prefix, then a method, the most headers, the most query parameters; of a
// GRPCRoute's the longest service, the longest method, the most headers; then
// the older route, the name, and the order in the file. The Gateway API lets
// only one kind of route have a host. Here both may, and a gRPC call is
// looked for among the GRPCRoutes first.
func (c *compiler) hosts(routes []Route) []Host {
	index := map[string]int{}
	for i := range routes {
		index[routes[i].Name] = i
	}
	var all []candidate
	domains := map[string]bool{}
	for _, o := range c.owners() {
		for _, h := range o.hosts {
			domains[h] = true
		}
		for i := range o.rules {
			for j, m := range matches(&o.rules[i]) {
				for _, h := range o.hosts {
					all = append(all, candidate{h, m.Match, m.rank, index[o.rules[i].Label()], &o.rules[i], o.created, j})
				}
			}
		}
	}
	slices.SortStableFunc(all, compareCandidates)
	c.shadowed(all)
	out := make([]Host, 0, len(domains))
	for _, domain := range slices.Sorted(maps.Keys(domains)) {
		host := Host{Domain: domain}
		for i := range all {
			if covers(all[i].host, domain) {
				host.Entries = append(host.Entries, Entry{Match: all[i].match, Route: all[i].route})
			}
		}
		out = append(out, host)
	}
	return out
}

// owners lists the routes of both kinds with their rules.
func (c *compiler) owners() []owner {
	var out []owner
	rules := c.world.Rules()
	take := func(n int, hostnames []gatewayv1.Hostname, created metav1.Time) {
		out = append(out, owner{hostNames(hostnames), created.Time, rules[:n]})
		rules = rules[n:]
	}
	for _, r := range c.world.Routes {
		take(len(r.Value.Spec.Rules), r.Value.Spec.Hostnames, r.Value.CreationTimestamp)
	}
	for _, r := range c.world.GRPCRoutes {
		take(len(r.Value.Spec.Rules), r.Value.Spec.Hostnames, r.Value.CreationTimestamp)
	}
	return out
}

// shadowed warns of a match that another one takes everything from.
func (c *compiler) shadowed(all []candidate) {
	first := map[string]*candidate{}
	for i := range all {
		k := &all[i]
		key := fmt.Sprintf("%s %+v", k.host, k.match)
		taken, twice := first[key]
		if !twice {
			first[key] = k
			continue
		}
		if taken.rule == k.rule && taken.index == k.index {
			continue // the same host twice, which validation refuses
		}
		c.warn(k.rule.Source, fmt.Sprintf("spec.rules[%d].matches[%d]", k.rule.Index, k.index),
			"is never reached: %s has the same match and comes first", taken.rule.Label())
	}
}

func hostNames(names []gatewayv1.Hostname) []string {
	if len(names) == 0 {
		return []string{anyHost}
	}
	out := make([]string, len(names))
	for i, h := range names {
		out[i] = string(h)
	}
	return out
}

// covers reports whether every host of a domain is one of pattern's.
func covers(pattern, domain string) bool {
	if pattern == anyHost || pattern == domain {
		return true
	}
	suffix, wild := strings.CutPrefix(pattern, "*")
	return wild && strings.HasSuffix(strings.TrimPrefix(domain, "*"), suffix)
}

func compareCandidates(a, b candidate) int {
	return cmp.Or(
		cmp.Compare(hostRank(b.host), hostRank(a.host)),
		cmp.Compare(kindRank(&b.match), kindRank(&a.match)),
		slices.Compare(b.rank[:], a.rank[:]),
		a.created.Compare(b.created),
		cmp.Compare(a.rule.Namespace+"/"+a.rule.Route, b.rule.Namespace+"/"+b.rule.Route),
		cmp.Compare(a.rule.Index, b.rule.Index),
		cmp.Compare(a.index, b.index))
}

// kindRank: what matches gRPC calls only comes first.
func kindRank(m *Match) int {
	if m.GRPC {
		return 1
	}
	return 0
}

// hostRank: a name over a wildcard, a longer wildcard over a shorter one.
func hostRank(host string) int {
	const longest = 1 << 10
	switch {
	case host == anyHost:
		return 0
	case strings.HasPrefix(host, "*"):
		return len(host)
	}
	return longest + len(host)
}
