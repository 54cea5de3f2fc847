package envoy

import (
	"cmp"
	"fmt"
	"slices"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	clustermatcherv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/router/cluster_specifiers/matcher/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

// A mesh's route of gRPC takes all methods. ModelInfer, ModelStreamInfer and the rest
// are told apart by each of our filters, where beside them grpcRoutes has a route for
// each. What fails without a message is taken to the ladder by the route's own action,
// which therefore leads to the versions by our weights and no more by the mesh's: they
// are one, out of one snapshot. Only requests that the processor has let go there are
// tried again, so that no other method ever comes to the ladder.

// meshGRPC gives a mesh's route of gRPC its filters and its way to the ladder.
func meshGRPC(out *routev3.Route, r *compile.Route, o Options) error {
	if r.Policy.Host != policy.HostProcessor {
		return fmt.Errorf("route %s: its policy has host: %s, and the WASM filter does not read gRPC; want host: Processor", r.Name, r.Policy.Host)
	}
	infer, stream := predicates(grpcCall(callInfer)), predicates(grpcCall(callStreamInfer))
	answersOnly := *r.Policy
	answersOnly.Needs.RequestBody = false // see streamInferRoute
	timeout := messageTimeout(r.Policy, o)
	out.TypedPerFilterConfig = map[string]*anypb.Any{
		filterCall: whenever(anyOf([]*xdsmatcherv3.Matcher_MatcherList_Predicate{infer, stream}), "call", filterCall, callConfig()),
		filterDeadline: firstOf(filterDeadline,
			branch{infer, "deadline", meshCallHeaders(r)},
			branch{stream, "stream", meshStreamHeaders()}),
		filterProcessor: firstOf(filterProcessor,
			branch{infer, "process", processorConfig(r.Policy, timeout)},
			branch{stream, "process_stream", processorConfig(&answersOnly, timeout)}),
	}
	if !fallsToLadder(r.Policy) {
		return nil
	}
	if r.Beside {
		return fmt.Errorf("route %s: a backendRef of it has filters, or is no version that it may lead to; want versions alone, without filters, where a policy of gRPC enforces `broken` or `late`", r.Name)
	}
	if action := meshVersionsThenLadder(r); action != nil {
		out.Action = &routev3.Route_Route{Route: action}
	}
	return nil
}

// meshCallHeaders is meshHeaders for ModelInfer, and what callPerRoute writes.
func meshCallHeaders(r *compile.Route) *headermutationv3.HeaderMutation {
	m := callMutations(r)
	m.RequestMutations = append(meshStreamHeaders().Mutations.RequestMutations, m.RequestMutations...)
	m.RequestMutations = append(m.RequestMutations, appended(policy.HeaderDigest, policy.Digest(r.PolicyJSON)))
	return &headermutationv3.HeaderMutation{Mutations: m}
}

// meshStreamHeaders is meshHeaders for ModelStreamInfer: no deadline fits it.
func meshStreamHeaders() *headermutationv3.HeaderMutation {
	return &headermutationv3.HeaderMutation{Mutations: &headermutationv3.Mutations{
		RequestMutations: append(removeHeaders(callersHeaders[1:]...), appended("grpc-accept-encoding", "identity")),
	}}
}

// meshVersionsThenLadder is versionsThenLadder by the mesh's clusters, less what a ramp
// withholds: Stops has that. It is made of what istiod 1.31 and its proxies know, and
// they know no priority groups. nil: no version has any weight, and Stops has the route.
func meshVersionsThenLadder(r *compile.Route) *routev3.RouteAction {
	var versions []compile.Backend
	sum := uint64(0)
	for _, b := range r.Backends {
		if b.Weight > 0 && policy.IsVersion(b.Cluster) {
			versions, sum = append(versions, b), sum+uint64(b.Weight)
		}
	}
	if sum == 0 {
		return nil
	}
	// The last one gets what no draw has taken, which is also all that cannot be drawn.
	slices.SortStableFunc(versions, func(a, b compile.Backend) int { return cmp.Compare(a.Weight, b.Weight) })
	list := &xdsmatcherv3.Matcher_MatcherList{}
	add := func(is *xdsmatcherv3.Matcher_MatcherList_Predicate, cluster string) {
		list.Matchers = append(list.Matchers, &xdsmatcherv3.Matcher_MatcherList_FieldMatcher{Predicate: is, OnMatch: leadingTo(cluster)})
	}
	add(triedAgain(), AnswersClusterName)
	last, upTo := len(versions)-1, uint64(0)
	for _, b := range versions[:last] {
		upTo += uint64(b.Weight)
		add(drawn(uint32(upTo*1_000_000/sum), drawsVersion), b.Cluster)
	}
	return &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_InlineClusterSpecifierPlugin{InlineClusterSpecifierPlugin: &routev3.ClusterSpecifierPlugin{
			Extension: &corev3.TypedExtensionConfig{
				Name: "envoy.router.cluster_specifier_plugin.matcher",
				TypedConfig: packed(&clustermatcherv3.MatcherClusterSpecifier{ClusterMatcher: &xdsmatcherv3.Matcher{
					MatcherType: &xdsmatcherv3.Matcher_MatcherList_{MatcherList: list}, OnNoMatch: leadingTo(versions[last].Cluster),
				}}),
			},
		}},
		RetryPolicy: retryOnLadder(r.Policy),
	}
}

func leadingTo(cluster string) *xdsmatcherv3.Matcher_OnMatch {
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{
		Name: cluster, TypedConfig: packed(&clustermatcherv3.ClusterAction{Cluster: cluster}),
	}}}
}

// headerAttempt has the number of an attempt, once the router has had one: istiod has
// it written unless it is told otherwise. ForMesh drops it of requests that come in,
// where it is the number of a proxy before.
const headerAttempt = "x-envoy-attempt-count"

// triedAgain holds for all attempts but the first. The attribute of the same meaning,
// upstream.request_attempt_count, ends Envoy 1.40 here by a segmentation fault.
func triedAgain() *xdsmatcherv3.Matcher_MatcherList_Predicate {
	return predicates([]*routev3.HeaderMatcher{header(headerAttempt, &matcherv3.StringMatcher{
		MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(".+")},
	})})
}
