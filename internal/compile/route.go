package compile

import (
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/policy"
)

// backend is one weighted version behind a rule.
type backend struct {
	model   *config.Object[v1alpha1.Model]
	version *v1alpha1.ModelVersion
	weight  uint32
	grpc    bool // asked over gRPC
}

func (b *backend) cluster() string {
	return clusterName(b.model.Namespace, b.model.Name, b.version.Name, b.grpc)
}

func (c *compiler) backends(rule *config.Rule) []backend {
	var out []backend
	for i := range rule.Backends {
		ref := &rule.Backends[i]
		model, index := c.world.Behind(rule, ref)
		if model == nil {
			continue
		}
		out = append(out, backend{
			model:   model,
			version: &model.Value.Spec.Versions[index],
			weight:  uint32(max(config.Weight(&ref.BackendRef), 0)),
			grpc:    rule.GRPC != nil,
		})
	}
	return out
}

func (c *compiler) route(rule *config.Rule) Route {
	backends := c.backends(rule)
	out := Route{Name: rule.Label(), Namespace: rule.Namespace, GRPC: rule.GRPC != nil, Object: objectOf(rule)}
	for i := range backends {
		out.Backends = append(out.Backends, Backend{Cluster: backends[i].cluster(), Weight: backends[i].weight})
	}
	if rule.GRPC != nil {
		out.grpcFilters(rule.GRPC.Filters)
		out.Beside = rule.Beside || len(backends) < len(rule.Backends)
	} else {
		out.filters(rule.HTTP.Filters)
		out.OwnTimeout = ownTimeout(rule.HTTP.Timeouts)
		out.Session = session(rule.HTTP.SessionPersistence)
	}
	out.ModelTimeout = out.OwnTimeout
	attached := c.world.PoliciesFor(rule)
	if len(attached) == 0 || len(backends) == 0 {
		return out
	}
	out.Policy, out.PolicyJSON = c.attach(attached[0], rule, backends)
	out.bound()
	return out
}

// bound has the proxy end what is late where the policy says so.
func (r *Route) bound() {
	p := r.Policy
	if p == nil || !cutsLate(p) {
		return
	}
	r.ModelTimeout = least(r.ModelTimeout, p.Deadline.D()-p.Reserve.D())
	r.MaxDuration = p.Deadline.D() + Grace
	if p.Stream != nil {
		r.MaxDuration = p.Stream.MaxDuration.D() + StreamGrace
	}
}

func objectOf(rule *config.Rule) Object {
	out := Object{Kind: rule.Kind, Name: rule.Route, Index: rule.Index, Matches: rule.Matches}
	switch {
	case rule.HTTP != nil:
		out.Rule = string(or(rule.HTTP.Name, ""))
	case rule.GRPC != nil:
		out.Rule = string(or(rule.GRPC.Name, ""))
	}
	for _, h := range rule.Hosts {
		out.Hosts = append(out.Hosts, string(h))
	}
	for i := range rule.Parents {
		p := &rule.Parents[i]
		out.Parents = append(out.Parents, Parent{
			Group: string(or(p.Group, gatewayv1.GroupName)), Kind: string(or(p.Kind, "Gateway")),
			Namespace: string(or(p.Namespace, gatewayv1.Namespace(rule.Namespace))), Name: string(p.Name),
		})
	}
	return out
}

// cutsLate reports whether the proxy itself may end what is late.
func cutsLate(p *policy.Policy) bool {
	return p.FullyEnforced() && p.Detect.Late != nil && p.Detect.Late.Mode.Enforces()
}

// ownTimeout is the shorter of an HTTPRoute's own timeouts, which are one for
// us, since nothing is retried; 0: none.
func ownTimeout(t *gatewayv1.HTTPRouteTimeouts) time.Duration {
	if t == nil {
		return 0
	}
	return least(config.Duration(t.Request), config.Duration(t.BackendRequest))
}

// least returns the smaller of two durations of which 0 is none.
func least(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func (r *Route) filters(filters []gatewayv1.HTTPRouteFilter) {
	for i := range filters {
		f := &filters[i]
		switch {
		case f.Type == gatewayv1.HTTPRouteFilterRequestHeaderModifier && f.RequestHeaderModifier != nil:
			r.RequestHeaders = headerEdit(f.RequestHeaderModifier)
		case f.Type == gatewayv1.HTTPRouteFilterResponseHeaderModifier && f.ResponseHeaderModifier != nil:
			r.ResponseHeaders = headerEdit(f.ResponseHeaderModifier)
		case f.Type == gatewayv1.HTTPRouteFilterURLRewrite && f.URLRewrite != nil:
			r.Rewrite = rewrite(f.URLRewrite)
		default: // refused by validation
		}
	}
}

func (r *Route) grpcFilters(filters []gatewayv1.GRPCRouteFilter) {
	for i := range filters {
		f := &filters[i]
		switch {
		case f.Type == gatewayv1.GRPCRouteFilterRequestHeaderModifier && f.RequestHeaderModifier != nil:
			r.RequestHeaders = headerEdit(f.RequestHeaderModifier)
		case f.Type == gatewayv1.GRPCRouteFilterResponseHeaderModifier && f.ResponseHeaderModifier != nil:
			r.ResponseHeaders = headerEdit(f.ResponseHeaderModifier)
		default: // refused by validation
		}
	}
}

func headerEdit(f *gatewayv1.HTTPHeaderFilter) HeaderEdit {
	var edit HeaderEdit
	for _, h := range f.Set {
		edit.Set = append(edit.Set, Header{Name: strings.ToLower(string(h.Name)), Value: h.Value})
	}
	for _, h := range f.Add {
		edit.Add = append(edit.Add, Header{Name: strings.ToLower(string(h.Name)), Value: h.Value})
	}
	for _, name := range f.Remove {
		edit.Remove = append(edit.Remove, strings.ToLower(name))
	}
	return edit
}

func rewrite(f *gatewayv1.HTTPURLRewriteFilter) *Rewrite {
	var out Rewrite
	if f.Hostname != nil {
		out.Hostname = string(*f.Hostname)
	}
	if f.Path != nil {
		switch f.Path.Type {
		case gatewayv1.FullPathHTTPPathModifier:
			out.FullPath = f.Path.ReplaceFullPath
		case gatewayv1.PrefixMatchHTTPPathModifier:
			out.Prefix = f.Path.ReplacePrefixMatch
		}
	}
	return &out
}
