package compile

import (
	"cmp"
	"slices"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/kill"
)

// Inbound is one version at the sidecars of its own workloads. Its Route always has a
// policy, one backend, and the Object that is the Model. No host leads there, and no
// release changes anything in it, or connections to the model would be drained at each
// step: it is not among a Snapshot's Routes.
type Inbound struct {
	Route
	Model   string // the Model's name, in Route.Namespace
	Version string
	Service Service
	// Workloads are where that is; nil: nobody has looked.
	Workloads *Workloads `json:",omitempty"`
}

// Workloads are those behind a Service's port.
type Workloads struct {
	Selector map[string]string // their labels
	Port     int32             // their own
	Cannot   string            // why they cannot be found; empty: they can
}

// inbound lists the versions that policies name by their Model.
func (c *compiler) inbound() []Inbound {
	var out []Inbound
	for _, m := range c.world.Models {
		for i := range m.Value.Spec.Versions {
			v := &m.Value.Spec.Versions[i]
			attached := c.world.PoliciesInbound(m, v.Name)
			if len(attached) == 0 || v.BackendRef == nil {
				continue
			}
			b := backend{model: m, version: v, weight: 1}
			rule := inboundRule(m, v)
			in := Inbound{
				Route: Route{Name: rule.Label(), Namespace: m.Namespace, Object: objectOf(rule), Backends: []Backend{{Cluster: b.cluster(), Weight: 1}}},
				Model: m.Name, Version: v.Name, Service: serviceOf(&b),
			}
			if in.Policy, in.PolicyJSON = c.attach(attached[0], rule, []backend{b}); in.Policy == nil {
				continue // that has been reported
			}
			in.bound()
			out = append(out, in)
		}
	}
	slices.SortFunc(out, func(a, b Inbound) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// inboundRule is a version as if it were a rule. Its label is no other rule's: a colon
// is in no name of Kubernetes'.
func inboundRule(m *config.Object[v1alpha1.Model], v *v1alpha1.ModelVersion) *config.Rule {
	return &config.Rule{
		Kind: v1alpha1.KindModel, Namespace: m.Namespace, Route: m.Name, Name: v.Name + ":inbound",
		HTTP: &gatewayv1.HTTPRouteRule{}, Source: m.Source,
	}
}

// Inbound reports whether a route is that of a version at its own sidecars.
func (r *Route) Inbound() bool { return r.Object.Kind == v1alpha1.KindModel }

// runInbound is run for the versions at their own sidecars.
func (c *compiler) runInbound(s *Snapshot) {
	for i := range s.Inbound {
		in := &s.Inbound[i]
		if m := c.world.Model(in.Namespace, in.Model); m != nil {
			c.runPolicy(c.world.PoliciesInbound(m, in.Version)[0], in.Policy)
		}
	}
}

// inboundWithKills is what kills leave of versions at their own sidecars.
func inboundWithKills(all []Inbound, k *kill.Set, now time.Time) []Inbound {
	out := slices.Clone(all)
	for i := range out {
		in := &out[i]
		in.heed(k, now, in.cluster())
	}
	return out
}

// cluster is that of the version, by its name, which is none of a Snapshot's.
func (in *Inbound) cluster() map[string]*Cluster {
	own := in.Backends[0].Cluster
	return map[string]*Cluster{own: {Name: own, Namespace: in.Namespace, Model: in.Model, Version: in.Version}}
}

// AtModels is a Snapshot of the same world whose Routes are those at the models' own
// sidecars, in the order of Inbound.
func (s *Snapshot) AtModels() *Snapshot {
	out := *s
	out.Routes = make([]Route, len(s.Inbound))
	for i := range s.Inbound {
		out.Routes[i] = s.Inbound[i].Route
	}
	out.Hosts, out.Inbound = nil, nil
	return &out
}

// Judged are the routes that have a policy, those at the models' own sidecars last.
func (s *Snapshot) Judged() []*Route {
	var out []*Route
	for i := range s.Routes {
		if s.Routes[i].Policy != nil {
			out = append(out, &s.Routes[i])
		}
	}
	for i := range s.Inbound {
		out = append(out, &s.Inbound[i].Route)
	}
	return out
}
