package config

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// The Gateway API's kinds of route that are read.
const (
	KindHTTPRoute = "HTTPRoute"
	KindGRPCRoute = "GRPCRoute"
)

// Rule is one rule of a route of either kind, as far as they are alike.
type Rule struct {
	Kind      string // KindHTTPRoute or KindGRPCRoute
	Namespace string
	Route     string // the route's name
	Index     int    // of the rule in its route
	Name      string // the rule's own, or rule-N, from 0, where it has none
	Backends  []gatewayv1.BackendRef
	Source    *Source // the route's

	HTTP *gatewayv1.HTTPRouteRule // nil with KindGRPCRoute
	GRPC *gatewayv1.GRPCRouteRule // nil with KindHTTPRoute
}

// Label is namespace/route/rule: the route label of metrics, and one rule's
// alone in a valid world.
func (r *Rule) Label() string { return r.Namespace + "/" + r.Route + "/" + r.Name }

// String names the rule for a person.
func (r *Rule) String() string {
	return fmt.Sprintf("rule %s of %s %s/%s", r.Name, r.Kind, r.Namespace, r.Route)
}

// Rules lists the rules of all routes: those of HTTPRoutes first, each kind in
// the order of its names.
func (w *World) Rules() []Rule {
	var out []Rule
	for _, r := range w.Routes {
		out = append(out, httpRules(r)...)
	}
	for _, r := range w.GRPCRoutes {
		out = append(out, grpcRules(r)...)
	}
	return out
}

// rulesOf returns the rules of one route; false: there is no such route.
func (w *World) rulesOf(kind, namespace, name string) ([]Rule, bool) {
	if kind == KindGRPCRoute {
		if r := named(w.GRPCRoutes, namespace, name); r != nil {
			return grpcRules(r), true
		}
		return nil, false
	}
	if r := named(w.Routes, namespace, name); r != nil {
		return httpRules(r), true
	}
	return nil, false
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
		out[i] = Rule{Kind: KindHTTPRoute, Namespace: r.Namespace, Route: r.Name, Index: i, Name: ruleName(rule.Name, i), Source: r.Source, HTTP: rule}
		for j := range rule.BackendRefs {
			out[i].Backends = append(out[i].Backends, rule.BackendRefs[j].BackendRef)
		}
	}
	return out
}

func grpcRules(r *Object[gatewayv1.GRPCRoute]) []Rule {
	out := make([]Rule, len(r.Value.Spec.Rules))
	for i := range out {
		rule := &r.Value.Spec.Rules[i]
		out[i] = Rule{Kind: KindGRPCRoute, Namespace: r.Namespace, Route: r.Name, Index: i, Name: ruleName(rule.Name, i), Source: r.Source, GRPC: rule}
		for j := range rule.BackendRefs {
			out[i].Backends = append(out[i].Backends, rule.BackendRefs[j].BackendRef)
		}
	}
	return out
}

func ruleName(name *gatewayv1.SectionName, index int) string {
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
