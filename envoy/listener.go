package envoy

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// listenerBuffer is Envoy's default, made explicit: the processor sees a body
// whole up to the larger of this and the policy's own limit.
const listenerBuffer = 1 << 20

// ourHeaders begins the name of every header that is ours alone to write.
const ourHeaders = verdict.HeaderPrefix

// callersHeaders begin the names of what no caller may send: copies of our own
// headers, and the headers by which Envoy lets a caller it believes to be
// internal set timeouts and retries.
var callersHeaders = []string{
	ourHeaders, "x-envoy-upstream-rq-", "x-envoy-retry-", "x-envoy-retriable-", "x-envoy-max-retries", "x-envoy-hedge-",
}

func trafficListener(s *compile.Snapshot, o Options, how delivery, routes *routev3.RouteConfiguration) (*listenerv3.Listener, error) {
	return listenerFor(ListenerName, s, formsOf(s), o, how, routes)
}

// listenerFor takes traffic for the routes of s, whose defaults have one of the forms.
func listenerFor(name string, s *compile.Snapshot, forms []rungForm, o Options, how delivery, routes *routev3.RouteConfiguration) (*listenerv3.Listener, error) {
	addr, err := address("listen", o.Listen)
	if err != nil {
		return nil, err
	}
	hcm := connectionManager(forms, causesIn(name, o), o)
	how.setRoutes(hcm, routes)
	if name == ListenerName {
		awaitRoutes(hcm, o)
	}
	return &listenerv3.Listener{
		Name:                          name,
		Address:                       addr,
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(listenerBufferFor(s, o)),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(hcm)},
		}}}},
	}, nil
}

func connectionManager(forms []rungForm, causes []rungCause, o Options) *hcmv3.HttpConnectionManager {
	hcm := &hcmv3.HttpConnectionManager{
		StatPrefix: StatPrefix,
		// A path is matched as the model's server will read it. What is only
		// another spelling (%2F or a backslash for a slash, %69 for i, //, /./)
		// is forwarded in the one spelling that was matched: else
		// "…/v1%2Finfer" would be no inference here and one over there. A
		// refusal or a redirect of such requests would break callers that have
		// worked so far, and many do not send a POST again.
		NormalizePath:                 wrapperspb.Bool(true),
		MergeSlashes:                  true,
		PathWithEscapedSlashesAction:  hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD,
		EarlyHeaderMutationExtensions: []*corev3.TypedExtensionConfig{stripCallers()},
		LocalReplyConfig:              lastRung(forms, causes),
	}
	if hcm.LocalReplyConfig != nil {
		hcm.AccessLog = []*accesslogv3.AccessLog{lastRungCounter(o)}
	}
	hcm.AccessLog = append(hcm.AccessLog, cutAnswers())
	if o.AccessLog != "" {
		hcm.AccessLog = append(hcm.AccessLog, accessLog(o.AccessLog))
	}
	for _, f := range o.ExtraFilters {
		hcm.HttpFilters = append(hcm.HttpFilters, proto.Clone(f).(*hcmv3.HttpFilter))
	}
	// The order matters: custom_response behind ours would hide a model's 5xx
	// from a live processor.
	hcm.HttpFilters = append(hcm.HttpFilters,
		killFilter(),
		defaultFilter(),
		deadlineFilter(),
		rememberFilter(),
	)
	hcm.HttpFilters = append(hcm.HttpFilters, wasmFilters(o)...)
	hcm.HttpFilters = append(hcm.HttpFilters,
		processorFilter(),
		&hcmv3.HttpFilter{Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(&routerv3.Router{})}},
	)
	return hcm
}

// filter is one of ours: off unless a route turns it on.
func filter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name:       name,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(config)},
		Disabled:   true,
	}
}

// stripCallers runs before a route is chosen, so that no filter and no route
// ever sees a caller's copy.
func stripCallers() *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{
		Name:        "envoy.http.early_header_mutation.header_mutation",
		TypedConfig: packed(&earlyv3.HeaderMutation{Mutations: removeHeaders(callersHeaders...)}),
	}
}

// removeHeaders drops the headers whose names, which are in lower case already,
// begin so.
func removeHeaders(prefixes ...string) []*mutationv3.HeaderMutation {
	var out []*mutationv3.HeaderMutation
	for _, p := range prefixes {
		out = append(out, &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_RemoveOnMatch_{
			RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{KeyMatcher: &matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: p},
			}},
		}})
	}
	return out
}

// accessLog writes one JSON object a request; no body, no header of a caller's
// but its request id.
func accessLog(path string) *accesslogv3.AccessLog {
	fields := map[string]string{
		"time":        "%START_TIME%",
		"method":      "%REQ(:METHOD)%",
		"path":        "%PATH(NQ)%",
		"route":       "%ROUTE_NAME%",
		"version":     "%UPSTREAM_CLUSTER_RAW%",
		"status":      "%RESPONSE_CODE%",
		"details":     "%RESPONSE_CODE_DETAILS%",
		"flags":       "%RESPONSE_FLAGS%",
		"duration_ms": "%DURATION%",
		"bytes":       "%BYTES_SENT%",
		"source":      "%RESP(" + headerSource + ")%",
		"reason":      "%RESP(" + headerReason + ")%",
		"verdict":     "%DYNAMIC_METADATA(" + policy.MetadataNamespace + ")%",
		"request_id":  "%REQ(X-REQUEST-ID)%",
	}
	object := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for k, v := range fields {
		object.Fields[k] = structpb.NewStringValue(v)
	}
	return &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.file",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: packed(&filelogv3.FileAccessLog{
			Path: path,
			AccessLogFormat: &filelogv3.FileAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: object},
			}},
		})},
	}
}
