package istio

import (
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/compile"
)

// notes notes which routes are in EnvoyFilters, and whether these stop any.
func (out *Objects) notes(s *compile.Snapshot, filters []*istiov1alpha3.EnvoyFilter, rules []*compile.Route) {
	for _, f := range filters {
		key := f.Namespace + "/" + f.Name
		for _, r := range rules {
			if out.Refused[r.Name] != nil {
				continue
			}
			out.Routes[key] = append(out.Routes[key], r.Name)
			if !envoy.StopsOf(s, r).Empty() {
				out.Stops[key] = true
			}
		}
	}
}
