package envoy

import (
	"strings"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"

	"github.com/safestate/safestate/internal/policy"
)

// evidenceWithin is how long a proxy keeps what the processor is to know.
const evidenceWithin = 50 * time.Millisecond

// CEL over a request: the processor has said its word on the answer; and it has
// left it to Envoy to say how a clean stream ended, which did not end well.
const (
	ownMetadata = "metadata.filter_metadata['" + policy.MetadataNamespace + "']"
	wordSaid    = "'" + policy.MetadataNamespace + "' in metadata.filter_metadata && '" + policy.MetadataVerdict + "' in " + ownMetadata +
		" && " + ownMetadata + "['" + policy.MetadataVerdict + "'] != '" + policy.VerdictSeen + "'"
	endIsOpen = ownMetadata + "['" + policy.MetadataVerdict + "'] in ['" + policy.VerdictClean + "', '" + policy.VerdictObserved + "']" +
		" && response.code_details != '" + policy.DetailsWhole + "'"
)

// cutAnswers tells the processor of answers whose model broke the connection
// once their headers had come: Envoy ends such an answer by itself, and all
// that the processor sees is the end of its stream, as when the caller leaves. What
// the processor has counted already it is not told of.
//
// It is told as well of a stream that it found clean up to its end mark, and that
// then ended before the model had ended it. Only Envoy knows whether it had the
// processor's word on the last piece by then, and so whether the caller has the end
// mark: if not, it is a cut answer as any other.
func cutAnswers() *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.http_grpc",
		Filter: celFilter(strings.Join([]string{
			"'" + policy.MetadataNamespace + "' in xds.route_metadata.filter_metadata",
			"(" + wordSaid + " ? " + endIsOpen + " : response.code_details.startsWith('" + policy.DetailsCut + "'))",
		}, " && ")),
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: packed(&grpclogv3.HttpGrpcAccessLogConfig{
			CommonConfig: &grpclogv3.CommonGrpcAccessLogConfig{
				LogName: policy.LogCutAnswers,
				GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
					EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: ProcessorClusterName},
				}},
				TransportApiVersion: corev3.ApiVersion_V3,
				BufferFlushInterval: duration(evidenceWithin),
			},
		})},
	}
}
