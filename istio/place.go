package istio

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	typev1beta1 "istio.io/api/type/v1beta1"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
)

// place is a set of proxies that EnvoyFilters of one namespace are for.
type place struct {
	context   networkingv1alpha3.EnvoyFilter_PatchContext
	namespace string // of the EnvoyFilters
	gateway   string // a Gateway of the Gateway API there; empty: all proxies of the namespace
}

// compare orders places.
func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.namespace, q.namespace), cmp.Compare(p.context, q.context), cmp.Compare(p.gateway, q.gateway))
}

// placesOf are where a route is served: the gateways that it is attached to, and for a
// Service the sidecars of its callers. These are in every namespace where the route is
// the Service's own, and in the route's where it is a caller's (GEP-1426).
func placesOf(r *compile.Route, o Options) ([]place, error) {
	var out []place
	for _, p := range r.Object.Parents {
		var at place
		switch {
		case p.Group == "gateway.networking.k8s.io" && p.Kind == "Gateway":
			at = place{networkingv1alpha3.EnvoyFilter_GATEWAY, p.Namespace, p.Name}
		case p.Group == config.GroupIstio && p.Name == "mesh":
			at = place{context: networkingv1alpha3.EnvoyFilter_SIDECAR_OUTBOUND, namespace: o.RootNamespace}
		case p.Group == config.GroupIstio: // which proxies it is for only the Gateway knows
			at = place{context: networkingv1alpha3.EnvoyFilter_GATEWAY, namespace: o.RootNamespace}
		case p.Group == "" && p.Kind == "Service":
			at = place{context: networkingv1alpha3.EnvoyFilter_SIDECAR_OUTBOUND, namespace: o.RootNamespace}
			if p.Namespace != r.Namespace {
				at.namespace = r.Namespace
			}
		default:
			return nil, fmt.Errorf("route %s: is attached to %s %s/%s; want a Gateway, or a Service", r.Name, p.Kind, p.Namespace, p.Name)
		}
		if !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("route %s: is attached to nothing that takes it; want a Gateway that does, or a Service, in parentRefs", r.Name)
	}
	slices.SortFunc(out, place.compare)
	return out, nil
}

// Carriers says which proxies carry the policy of a route of s, for a person.
func Carriers(s *compile.Snapshot, r *compile.Route) []string {
	for i := range s.Inbound {
		if in := &s.Inbound[i]; in.Name == r.Name {
			return []string{"the sidecars of Service " + in.Namespace + "/" + in.Service.Name}
		}
	}
	var out []string
	for _, p := range r.Object.Parents {
		who := "the callers' sidecars"
		if p.Kind != "Service" && p.Name != "mesh" {
			who = p.Kind + " " + p.Namespace + "/" + p.Name
		}
		if !slices.Contains(out, who) {
			out = append(out, who)
		}
	}
	return out
}

// audience are the places of one namespace and context: whom one object is for.
type audience struct {
	place    // without a gateway
	gateways []string
}

// routes are what is served at an audience's proxies. What is for all proxies is for
// those of every namespace.
func (a *audience) routes(places map[place][]compile.Route, o Options) (out []compile.Route) {
	for _, p := range slices.SortedFunc(maps.Keys(places), place.compare) {
		if p.context == a.context && (p.namespace == a.namespace || a.namespace == o.RootNamespace) {
			out = append(out, places[p]...)
		}
	}
	return out
}

func audiences(places []place) []audience {
	var out []audience
	for _, p := range places { // sorted
		gateway := p.gateway
		p.gateway = ""
		if n := len(out); n == 0 || out[n-1].place != p {
			out = append(out, audience{place: p})
		}
		if gateway != "" {
			a := &out[len(out)-1]
			a.gateways = append(a.gateways, gateway)
		}
	}
	return out
}

func (a *audience) targets() []*typev1beta1.PolicyTargetReference {
	var out []*typev1beta1.PolicyTargetReference
	for _, g := range a.gateways {
		out = append(out, &typev1beta1.PolicyTargetReference{Group: "gateway.networking.k8s.io", Kind: "Gateway", Name: g})
	}
	return out
}
