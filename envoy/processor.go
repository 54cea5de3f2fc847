package envoy

import (
	"strconv"
	"time"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

// RequestAttributes are what the processor is told of a request beside its
// headers; ResponseAttributes, of an answer.
var (
	RequestAttributes = []string{
		policy.AttributePolicy, policy.AttributeSignature, policy.AttributeRoute, policy.AttributeCluster, policy.AttributeNode,
		policy.AttributeSource, policy.AttributeGeneration, policy.AttributeKillGeneration,
	}
	ResponseAttributes = []string{policy.AttributeCodeDetails}
)

// processorFilter is where the processor stands in the chain. The composite
// filter makes the ext_proc filter of a route only once a request has come as
// far as this. Without it every reply of a filter in front of ours (a refused
// authorization, a rate limit) would pass through ours on its way out, and
// with a dead processor would become our 503.
func processorFilter() *hcmv3.HttpFilter { return filter(filterProcessor, &compositev3.Composite{}) }

// processorPerRoute makes the ext_proc filter for every request of a route.
func processorPerRoute(p *policy.Policy, timeout time.Duration) *anypb.Any {
	make := &compositev3.ExecuteFilterAction{TypedConfig: &corev3.TypedExtensionConfig{
		Name: filterProcessor, TypedConfig: packed(processorConfig(p, timeout)),
	}}
	return packed(&compositev3.CompositePerRoute{Matcher: &xdsmatcherv3.Matcher{
		OnNoMatch: &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
			Action: &xdscorev3.TypedExtensionConfig{Name: "process", TypedConfig: packed(make)},
		}},
	}})
}

// processorConfig is the ext_proc filter of one route: it asks for the
// messages that the policy needs and for no others, and says what happens
// while the processor is away.
func processorConfig(p *policy.Policy, timeout time.Duration) *extprocv3.ExternalProcessor {
	return &extprocv3.ExternalProcessor{
		GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: ProcessorClusterName},
		}},
		FailureModeAllow:   !failsClosed(p),
		StatusOnError:      &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
		ProcessingMode:     processingMode(p),
		RequestAttributes:  RequestAttributes,
		ResponseAttributes: ResponseAttributes,
		MessageTimeout:     duration(timeout),
		MaxMessageTimeout:  duration(max(leastMaxMessageTimeout, timeout, p.Deadline.D()+compile.Grace)),
		// x-envoy-upstream-rq-timeout-ms, by which the processor shortens the
		// model's share. Nothing of routing may be changed.
		MutationRules:     &mutationv3.HeaderMutationRules{AllowEnvoy: wrapperspb.Bool(true)},
		AllowModeOverride: true,
		// Without it BUFFERED_PARTIAL drops the model's content-length.
		AllowContentLengthHeader: true,
		MetadataOptions: &extprocv3.MetadataOptions{
			ReceivingNamespaces: &extprocv3.MetadataOptions_MetadataNamespaces{Untyped: []string{policy.MetadataNamespace}},
		},
	}
}

// processingMode names the messages that a policy needs.
//
// Bodies are BUFFERED_PARTIAL: one over the limit arrives cut, and passes
// whole or is replaced as the processor says. BUFFERED would make it Envoy's
// own 500. An answer that comes piece by piece is FULL_DUPLEX_STREAMED: the
// processor gets its pieces while it withholds the reply to its headers, so that
// nothing is out before it has decided. Envoy demands the trailers there.
func processingMode(p *policy.Policy) *extprocv3.ProcessingMode {
	mode := &extprocv3.ProcessingMode{
		RequestHeaderMode:   extprocv3.ProcessingMode_SEND,
		ResponseHeaderMode:  extprocv3.ProcessingMode_SEND,
		RequestBodyMode:     extprocv3.ProcessingMode_NONE,
		ResponseBodyMode:    extprocv3.ProcessingMode_BUFFERED_PARTIAL,
		RequestTrailerMode:  extprocv3.ProcessingMode_SKIP,
		ResponseTrailerMode: extprocv3.ProcessingMode_SKIP,
	}
	if p.Needs.RequestBody {
		mode.RequestBodyMode = extprocv3.ProcessingMode_BUFFERED_PARTIAL
	}
	if p.Needs.Duplex {
		mode.ResponseBodyMode = extprocv3.ProcessingMode_FULL_DUPLEX_STREAMED
		mode.ResponseTrailerMode = extprocv3.ProcessingMode_SEND
	}
	return mode
}

// failsClosed reports whether a request is not let through without the
// processor. Only where every request is enforced: to observe must never cost
// an answer, and Envoy cannot draw lots.
func failsClosed(p *policy.Policy) bool {
	return p.FullyEnforced() && p.WhenProcessorAway != policy.AwayPass
}

// Headers that bound what the router waits for. The first bounds the whole
// answer, the second only the time until its headers.
const (
	headerTimeout       = "x-envoy-upstream-rq-timeout-ms"
	headerPerTryTimeout = "x-envoy-upstream-rq-per-try-timeout-ms"
)

// deadlineFilter gives the model its share of the deadline by headerTimeout. A
// route's own timeout does not do it: Envoy ignores it beside
// max_stream_duration, and a per-try timeout ends with the response's headers,
// so that a stalled body would have no bound.
//
// An answer that may be a stream has the per-try timeout all the same: the whole
// timeout would cut a healthy stream, and without an error event. There the
// processor bounds what comes after the headers.
func deadlineFilter() *hcmv3.HttpFilter {
	return filter(filterDeadline, &headermutationv3.HeaderMutation{})
}

func deadlinePerRoute(r *compile.Route) map[string]*anypb.Any {
	if r.ModelTimeout <= 0 || r.MaxDuration <= 0 {
		return nil
	}
	ms, name := max(1, r.ModelTimeout.Milliseconds()), headerTimeout
	if r.Policy != nil && r.Policy.Stream != nil {
		name = headerPerTryTimeout
	}
	return map[string]*anypb.Any{filterDeadline: packed(&headermutationv3.HeaderMutationPerRoute{
		Mutations: &headermutationv3.Mutations{RequestMutations: []*mutationv3.HeaderMutation{{
			Action: &mutationv3.HeaderMutation_Append{Append: setHeader(name, strconv.FormatInt(ms, 10))},
		}}},
	})}
}
