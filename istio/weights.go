package istio

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/policy"
)

// Destination is a Service that a rule leads to.
type Destination struct {
	Namespace string
	compile.Service
}

// Weights are what one rule's destinations are to weigh.
type Weights map[Destination]int64

// most is the Gateway API's bound of one weight; Istio's is that of its type.
const most = 1_000_000

// WeightsOf are the weights that releases, and the kills over them, give a rule; nil:
// they are none of ours. They are not where no release ever was, since nobody would
// know what to go back to, and not where nothing of the rule has any: a mesh takes
// none such, and the route is stopped instead. What a ramp withholds is the route's
// to stop as well, so that those it is withheld from keep the rest.
func WeightsOf(s *compile.Snapshot, r *compile.Route) (Weights, error) {
	if r.Releases == 0 {
		return nil, nil
	}
	out, sum := Weights{}, int64(0)
	for _, b := range r.Backends {
		if !policy.IsVersion(b.Cluster) {
			continue
		}
		for i := range s.Clusters {
			if c := &s.Clusters[i]; c.Name == b.Cluster {
				out[Destination{c.Namespace, c.Service}] = int64(b.Weight)
			}
		}
		sum += int64(b.Weight)
	}
	if sum == 0 {
		return nil, nil
	}
	for _, w := range out {
		if w > most {
			return nil, fmt.Errorf("route %s: a weight would be %d; want at most %d: bring the rule's weights down", r.Name, w, most)
		}
	}
	return out, nil
}

// SetWeights writes weights into the object that a rule is of, as the API server has
// it, and reports whether any was another. A destination that weights do not name
// keeps its own. The object is not changed before it is known that the rule and all
// that weights name are in it.
func SetWeights(object map[string]any, r *compile.Route, w Weights, domain string) (changed bool, err error) {
	destinations, err := destinationsOf(object, r)
	if err != nil {
		return false, err
	}
	set := map[int]int64{}
	for i, d := range destinations {
		s, ok := destinationIn(d, r, domain)
		if !ok {
			continue
		}
		for service, weight := range w {
			if service.Namespace == s.Namespace && service.Name == s.Name && service.Subset == s.Subset && (s.Port == 0 || s.Port == service.Port) {
				set[i] = weight
			}
		}
	}
	if len(set) < len(w) {
		return false, fmt.Errorf("%s %s/%s: rule %d does not lead to all versions that are to have weights", r.Object.Kind, r.Namespace, r.Object.Name, r.Object.Index)
	}
	for i, weight := range set {
		if have, given := destinations[i]["weight"].(int64); !given || have != weight {
			destinations[i]["weight"], changed = weight, true
		}
	}
	return changed, nil
}

// destinationsOf are the destinations of a rule in its object.
func destinationsOf(object map[string]any, r *compile.Route) ([]map[string]any, error) {
	rules, list := "rules", "backendRefs"
	if r.Object.Kind == config.KindVirtualService {
		rules, list = "http", "route"
	}
	spec, _ := object["spec"].(map[string]any)
	all, _ := spec[rules].([]any)
	if r.Object.Index >= len(all) {
		return nil, fmt.Errorf("%s %s/%s has no rule %d any more", r.Object.Kind, r.Namespace, r.Object.Name, r.Object.Index)
	}
	rule, _ := all[r.Object.Index].(map[string]any)
	refs, _ := rule[list].([]any)
	var out []map[string]any
	for _, ref := range refs {
		if d, ok := ref.(map[string]any); ok {
			out = append(out, d)
		}
	}
	return out, nil
}

// destinationIn is the Service of one destination; its port is 0 where it has none.
func destinationIn(d map[string]any, r *compile.Route, domain string) (Destination, bool) {
	if r.Object.Kind != config.KindVirtualService {
		ref, ok := config.Served(refOf(d))
		if !ok {
			return Destination{}, false
		}
		b := config.Backend{BackendRef: ref}
		return Destination{b.In(r.Namespace), compile.Service{Name: string(ref.Name), Port: *ref.Port}}, true
	}
	to, _ := d["destination"].(map[string]any)
	host, _ := to["host"].(string)
	subset, _ := to["subset"].(string)
	ports, _ := to["port"].(map[string]any)
	port, _ := ports["number"].(int64)
	in, name, ok := ServiceOf(host, r.Namespace, domain)
	return Destination{in, compile.Service{Name: name, Port: int32(port), Subset: subset}}, ok
}

// refOf reads a backendRef as far as it says what it names.
func refOf(d map[string]any) gatewayv1.BackendRef {
	var out gatewayv1.BackendRef
	name, _ := d["name"].(string)
	out.Name = gatewayv1.ObjectName(name)
	if text, ok := d["group"].(string); ok {
		group := gatewayv1.Group(text)
		out.Group = &group
	}
	if text, ok := d["kind"].(string); ok {
		kind := gatewayv1.Kind(text)
		out.Kind = &kind
	}
	if text, ok := d["namespace"].(string); ok {
		namespace := gatewayv1.Namespace(text)
		out.Namespace = &namespace
	}
	if n, ok := d["port"].(int64); ok {
		port := gatewayv1.PortNumber(n)
		out.Port = &port
	}
	return out
}
