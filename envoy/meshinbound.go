package envoy

import (
	"regexp"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

// At a model's own sidecar a policy is a second line: what a proxy further out has
// judged is neither judged nor counted again. Every proxy with a policy says by
// policy.HeaderGuarded that it has, and drops what callers send of it; only a caller
// that comes to the model by no such proxy can forge it, and loses its own protection
// by that. What is stopped is stopped for all, whatever the header says.

// ForMeshInbound is ForMesh for the listeners of models' own sidecars: s.AtModels() has
// their routes.
func ForMeshInbound(s *compile.Snapshot, o Options) (*Mesh, error) {
	out, err := ForMesh(s, o)
	if err != nil {
		return nil, err
	}
	copy(out.Manager.EarlyHeaderMutationExtensions, dropping(ourHeaders))
	return out, nil
}

// dropping takes headers whose names begin so from every request, before any route is
// chosen.
func dropping(prefixes ...string) []*corev3.TypedExtensionConfig {
	return []*corev3.TypedExtensionConfig{{
		Name:        "safestate.callers",
		TypedConfig: packed(&earlyv3.HeaderMutation{Mutations: removeHeaders(prefixes...)}),
	}}
}

// Whether a policy enforces all answers, as policy.HeaderGuarded says it.
const (
	guardEnforces = "Enforce"
	guardObserves = "Observe"
)

// guardedBy is the value of policy.HeaderGuarded of a route's requests.
func guardedBy(p *policy.Policy) string {
	if p.FullyEnforced() {
		return guardEnforces + " " + p.Name
	}
	return guardObserves + " " + p.Name
}

// unguarded are matchers for those of a route's predictions that its policy judges. At a
// model's own sidecar it leaves those to a line further out that the line's policy
// holds: the same one, one that enforces, or any where it only observes itself.
func unguarded(r *compile.Route, calls []*routev3.HeaderMatcher) []*routev3.HeaderMatcher {
	if !r.Inbound() {
		return calls
	}
	pattern := ".*"
	if r.Policy.Mode.Enforces() {
		pattern = guardEnforces + " .*|.* " + regexp.QuoteMeta(r.Policy.Name)
	}
	guarded := header(policy.HeaderGuarded, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(pattern)}})
	guarded.InvertMatch = true
	return append(calls, guarded)
}
