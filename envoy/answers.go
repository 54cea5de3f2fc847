package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

// answerRoute stands in front of a guarded route whose answers come piece by
// piece, and takes the same requests to the ladder once the processor has
// written policy.HeaderAnswer and had the route chosen anew. A caller's copy of
// that header is dropped before any route is chosen.
//
// What the route says of the model (the rewritten path, the edited headers) does
// not hold for the ladder, which sees a request as the processor does. All else
// is the guarded route's, the last rung for a ladder that is away included.
func answerRoute(guarded *routev3.Route, r *compile.Route) *routev3.Route {
	out := proto.Clone(guarded).(*routev3.Route)
	out.Name += " (answer)"
	out.Match.Headers = append(out.Match.Headers, &routev3.HeaderMatcher{
		Name:                 policy.HeaderAnswer,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
	})
	out.RequestHeadersToAdd, out.RequestHeadersToRemove = []*corev3.HeaderValueOption{policyDigest(r)}, nil
	action := &routev3.RouteAction{Timeout: duration(0)}
	if was := guarded.GetRoute(); was != nil { // else no version has any weight
		action.Timeout, action.MaxStreamDuration, action.IdleTimeout = was.Timeout, was.MaxStreamDuration, was.IdleTimeout
	}
	action.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: AnswersClusterName}
	out.Action = &routev3.Route_Route{Route: action}
	return out
}

// policyDigest tells the ladder which policy a request is under. The policy
// itself would be 16 KiB with every request.
func policyDigest(r *compile.Route) *corev3.HeaderValueOption {
	return setHeader(policy.HeaderDigest, policy.Digest(r.PolicyJSON))
}
