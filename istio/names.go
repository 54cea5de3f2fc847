package istio

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/policy"
)

// ClusterName is istiod's name of the cluster of a Service's port.
func ClusterName(namespace string, s compile.Service, domain string) string {
	return fmt.Sprintf("outbound|%d|%s|%s.%s.svc.%s", s.Port, s.Subset, s.Name, namespace, domain)
}

// RouteName is istiod's name of the Envoy routes of a rule: the rule's own, or where
// it has none its place (istiod 1.31, pilot/pkg/config/kube/gateway/conversion.go). Of
// a named rule it says neither namespace nor route.
func RouteName(r *compile.Route) string {
	if r.Object.Rule != "" || r.Object.Kind == config.KindVirtualService {
		return r.Object.Rule
	}
	return fmt.Sprintf("%s.%s.%d", r.Namespace, r.Object.Name, r.Object.Index)
}

// LastRungNote says what becomes of grpcLastRung: Answer.
const LastRungNote = "is Answer, which needs listeners that a mesh's proxies have not: without safestate they say UNAVAILABLE"

// WithClusters is s with istiod's names of all clusters, by which the processor is
// told of the version that a request goes to. It comes first: whatever is made of
// the snapshot afterwards has these names too. It is pure, and shares with s what it
// does not change. Problems are of policies that have grown too long by it, and
// warnings of what a mesh's proxies do less of, with "FailSafePolicy namespace/name"
// for a file.
func WithClusters(s *compile.Snapshot, o Options) (*compile.Snapshot, config.Problems) {
	o = o.WithDefaults()
	out := *s
	var problems config.Problems
	out.Clusters, out.Routes = slices.Clone(s.Clusters), slices.Clone(s.Routes)
	names := map[string]string{}
	for i := range out.Clusters {
		c := &out.Clusters[i]
		name := ClusterName(c.Namespace, c.Service, o.ClusterDomain)
		names[c.Name], c.Name = name, name
	}
	slices.SortFunc(out.Clusters, func(a, b compile.Cluster) int { return strings.Compare(a.Name, b.Name) })
	out.Models = slices.Clone(s.Models)
	for i := range out.Models {
		m := &out.Models[i]
		m.Versions = slices.Clone(m.Versions)
		for j := range m.Versions {
			m.Versions[j].Clusters = renamed(m.Versions[j].Clusters, names)
		}
	}
	for i := range out.Routes {
		r := &out.Routes[i]
		r.Backends = slices.Clone(r.Backends)
		for j := range r.Backends {
			r.Backends[j].Cluster = names[r.Backends[j].Cluster]
		}
		if r.Policy != nil && r.Policy.GRPCLastRung == policy.LastRungAnswer {
			lesser := ofPolicy(r, errors.New(LastRungNote))
			lesser.Field, lesser.Warning = "spec.grpcLastRung", true
			problems = append(problems, lesser)
		}
		if err := rekey(r, names); err != nil {
			problems = append(problems, ofPolicy(r, err))
		}
	}
	inbound, more := withWorkloads(s.Inbound, o)
	if problems = append(problems, more...); problems.Failed() {
		return nil, problems
	}
	out.Inbound = inbound
	return &out, problems
}

// Moduleless are the policies of s that the WASM filter is to judge by, where o names no
// module: problems as WithClusters has them.
func Moduleless(s *compile.Snapshot, o Options) (problems config.Problems) {
	for i := range s.Routes {
		if err := envoy.HasModule(&s.Routes[i], o.Envoy); err != nil {
			problems = append(problems, ofPolicy(&s.Routes[i], err))
		}
	}
	return problems
}

func ofPolicy(r *compile.Route, err error) config.Problem {
	return config.Problem{File: v1alpha1.KindFailSafePolicy + " " + r.Policy.Name, Field: "spec", Message: fmt.Sprintf("for route %s: %v", r.Name, err)}
}

func renamed(clusters []string, names map[string]string) []string {
	var out []string
	for _, c := range clusters {
		if name := names[c]; !slices.Contains(out, name) { // of HTTP and gRPC one
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// rekey gives a route's policy the clusters' new names, and what a mesh can do.
func rekey(r *compile.Route, names map[string]string) error {
	if r.Policy == nil {
		return nil
	}
	p := *r.Policy
	p.GRPCLastRung = policy.LastRungUnavailable // see LastRungNote
	p.Versions = make(map[string]policy.Version, len(r.Policy.Versions))
	for old, v := range maps.All(r.Policy.Versions) {
		p.Versions[names[old]] = v
	}
	text, err := p.Marshal()
	if err == nil && len(text) > policy.MaxBytes {
		err = fmt.Errorf("takes %d bytes; want at most %d: shorten bodies, templates and expressions", len(text), policy.MaxBytes)
	}
	if err != nil {
		return err
	}
	r.Policy, r.PolicyJSON = &p, string(text)
	return nil
}
