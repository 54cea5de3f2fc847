package envoy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	prioritygroupv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/router/cluster_specifiers/priority_group/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
)

// A gRPC call that fails without a message (trailers-only, refused, reset,
// silent) cannot be made an answer where its answer passes: grpc-go does not
// take what Envoy would send. So Envoy asks again, once, and not the model but
// the ladder as an upstream. Filters see the last answer only.
//
// An aggregate cluster would do it too, but runs the upstream filters of none of
// its members: a version's credentials would not be injected.

// retryDelay is Envoy's wait before it asks the ladder; its default is 25 ms.
const retryDelay = time.Millisecond

// lastGRPCCode is the largest status code that gRPC has (UNAUTHENTICATED).
const lastGRPCCode = 16

// fallsToLadder reports whether a failed call of a policy's route may be
// answered by the ladder. The processor says so of each request, by
// policy.HeaderCluster: a share of requests, or a failure that nobody enforces,
// is its to know.
func fallsToLadder(p *policy.Policy) bool {
	return p.Mode.Enforces() && (breaksEnforced(p) || p.Detect.Late != nil && p.Detect.Late.Mode.Enforces())
}

func breaksEnforced(p *policy.Policy) bool {
	return p.Detect.Broken != nil && p.Detect.Broken.Mode.Enforces()
}

// versionsThenLadder asks a version by weight first, then the ladder.
func versionsThenLadder(r *compile.Route) *routev3.RouteAction_InlineClusterSpecifierPlugin {
	versions := &prioritygroupv3.PriorityGroup{Name: "versions"}
	for _, b := range r.Backends {
		if b.Weight > 0 {
			versions.Clusters = append(versions.Clusters, &prioritygroupv3.ClusterWeight{ClusterName: b.Cluster, Weight: wrapperspb.UInt32(b.Weight)})
		}
	}
	return inTurn(versions, oneCluster("ladder", AnswersClusterName))
}

func oneCluster(name, cluster string) *prioritygroupv3.PriorityGroup {
	return &prioritygroupv3.PriorityGroup{Name: name, Clusters: []*prioritygroupv3.ClusterWeight{
		{ClusterName: cluster, Weight: wrapperspb.UInt32(1)},
	}}
}

// inTurn takes one group a try.
func inTurn(groups ...*prioritygroupv3.PriorityGroup) *routev3.RouteAction_InlineClusterSpecifierPlugin {
	return &routev3.RouteAction_InlineClusterSpecifierPlugin{InlineClusterSpecifierPlugin: &routev3.ClusterSpecifierPlugin{
		Extension: &corev3.TypedExtensionConfig{
			Name:        "envoy.router.cluster_specifier_plugin.priority_group",
			TypedConfig: packed(&prioritygroupv3.PriorityGroupClusterSpecifier{PriorityGroups: groups}),
		},
	}}
}

// retryOnLadder says which failures are taken to the ladder. Of lateness alone
// only resets are, which is what a per-try timeout counts as.
func retryOnLadder(p *policy.Policy) *routev3.RetryPolicy {
	out := retryOnce("reset")
	out.RetriableRequestHeaders = []*routev3.HeaderMatcher{present(policy.HeaderCluster)}
	if !breaksEnforced(p) {
		return out
	}
	out.RetryOn = "5xx,reset,connect-failure,refused-stream,retriable-headers"
	out.RetriableHeaders = []*routev3.HeaderMatcher{
		header("grpc-status", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(failedCodes(p.Detect.Broken.Statuses))}}),
	}
	for _, status := range p.Detect.Broken.Statuses {
		out.RetriableStatusCodes = append(out.RetriableStatusCodes, uint32(status))
	}
	if len(out.RetriableStatusCodes) > 0 {
		out.RetryOn += ",retriable-status-codes"
	}
	return out
}

// retryOnce tries the next group of inTurn once, at once.
func retryOnce(on string) *routev3.RetryPolicy {
	return &routev3.RetryPolicy{
		RetryOn:               on,
		NumRetries:            wrapperspb.UInt32(1),
		RefreshClusterOnRetry: true,
		RetryBackOff:          &routev3.RetryPolicy_RetryBackOff{BaseInterval: duration(retryDelay), MaxInterval: duration(retryDelay)},
	}
}

// failedCodes is an expression for the gRPC status codes that fail a call:
// those that say so themselves, and those whose HTTP status the policy lists.
func failedCodes(statuses []int) string {
	var codes []string
	for code := 1; code <= lastGRPCCode; code++ {
		if protocol.IsFailure(code) || slices.Contains(statuses, protocol.HTTPStatus(code)) {
			codes = append(codes, strconv.Itoa(code))
		}
	}
	return strings.Join(codes, "|")
}

func present(name string) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}
}

// clustersInTurn are the clusters that a route asks in turn.
func clustersInTurn(action *routev3.RouteAction) []string {
	plugin := &prioritygroupv3.PriorityGroupClusterSpecifier{}
	if action.GetInlineClusterSpecifierPlugin().GetExtension().GetTypedConfig().UnmarshalTo(plugin) != nil {
		return nil
	}
	var out []string
	for _, g := range plugin.PriorityGroups {
		for _, c := range g.Clusters {
			out = append(out, c.ClusterName)
		}
	}
	return out
}
