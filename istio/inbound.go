package istio

import (
	"cmp"
	"fmt"
	"maps"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
)

// At a model's own sidecar there is no route of anybody's: istiod has one for each port
// that a Service gives the workload. A version's policy is merged into that of its
// Service's port, in the proxies of the workloads that the Service selects.

// InboundName is istiod's name of the cluster behind a workload's own port, and of the
// routes that lead there.
func InboundName(port int32) string { return fmt.Sprintf("inbound|%d||", port) }

// inboundRoute is istiod's name of the one route there.
const inboundRoute = "default"

// withWorkloads says of each version where its workloads are, and gives its policy
// their cluster's name.
func withWorkloads(all []compile.Inbound, o Options) (out []compile.Inbound, problems config.Problems) {
	if all == nil {
		return nil, nil
	}
	out = make([]compile.Inbound, len(all))
	for i := range all {
		in := all[i]
		in.Workloads = workloadsOf(&in, o.Services)
		if in.Workloads.Cannot == "" {
			name, old := InboundName(in.Workloads.Port), in.Backends[0].Cluster
			in.Backends = []compile.Backend{{Cluster: name, Weight: in.Backends[0].Weight}}
			if err := rekey(&in.Route, map[string]string{old: name}); err != nil {
				problems = append(problems, ofPolicy(&in.Route, err))
			}
		}
		out[i] = in
	}
	for i := range out {
		for j := range out[:i] {
			if a, b := &out[i], &out[j]; meetAtWorkloads(a, b) {
				a.Workloads.Cannot = fmt.Sprintf("Service %s/%s selects workloads of version %s of Model %s as well, at one port; want labels of their own", a.Namespace, a.Service.Name, b.Version, b.Model)
			}
		}
	}
	return out, problems
}

// meetAtWorkloads reports whether one route of one proxy would be that of two versions.
func meetAtWorkloads(a, b *compile.Inbound) bool {
	if a.Namespace != b.Namespace || a.Workloads.Cannot != "" || b.Workloads.Cannot != "" || a.Workloads.Port != b.Workloads.Port {
		return false
	}
	return within(a.Workloads.Selector, b.Workloads.Selector) || within(b.Workloads.Selector, a.Workloads.Selector)
}

// within reports whether labels are among others.
func within(some, labels map[string]string) bool {
	for name, value := range some {
		if labels[name] != value {
			return false
		}
	}
	return true
}

func workloadsOf(in *compile.Inbound, services map[string]*corev1.Service) *compile.Workloads {
	cannot := func(format string, args ...any) *compile.Workloads {
		return &compile.Workloads{Cannot: fmt.Sprintf(format, args...)}
	}
	key := in.Namespace + "/" + in.Service.Name
	service := services[key]
	switch {
	case in.Service.Subset != "":
		return cannot("it is subset %s of Service %s, whose labels a DestinationRule has; want a Service of its own", in.Service.Subset, key)
	case service == nil:
		return cannot("there is no Service %s; want the Service of its workloads as backendRef, and no InferencePool", key)
	case len(service.Spec.Selector) == 0:
		return cannot("Service %s has no selector, by which its workloads would be found; want one", key)
	}
	for i := range service.Spec.Ports {
		p := &service.Spec.Ports[i]
		switch {
		case p.Port != in.Service.Port:
		case p.TargetPort.Type == intstr.String:
			return cannot("port %d of Service %s has the targetPort %q, which each workload may have at another place; want its number", p.Port, key, p.TargetPort.StrVal)
		default:
			return &compile.Workloads{Selector: maps.Clone(service.Spec.Selector), Port: cmp.Or(p.TargetPort.IntVal, p.Port)}
		}
	}
	return cannot("Service %s has no port %d; want one that it has", key, in.Service.Port)
}

// inboundFilter is the EnvoyFilter of one version at its own sidecars.
func inboundFilter(s *compile.Snapshot, in *compile.Inbound, o Options) (*istiov1alpha3.EnvoyFilter, error) {
	if in.Workloads == nil || in.Workloads.Cannot != "" {
		why := "nobody has looked for its Service"
		if in.Workloads != nil {
			why = in.Workloads.Cannot
		}
		return nil, fmt.Errorf("version %s of Model %s/%s: %s", in.Version, in.Namespace, in.Model, why)
	}
	route, err := envoy.MeshRoute(&in.Route, envoy.StopsOf(s, &in.Route), o.Envoy)
	if err != nil {
		return nil, err
	}
	out := newFilter(&audience{place: place{context: networkingv1alpha3.EnvoyFilter_SIDECAR_INBOUND, namespace: in.Namespace}},
		named("safestate", "model", in.Model, in.Version), PartRoute)
	out.Spec.WorkloadSelector = &networkingv1alpha3.WorkloadSelector{Labels: in.Workloads.Selector}
	patch, err := patchOf(networkingv1alpha3.EnvoyFilter_Patch_MERGE, route)
	if err != nil {
		return nil, err
	}
	out.Spec.ConfigPatches = append(out.Spec.ConfigPatches, inInbound(in, inboundRoute, patch))
	if answer := envoy.MeshAnswerRoute(route, &in.Route); answer != nil {
		if patch, err = patchOf(networkingv1alpha3.EnvoyFilter_Patch_INSERT_FIRST, answer); err != nil {
			return nil, err
		}
		out.Spec.ConfigPatches = append(out.Spec.ConfigPatches, inInbound(in, in.Name, patch)) // by then it has this name
	}
	return out, nil
}

func inInbound(in *compile.Inbound, route string, patch *networkingv1alpha3.EnvoyFilter_Patch) *networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectPatch {
	return &networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectPatch{
		ApplyTo: networkingv1alpha3.EnvoyFilter_HTTP_ROUTE, Patch: patch,
		Match: &networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectMatch{
			Context: networkingv1alpha3.EnvoyFilter_SIDECAR_INBOUND,
			ObjectTypes: &networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectMatch_RouteConfiguration{
				RouteConfiguration: &networkingv1alpha3.EnvoyFilter_RouteConfigurationMatch{
					Name: InboundName(in.Workloads.Port),
					Vhost: &networkingv1alpha3.EnvoyFilter_RouteConfigurationMatch_VirtualHostMatch{
						Route: &networkingv1alpha3.EnvoyFilter_RouteConfigurationMatch_RouteMatch{Name: route},
					},
				},
			},
		},
	}
}

// renderInbound adds what is of the models' own sidecars.
//
// The base is for all sidecars of the namespace: two Services may select one workload,
// and nothing may be added to it twice. Where no route turns it on it does nothing.
func (out *Objects) renderInbound(s *compile.Snapshot, o Options) error {
	view, places := s.AtModels(), map[place][]compile.Route{}
	for i := range s.Inbound {
		in := &s.Inbound[i]
		f, err := inboundFilter(view, in, o)
		if err != nil {
			out.Refused[in.Name] = err
			continue
		}
		out.notes(view, []*istiov1alpha3.EnvoyFilter{f}, []*compile.Route{&in.Route})
		out.Filters = append(out.Filters, f)
		out.notes(view, []*istiov1alpha3.EnvoyFilter{f}, []*compile.Route{&in.Route})
		at := place{context: networkingv1alpha3.EnvoyFilter_SIDECAR_INBOUND, namespace: in.Namespace}
		places[at] = append(places[at], in.Route)
	}
	return out.addBases(view, places, o)
}
