package istio

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/safestate/safestate/internal/config"
)

// Clashes finds the rules whose name in Envoy an older rule has as well, on a host that
// both may have: by its Key, what is to be done about it. istiod calls a
// rule by its own name alone, so that two teams' rules "score" on one gateway are one
// to whoever merges by names: the oldest has it, as in the Gateway API, since else
// whoever comes later could take its policy away. alone are the rules whose names no
// other one has, wherever it is.
func Clashes(rules []config.Rule, o Options) (clashes map[string]string, alone map[string]bool) {
	domain := o.WithDefaults().ClusterDomain
	clashes, alone = map[string]string{}, map[string]bool{}
	named := map[string][]*config.Rule{}
	for i := range rules {
		alone[Key(rules[i].Kind, rules[i].Label())] = true
		for _, name := range envoyNames(&rules[i]) {
			named[name] = append(named[name], &rules[i])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		all := named[name]
		if len(all) == 1 {
			continue
		}
		slices.SortStableFunc(all, func(a, b *config.Rule) int {
			return cmp.Or(a.Born.Compare(b.Born), cmp.Compare(a.Label(), b.Label()), cmp.Compare(a.Kind, b.Kind))
		})
		taken := seating{}
		for _, r := range all {
			delete(alone, Key(r.Kind, r.Label()))
			at := seats(r, domain)
			if older := taken.meets(at); older != nil {
				clashes[Key(r.Kind, r.Label())] = fmt.Sprintf("route %s: istiod calls it %q, as it calls %s, which is older; want another name for the rule", r.Label(), name, older)
			}
			taken.add(at, r)
		}
	}
	return clashes, alone
}

// Key tells rules apart that have one label: they are of several kinds. route is the
// rule's label, which is its route's name everywhere else.
func Key(kind, route string) string { return kind + " " + route }

// envoyNames are istiod's names of a rule's Envoy routes; of one that has none, none.
func envoyNames(r *config.Rule) []string {
	name := ""
	switch {
	case r.HTTP != nil && r.HTTP.Name != nil:
		name = string(*r.HTTP.Name)
	case r.GRPC != nil && r.GRPC.Name != nil:
		name = string(*r.GRPC.Name)
	}
	if name == "" {
		if r.Kind == config.KindVirtualService {
			return nil
		}
		return []string{fmt.Sprintf("%s.%s.%d", r.Namespace, r.Route, r.Index)}
	}
	out := []string{name}
	for _, m := range r.Matches {
		out = append(out, name+"."+m)
	}
	return out
}

// seating is who is served where, by all ways to ask: an empty at or host is one that
// takes in all, and whoever is met by anybody.
type seating map[seatKey]*config.Rule

type seatKey struct{ of, at, host string }

// anyone is in the place of an at or a host: whatever it is.
const anyone = "*any"

func (s seat) keys() []seatKey {
	if len(s.hosts) == 0 {
		return []seatKey{{s.of, s.at, ""}}
	}
	out := make([]seatKey, len(s.hosts))
	for i, h := range s.hosts {
		out[i] = seatKey{s.of, s.at, h}
	}
	return out
}

// meets returns a rule that may be in one virtual host of one proxy with one at these
// seats; nil: there is none.
func (t seating) meets(at []seat) *config.Rule {
	for _, s := range at {
		for _, k := range s.keys() {
			places, hosts := []string{k.at, ""}, []string{k.host, ""}
			if k.at == "" {
				places = []string{anyone}
			}
			if k.host == "" {
				hosts = []string{anyone}
			}
			for _, place := range places {
				for _, host := range hosts {
					if r := t[seatKey{k.of, place, host}]; r != nil {
						return r
					}
				}
			}
		}
	}
	return nil
}

// add seats a rule; who was there first is named.
func (t seating) add(at []seat, r *config.Rule) {
	for _, s := range at {
		for _, k := range s.keys() {
			for _, place := range []string{k.at, anyone} {
				for _, host := range []string{k.host, anyone} {
					if key := (seatKey{k.of, place, host}); t[key] == nil {
						t[key] = r
					}
				}
			}
		}
	}
}

// seat is where a rule is served: at the gateways or at the sidecars, by which of
// them, and for which hosts; none: for all.
type seat struct {
	of, at string // an empty at is any of them
	hosts  []string
}

func seats(r *config.Rule, domain string) []seat {
	var hosts []string
	for _, h := range r.Hosts {
		hosts = append(hosts, hostOf(string(h), r.Kind, r.Namespace, domain))
	}
	if r.Kind == config.KindVirtualService { // a proxy may be of both kinds of Gateway
		var out []seat
		for i := range r.Parents {
			of := "gateway"
			if r.Parents[i].Name == "mesh" {
				of = "sidecar"
			}
			out = append(out, seat{of: of, hosts: hosts})
		}
		return out
	}
	var out []seat
	for i := range r.Parents {
		p := &r.Parents[i]
		namespace := r.Namespace
		if p.Namespace != nil {
			namespace = string(*p.Namespace)
		}
		if p.Kind != nil && *p.Kind == "Service" {
			out = append(out, seat{of: "sidecar", hosts: []string{serviceHost(string(p.Name), namespace, domain)}})
			continue
		}
		out = append(out, seat{of: "gateway", at: namespace + "/" + string(p.Name), hosts: hosts})
	}
	return out
}

// hostOf is a route's host as istiod has it: in lower case, and in a VirtualService a
// name without dots is that of a Service.
func hostOf(host, kind, namespace, domain string) string {
	host = strings.ToLower(host)
	if kind == config.KindVirtualService && !strings.Contains(host, ".") && host != "*" {
		return serviceHost(host, namespace, domain)
	}
	return host
}

func serviceHost(name, namespace, domain string) string {
	return name + "." + namespace + ".svc." + domain
}

// Waypoint is the class of Gateways that take no EnvoyFilter.
const Waypoint = "istio-waypoint"

// AtWaypoints finds the rules that are attached to a Gateway of class Waypoint: by
// its Key, what is to be done about it. class is that of a Gateway;
// empty: there is none.
func AtWaypoints(rules []config.Rule, class func(namespace, name string) string) map[string]string {
	out := map[string]string{}
	for i := range rules {
		r := &rules[i]
		for j := range r.Parents {
			p := &r.Parents[j]
			namespace := r.Namespace
			if p.Namespace != nil {
				namespace = string(*p.Namespace)
			}
			if p.Kind != nil && *p.Kind != "Gateway" || class(namespace, string(p.Name)) != Waypoint {
				continue
			}
			out[Key(r.Kind, r.Label())] = fmt.Sprintf("route %s: is attached to Gateway %s/%s, a waypoint, which takes no EnvoyFilter; want another Gateway, or the Service with sidecars", r.Label(), namespace, p.Name)
		}
	}
	return out
}
