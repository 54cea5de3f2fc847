package compile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/config"
)

// anyHost is the domain of a route that names no host.
const anyHost = "*"

// candidate is one match of one rule under one of its route's hosts.
type candidate struct {
	host  string
	match Match
	route int // index into Snapshot.Routes
	// for the order among equals, and for messages
	object *config.Object[gatewayv1.HTTPRoute]
	rule   int
	index  int
}

// hosts orders the matches as the Gateway API does: the most specific host
// first; then an exact path, an expression, the longest prefix; then a method,
// the most headers, the most query parameters; then the older route, the name,
// and the order in the file.
func (c *compiler) hosts(routes []Route) []Host {
	index := map[string]int{}
	for i := range routes {
		index[routes[i].Name] = i
	}
	var all []candidate
	domains := map[string]bool{}
	for _, r := range c.world.Routes {
		hosts := hostNames(r.Value)
		for _, h := range hosts {
			domains[h] = true
		}
		for i := range r.Value.Spec.Rules {
			for j, m := range matches(&r.Value.Spec.Rules[i]) {
				for _, h := range hosts {
					all = append(all, candidate{h, m, index[routeName(r, i)], r, i, j})
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
		if taken.object == k.object && taken.rule == k.rule && taken.index == k.index {
			continue // the same host twice, which validation refuses
		}
		c.warn(k.object.Source, fmt.Sprintf("spec.rules[%d].matches[%d]", k.rule, k.index),
			"is never reached: %s has the same match and comes first", routeName(taken.object, taken.rule))
	}
}

func hostNames(r *gatewayv1.HTTPRoute) []string {
	if len(r.Spec.Hostnames) == 0 {
		return []string{anyHost}
	}
	out := make([]string, len(r.Spec.Hostnames))
	for i, h := range r.Spec.Hostnames {
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
		cmp.Compare(pathRank(b.match.PathType), pathRank(a.match.PathType)),
		cmp.Compare(len(b.match.Path), len(a.match.Path)),
		cmp.Compare(min(len(b.match.Method), 1), min(len(a.match.Method), 1)),
		cmp.Compare(len(b.match.Headers), len(a.match.Headers)),
		cmp.Compare(len(b.match.Query), len(a.match.Query)),
		a.object.Value.CreationTimestamp.Compare(b.object.Value.CreationTimestamp.Time),
		cmp.Compare(a.object.Key(), b.object.Key()),
		cmp.Compare(a.rule, b.rule),
		cmp.Compare(a.index, b.index))
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

func pathRank(t PathType) int {
	return map[PathType]int{PathExact: 2, PathRegex: 1, PathPrefix: 0}[t]
}

// matches reads a rule's matches; one without any matches every request.
func matches(rule *gatewayv1.HTTPRouteRule) []Match {
	if len(rule.Matches) == 0 {
		return []Match{{Path: "/"}}
	}
	out := make([]Match, len(rule.Matches))
	for i := range rule.Matches {
		out[i] = match(&rule.Matches[i])
	}
	return out
}

func match(m *gatewayv1.HTTPRouteMatch) Match {
	out := Match{Path: "/"}
	if m.Path != nil {
		out.Path = or(m.Path.Value, "/")
		switch or(m.Path.Type, gatewayv1.PathMatchPathPrefix) {
		case gatewayv1.PathMatchExact:
			out.PathType = PathExact
		case gatewayv1.PathMatchRegularExpression:
			out.PathType = PathRegex
		default:
			if out.Path = strings.TrimRight(out.Path, "/"); out.Path == "" {
				out.Path = "/"
			}
		}
	}
	out.Method = string(or(m.Method, ""))
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, ValueMatch{
			Name:  strings.ToLower(string(h.Name)),
			Value: h.Value,
			Regex: or(h.Type, gatewayv1.HeaderMatchExact) == gatewayv1.HeaderMatchRegularExpression,
		})
	}
	for _, q := range m.QueryParams {
		out.Query = append(out.Query, ValueMatch{
			Name:  string(q.Name),
			Value: q.Value,
			Regex: or(q.Type, gatewayv1.QueryParamMatchExact) == gatewayv1.QueryParamMatchRegularExpression,
		})
	}
	return out
}
