package envoy

import (
	"fmt"
	"strconv"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

// The calls of the Open Inference Protocol that ask for a prediction.
const (
	callInfer       = "ModelInfer"
	callStreamInfer = "ModelStreamInfer"
)

// guardsGRPC reports whether a route's calls are gRPC under a policy.
func guardsGRPC(r *compile.Route) bool {
	return r.Policy != nil && r.Policy.Protocol == policy.OpenInferenceGRPC
}

// grpcRoutes gives the Envoy routes of one match of gRPC calls under a policy:
// ModelInfer, before it the same calls on their way to the ladder,
// ModelStreamInfer, and all other methods (health, metadata), which go to the
// model untouched. Where Envoy alone answers by a message the first two are
// behind an internal listener, and the way to it is in their place.
func grpcRoutes(s *compile.Snapshot, m *compile.Match, r *compile.Route, o Options) ([]*routev3.Route, error) {
	if r.Policy.Host != policy.HostProcessor {
		return nil, fmt.Errorf("policy %s has host %q, and the WASM filter does not read gRPC", r.Policy.Name, r.Policy.Host)
	}
	routes, err := inferRoutes(s, m, r, o)
	if err != nil {
		return nil, err
	}
	if answersByMessage(r) {
		routes = []*routev3.Route{hopRoute(routes[1], r)}
	}
	stream, err := streamInferRoute(m, r, o)
	if err != nil {
		return nil, err
	}
	plain, err := plainRoute(m, withoutDeadline(r))
	if err != nil {
		return nil, err
	}
	plain.Name += " (no inference)"
	return append(routes, stream, plain), nil
}

// inferRoutes takes ModelInfer, one message each way: to the ladder where the
// processor says so, else to the versions.
func inferRoutes(s *compile.Snapshot, m *compile.Match, r *compile.Route, o Options) ([]*routev3.Route, error) {
	infer, err := inferRoute(s, m, r, o)
	if err != nil {
		return nil, err
	}
	return []*routev3.Route{answerRoute(infer, r), infer}, nil
}

func inferRoute(s *compile.Snapshot, m *compile.Match, r *compile.Route, o Options) (*routev3.Route, error) {
	out, err := guardedCall(m, r, r.Policy, callInfer, o)
	if err != nil {
		return nil, err
	}
	out.RequestHeadersToAdd = append(out.RequestHeadersToAdd, policyDigest(r))
	out.RequestBodyBufferLimit = wrapperspb.UInt64(uint64(r.Policy.Limits.BodyBytes))
	out.TypedPerFilterConfig[filterDeadline] = callPerRoute(r)
	if hasCredentials(s, r) {
		out.TypedPerFilterConfig[filterRemember] = packed(rememberConfig())
	}
	if answersByMessage(r) {
		out.RequestHeadersToRemove = append(out.RequestHeadersToRemove, headerDefault)
		out.Metadata.FilterMetadata[policy.MetadataNamespace].Fields[metadataCauses] = structpb.NewStringValue(strings.Join(causesOf(r.Policy), ","))
	}
	if action := out.GetRoute(); action != nil && fallsToLadder(r.Policy) {
		action.ClusterSpecifier = versionsThenLadder(r)
		action.RetryPolicy = retryOnLadder(r.Policy)
	}
	return out, nil
}

// streamInferRoute takes ModelStreamInfer, an open exchange of messages. Its
// request is not shown to the processor: to gather its body would wait for an
// end that comes last. No deadline fits it, and no default either.
func streamInferRoute(m *compile.Match, r *compile.Route, o Options) (*routev3.Route, error) {
	answersOnly := *r.Policy
	answersOnly.Needs.RequestBody = false
	out, err := guardedCall(m, withoutDeadline(r), &answersOnly, callStreamInfer, o)
	if err != nil {
		return nil, err
	}
	out.Name += " (stream)"
	return out, nil
}

// guardedCall is what the routes of both calls share.
func guardedCall(m *compile.Match, r *compile.Route, p *policy.Policy, call string, o Options) (*routev3.Route, error) {
	out, err := plainRoute(m, r)
	if err != nil {
		return nil, err
	}
	out.Match.Headers = append(out.Match.Headers, grpcCall(call)...)
	if out.Metadata, err = policyMetadata(r, o); err != nil {
		return nil, err
	}
	out.TypedPerFilterConfig = policyFilters(out.TypedPerFilterConfig, p, o)
	// What is compressed cannot be read, so the model is asked for messages
	// as they are.
	out.RequestHeadersToAdd = append(out.RequestHeadersToAdd, setHeader("grpc-accept-encoding", "identity"))
	return out, nil
}

// grpcCall matches one method of the service, under whatever prefix, as
// protocol.Inference has it.
func grpcCall(method string) []*routev3.HeaderMatcher {
	path := `[^?#]*/inference\.GRPCInferenceService/` + method + `/*([?#].*)?`
	return []*routev3.HeaderMatcher{
		header(":method", exactly("POST")),
		header(":path", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(path)}}),
	}
}

// callPerRoute bounds a call, and writes the trailers of answers that the
// processor has put in the place of none.
//
// The model's share is a per-try timeout, after which the ladder is asked; the
// whole deadline bounds both and what comes behind the headers. Of an upstream's
// answer that ends without a message Envoy lets the processor replace the
// headers and the body and not the trailers: these it asks for by two headers.
// Without them nothing is written.
func callPerRoute(r *compile.Route) *anypb.Any {
	return packed(&headermutationv3.HeaderMutationPerRoute{Mutations: callMutations(r)})
}

func callMutations(r *compile.Route) *headermutationv3.Mutations {
	m := &headermutationv3.Mutations{ResponseTrailersMutations: []*mutationv3.HeaderMutation{
		writeHeader("grpc-status", "%RESP("+policy.HeaderGRPCStatus+")%", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD),
		writeHeader("grpc-message", "%RESP("+policy.HeaderGRPCMessage+")%", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS),
	}}
	if r.ModelTimeout > 0 && r.MaxDuration > 0 {
		share, whole := max(1, r.ModelTimeout.Milliseconds()), max(1, r.Policy.Deadline.D().Milliseconds())
		m.RequestMutations = []*mutationv3.HeaderMutation{
			writeHeader(headerPerTryTimeout, strconv.FormatInt(share, 10), corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD),
			writeHeader(headerTimeout, strconv.FormatInt(whole, 10), corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD),
		}
	}
	return m
}

func writeHeader(name, value string, how corev3.HeaderValueOption_HeaderAppendAction) *mutationv3.HeaderMutation {
	o := setHeader(name, value)
	o.AppendAction = how
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: o}}
}
