package config

import (
	"fmt"
	"slices"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// The Gateway API's kinds of route that are read, and Istio's, which only a mesh
// serves.
const (
	KindHTTPRoute      = "HTTPRoute"
	KindGRPCRoute      = "GRPCRoute"
	KindVirtualService = "VirtualService"
)

// GroupIstio is the group of KindVirtualService.
const GroupIstio = "networking.istio.io"

// groupOf is the group of a kind of route; empty: it is none.
func groupOf(kind string) string {
	switch kind {
	case KindHTTPRoute, KindGRPCRoute:
		return gatewayv1.GroupName
	case KindVirtualService:
		return GroupIstio
	}
	return ""
}

// Rule is one rule of a route of either kind, as far as they are alike.
type Rule struct {
	Kind      string // KindHTTPRoute, KindGRPCRoute or KindVirtualService
	Namespace string
	Route     string // the route's name
	Index     int    // of the rule in its route
	Name      string // the rule's own, or rule-N, from 0, where it has none
	Parents   []gatewayv1.ParentReference
	Hosts     []gatewayv1.Hostname
	Matches   []string // names that a VirtualService's matches have
	Backends  []Backend
	Source    *Source   // the route's
	Born      time.Time // when the route was made; zero: not known

	HTTP *gatewayv1.HTTPRouteRule // nil with KindGRPCRoute; of a VirtualService what of its entry is alike
	GRPC *gatewayv1.GRPCRouteRule // nil with KindHTTPRoute
	// Beside: of a mesh's GRPCRoute, there are destinations that Backends has not, or some
	// have filters.
	Beside bool
}

// Backend is where a rule leads: a Service, or a subset of one.
type Backend struct {
	gatewayv1.BackendRef
	Subset string // of an Istio DestinationRule; empty: the whole Service
}

// Label is namespace/route/rule: the route label of metrics, and one rule's
// alone in a valid world.
func (r *Rule) Label() string { return r.Namespace + "/" + r.Route + "/" + r.Name }

// String names the rule for a person.
func (r *Rule) String() string {
	return fmt.Sprintf("rule %s of %s %s/%s", r.Name, r.Kind, r.Namespace, r.Route)
}

// Rules lists the rules of all routes: those of HTTPRoutes first, each kind in
// the order of its names, then what a mesh serves.
func (w *World) Rules() []Rule {
	var out []Rule
	for _, r := range w.Routes {
		out = append(out, httpRules(r)...)
	}
	for _, r := range w.GRPCRoutes {
		out = append(out, grpcRules(r)...)
	}
	return append(out, w.Mesh...)
}

// rulesOf returns the rules of one route; false: there is no such route.
func (w *World) rulesOf(kind, namespace, name string) ([]Rule, bool) {
	var served []Rule
	for _, r := range slices.Concat(w.Mesh, w.twins) {
		if r.Kind == kind && r.Namespace == namespace && r.Route == name {
			served = append(served, r)
		}
	}
	if len(served) > 0 {
		return served, true
	}
	if kind == KindGRPCRoute {
		if r := named(w.GRPCRoutes, namespace, name); r != nil {
			return grpcRules(r), true
		}
		return nil, false
	}
	if r := named(w.Routes, namespace, name); r != nil && kind == KindHTTPRoute {
		return httpRules(r), true
	}
	return nil, false
}

// apart leaves out of a mesh's rules those whose label an older rule of another kind has.
func apart(rules []Rule) (first, twins []Rule) {
	oldest := map[string]*Rule{}
	for i := range rules {
		r := &rules[i]
		if o := oldest[r.Label()]; o == nil || r.Born.Before(o.Born) {
			oldest[r.Label()] = r
		}
	}
	for i := range rules {
		if r := rules[i]; r.Kind == oldest[r.Label()].Kind {
			first = append(first, r)
		} else {
			twins = append(twins, r)
		}
	}
	return first, twins
}

// twinOf is the rule of another kind by whose label a rule does not count; nil: there
// is none.
func (w *World) twinOf(r *Rule) *Rule {
	for i := range w.twins {
		if w.twins[i].String() != r.String() {
			continue
		}
		for j := range w.Mesh {
			if w.Mesh[j].Label() == r.Label() {
				return &w.Mesh[j]
			}
		}
	}
	return nil
}

// tellTwins warns of rules that do not count.
func tellTwins(w *World) (out Problems) {
	for i := range w.twins {
		r := &w.twins[i]
		out = append(out, Problem{Warning: true, Object: r.Kind + " " + r.Namespace + "/" + r.Route, Field: fmt.Sprintf("spec.rules[%d].name", r.Index),
			Message: fmt.Sprintf("is %s, and so is that of %s: no policy and no release of safestate's reaches this one; want another name for the rule or the route", quote(r.Name), w.twinOf(r))})
	}
	return out
}

// named returns an object by its names; nil: there is none.
func named[T any](objects []*Object[T], namespace, name string) *Object[T] {
	for _, o := range objects {
		if o.Namespace == namespace && o.Name == name {
			return o
		}
	}
	return nil
}

func httpRules(r *Object[gatewayv1.HTTPRoute]) []Rule {
	out := make([]Rule, len(r.Value.Spec.Rules))
	for i := range out {
		rule := &r.Value.Spec.Rules[i]
		out[i] = Rule{Kind: KindHTTPRoute, Namespace: r.Namespace, Route: r.Name, Index: i, Name: RuleName(rule.Name, i), Parents: r.Value.Spec.ParentRefs, Hosts: r.Value.Spec.Hostnames, Source: r.Source, HTTP: rule}
		for j := range rule.BackendRefs {
			out[i].Backends = append(out[i].Backends, Backend{BackendRef: rule.BackendRefs[j].BackendRef})
		}
	}
	return out
}

func grpcRules(r *Object[gatewayv1.GRPCRoute]) []Rule {
	out := make([]Rule, len(r.Value.Spec.Rules))
	for i := range out {
		rule := &r.Value.Spec.Rules[i]
		out[i] = Rule{Kind: KindGRPCRoute, Namespace: r.Namespace, Route: r.Name, Index: i, Name: RuleName(rule.Name, i), Parents: r.Value.Spec.ParentRefs, Hosts: r.Value.Spec.Hostnames, Source: r.Source, GRPC: rule}
		for j := range rule.BackendRefs {
			out[i].Backends = append(out[i].Backends, Backend{BackendRef: rule.BackendRefs[j].BackendRef})
		}
	}
	return out
}

// RuleName is what a rule is called: its own name, or rule-N by its index.
func RuleName(name *gatewayv1.SectionName, index int) string {
	if name != nil && *name != "" {
		return string(*name)
	}
	return fmt.Sprintf("rule-%d", index)
}

// routeNames checks what hosts and rules are called, of a route of either kind.
func (c *checker) routeNames(hostnames []gatewayv1.Hostname, rules []Rule) {
	c.hostnames(hostnames)
	if len(rules) == 0 {
		c.fail("spec.rules", "is missing; want at least one rule with its backendRefs")
	}
	seen := map[string]bool{}
	for i := range rules {
		field, name := fmt.Sprintf("spec.rules[%d].name", i), rules[i].Name
		if !subdomain(name) {
			c.fail(field, "is %s; want lower-case letters, digits, - and ., 253 at most", quote(name))
		}
		if seen[name] {
			c.fail(field, "is %s, which an earlier rule has too; want one name each", quote(name))
		}
		seen[name] = true
	}
}

// labels reports rules of different kinds of route that would have one label.
func labels(w *World, problems *Problems) {
	first := map[string]*Rule{}
	rules := w.Rules()
	for i := range rules {
		r := &rules[i]
		taken, twice := first[r.Label()]
		if !twice {
			first[r.Label()] = r
			continue
		}
		if taken.Kind != r.Kind { // else the names are twice, which is reported
			c := &checker{w, r.Source, problems}
			c.fail(fmt.Sprintf("spec.rules[%d].name", r.Index), "is %s, and so is that of %s %s/%s (%s): they would be one in metrics; want another name for the rule or the route",
				quote(r.Name), taken.Kind, taken.Namespace, taken.Route, taken.Source.place())
		}
	}
}
