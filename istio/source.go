package istio

import (
	"strings"
	"time"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/config"
)

// What a mesh serves is read here for what is alike in all kinds of route: the names
// of rules, where they lead and by which weights, and their timeouts. What they match
// and do besides is istiod's, and is neither checked nor changed.

// HTTPRouteRules are the rules of an HTTPRoute.
func HTTPRouteRules(r *gatewayv1.HTTPRoute) []config.Rule {
	out := make([]config.Rule, len(r.Spec.Rules))
	for i := range out {
		rule := &r.Spec.Rules[i]
		out[i] = config.Rule{
			Kind: config.KindHTTPRoute, Namespace: r.Namespace, Route: r.Name, Born: r.CreationTimestamp.Time, Index: i, Name: config.RuleName(rule.Name, i),
			Parents: r.Spec.ParentRefs, Hosts: r.Spec.Hostnames,
			HTTP: &gatewayv1.HTTPRouteRule{Name: rule.Name, Timeouts: rule.Timeouts, Filters: rewrites(rule.Filters)},
		}
		for j := range rule.BackendRefs {
			if ref, ok := config.Served(rule.BackendRefs[j].BackendRef); ok {
				out[i].Backends = append(out[i].Backends, config.Backend{BackendRef: ref})
			}
		}
	}
	return out
}

// rewrites are those filters that change the path by which a prediction is told.
func rewrites(filters []gatewayv1.HTTPRouteFilter) []gatewayv1.HTTPRouteFilter {
	var out []gatewayv1.HTTPRouteFilter
	for i := range filters {
		if filters[i].URLRewrite != nil {
			out = append(out, filters[i])
		}
	}
	return out
}

// GRPCRouteRules are the rules of a GRPCRoute.
func GRPCRouteRules(r *gatewayv1.GRPCRoute) []config.Rule {
	out := make([]config.Rule, len(r.Spec.Rules))
	for i := range out {
		rule := &r.Spec.Rules[i]
		out[i] = config.Rule{
			Kind: config.KindGRPCRoute, Namespace: r.Namespace, Route: r.Name, Born: r.CreationTimestamp.Time, Index: i, Name: config.RuleName(rule.Name, i),
			Parents: r.Spec.ParentRefs, Hosts: r.Spec.Hostnames, GRPC: &gatewayv1.GRPCRouteRule{Name: rule.Name},
		}
		for j := range rule.BackendRefs {
			ref, ok := config.Served(rule.BackendRefs[j].BackendRef)
			if ok {
				out[i].Backends = append(out[i].Backends, config.Backend{BackendRef: ref})
			}
			if !ok || len(rule.BackendRefs[j].Filters) > 0 {
				out[i].Beside = true
			}
		}
	}
	return out
}

// VirtualServiceRules are the entries of a VirtualService's http. One without a name
// is called rule-N, from 0. models say which port is meant where a destination has
// none.
func VirtualServiceRules(v *istiov1.VirtualService, models []*v1alpha1.Model, o Options) []config.Rule {
	o = o.WithDefaults()
	out := make([]config.Rule, len(v.Spec.Http))
	for i, entry := range v.Spec.Http {
		name := gatewayv1.SectionName(entry.Name)
		out[i] = config.Rule{
			Kind: config.KindVirtualService, Namespace: v.Namespace, Route: v.Name, Born: v.CreationTimestamp.Time, Index: i, Name: config.RuleName(&name, i),
			Parents: gateways(v), HTTP: &gatewayv1.HTTPRouteRule{Name: &name},
		}
		for _, h := range v.Spec.Hosts {
			out[i].Hosts = append(out[i].Hosts, gatewayv1.Hostname(h))
		}
		for _, m := range entry.Match {
			if m.Name != "" {
				out[i].Matches = append(out[i].Matches, m.Name)
			}
		}
		if entry.Timeout != nil {
			d := gatewayv1.Duration(entry.Timeout.AsDuration().Round(time.Millisecond).String())
			out[i].HTTP.Timeouts = &gatewayv1.HTTPRouteTimeouts{Request: &d}
		}
		for _, d := range entry.Route {
			if b, ok := backendOf(d, v.Namespace, len(entry.Route), models, o); ok {
				out[i].Backends = append(out[i].Backends, b)
			}
		}
	}
	return out
}

// gateways are what a VirtualService is attached to: Istio's Gateways, and the word
// mesh for the sidecars, which is also what none means.
func gateways(v *istiov1.VirtualService) []gatewayv1.ParentReference {
	names := v.Spec.Gateways
	if len(names) == 0 {
		names = []string{"mesh"}
	}
	group, kind := gatewayv1.Group(config.GroupIstio), gatewayv1.Kind("Gateway")
	var out []gatewayv1.ParentReference
	for _, n := range names {
		namespace, name, ok := strings.Cut(n, "/")
		if !ok {
			namespace, name = v.Namespace, n
		}
		ns := gatewayv1.Namespace(namespace)
		out = append(out, gatewayv1.ParentReference{Group: &group, Kind: &kind, Namespace: &ns, Name: gatewayv1.ObjectName(name)})
	}
	return out
}

// backendOf reads one destination of a VirtualService in a namespace; false: it is no
// Service.
func backendOf(d *networkingv1alpha3.HTTPRouteDestination, namespace string, of int, models []*v1alpha1.Model, o Options) (config.Backend, bool) {
	if d.GetDestination() == nil {
		return config.Backend{}, false
	}
	namespace, service, ok := ServiceOf(d.Destination.Host, namespace, o.ClusterDomain)
	if !ok {
		return config.Backend{}, false
	}
	port := gatewayv1.PortNumber(d.Destination.GetPort().GetNumber())
	if port == 0 {
		port = portOf(namespace, service, d.Destination.Subset, models)
	}
	weight := d.Weight
	if of == 1 && weight == 0 {
		weight = 100 // the only destination has all of it
	}
	at := gatewayv1.Namespace(namespace)
	return config.Backend{
		BackendRef: gatewayv1.BackendRef{BackendObjectReference: gatewayv1.BackendObjectReference{Namespace: &at, Name: gatewayv1.ObjectName(service), Port: &port}, Weight: &weight},
		Subset:     d.Destination.Subset,
	}, true
}

// ServiceOf is the Service that a host of Istio's names in an object of a namespace;
// false: it names none.
func ServiceOf(host, namespace, domain string) (in, service string, ok bool) {
	service, rest, _ := strings.Cut(host, ".")
	in, tail, _ := strings.Cut(rest, ".")
	if in == "" {
		in = namespace
	}
	if service == "" || tail != "" && tail != "svc" && tail != "svc."+domain {
		return "", "", false
	}
	return in, service, true
}

func portOf(namespace, service, subset string, models []*v1alpha1.Model) gatewayv1.PortNumber {
	for _, m := range models {
		for i := range m.Spec.Versions {
			ref := m.Spec.Versions[i].BackendRef
			if ref == nil || m.Namespace != namespace {
				continue
			}
			if name, port := config.ServiceOf(ref); name == service && ref.Subset == subset {
				return port
			}
		}
	}
	return 0
}
