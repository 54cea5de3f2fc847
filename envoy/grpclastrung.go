package envoy

import (
	"fmt"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	bridgev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_http1_reverse_bridge/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
)

// The last rung of gRPC. A local reply to a gRPC call is a status without a
// message, and no mapper can make a message of it: what it would write as a body
// becomes the text of an error. So a route's policy says which it is:
//
//   - UNAVAILABLE (or DEADLINE_EXCEEDED, where the whole exchange took too
//     long), which every client raises. Nothing is rendered for it.
//   - A message. The call then passes through Envoy twice: from the traffic
//     listener to an internal one, which has our filters and the versions. Its
//     local replies are only marked there, and outside a marked answer is
//     retried: onto a second internal listener, whose gRPC bridge makes a
//     message of a third one's direct response. Replies of other filters are
//     given outside or carry no mark, and stay.
//
// The second way costs every call of the route the hop, 0.3 ms where it was
// measured. A request over the policy's limit is not kept for the retry: its
// last rung may be the status.

// Internal listeners, and the clusters that reach them.
const (
	innerName    = "safestate_inner"    // our filters and the versions
	messageName  = "safestate_message"  // the bridge: bytes to a gRPC message
	defaultsName = "safestate_defaults" // the defaults' bytes
)

// headerUnanswered marks a local reply of the inner listener: why there is no
// answer.
const headerUnanswered = policy.HeaderUnanswered

// ReasonUnanswered is x-safestate-reason of a message that Envoy gave by itself
// in the place of a gRPC call. Which of its causes it was is in the log of the
// inner listener only.
const ReasonUnanswered = "unanswered"

const typeProtobuf = "application/x-protobuf"

// answersByMessage reports whether Envoy alone answers a route's gRPC calls.
func answersByMessage(r *compile.Route) bool {
	return guardsGRPC(r) && r.Policy.GRPCLastRung == policy.LastRungAnswer && r.Policy.FullyEnforced() && len(causesOf(r.Policy)) > 0
}

// hopRoute takes to the inner listener the calls that infer matches there.
func hopRoute(infer *routev3.Route, r *compile.Route) *routev3.Route {
	action := &routev3.RouteAction{
		ClusterSpecifier: inTurn(oneCluster("inner", innerName), oneCluster("default", messageName)),
		Timeout:          duration(0),
		RetryPolicy:      retryOnce("retriable-headers"),
		IdleTimeout:      infer.GetRoute().GetIdleTimeout(),
	}
	action.RetryPolicy.RetriableHeaders = []*routev3.HeaderMatcher{present(headerUnanswered)}
	if r.MaxDuration > 0 {
		// The inner listener's bound is first, so that there is time to answer.
		action.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: duration(r.MaxDuration + 5*compile.Grace)}
	}
	return &routev3.Route{
		Name:                   infer.Name + " (hop)",
		Match:                  proto.Clone(infer.Match).(*routev3.RouteMatch),
		RequestHeadersToAdd:    []*corev3.HeaderValueOption{policyDigest(r)},
		RequestBodyBufferLimit: infer.RequestBodyBufferLimit,
		Action:                 &routev3.Route_Route{Route: action},
	}
}

// innerRoutes are the routes of the inner listener, nil where none is needed.
// Their order is that of the traffic listener's, so that a call which came by a
// match there finds the same one here.
func innerRoutes(s *compile.Snapshot, o Options) (*routev3.RouteConfiguration, error) {
	rc := &routev3.RouteConfiguration{
		Name:                     innerName,
		ValidateClusters:         wrapperspb.Bool(true),
		IgnorePortInHostMatching: true,
	}
	for i := range s.Hosts {
		vh := &routev3.VirtualHost{Name: s.Hosts[i].Domain, Domains: []string{s.Hosts[i].Domain}}
		for j := range s.Hosts[i].Entries {
			e := &s.Hosts[i].Entries[j]
			if !answersByMessage(&s.Routes[e.Route]) {
				continue
			}
			routes, err := inferRoutes(s, &e.Match, &s.Routes[e.Route], o)
			if err != nil {
				return nil, fmt.Errorf("route %s: %w", s.Routes[e.Route].Name, err)
			}
			vh.Routes = append(vh.Routes, routes...)
		}
		if len(vh.Routes) > 0 {
			rc.VirtualHosts = append(rc.VirtualHosts, vh)
		}
	}
	if len(rc.VirtualHosts) == 0 {
		return nil, nil
	}
	return rc, nil
}

// addHop adds what routes with a message for a last rung need besides their own
// entries.
func addHop(out *Resources, s *compile.Snapshot, o Options, how delivery) error {
	inner, err := innerRoutes(s, o)
	if inner == nil {
		return err
	}
	defaults, err := defaultMessages(s)
	if err != nil {
		return err
	}
	hcm := innerManager(o)
	if how == inStatic {
		hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: inner}
	} else {
		hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: adsSource(), RouteConfigName: inner.Name}}
	}
	out.Routes = append(out.Routes, inner)
	out.Listeners = append(out.Listeners,
		internalListener(innerName, hcm),
		internalListener(messageName, bridgeManager()),
		internalListener(defaultsName, defaultsManager(defaults)),
	)
	for _, name := range []string{innerName, messageName, defaultsName} {
		out.Clusters = append(out.Clusters, internalCluster(name))
	}
	return nil
}

func internalListener(name string, hcm *hcmv3.HttpConnectionManager) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name:                          name,
		ListenerSpecifier:             &listenerv3.Listener_InternalListener{InternalListener: &listenerv3.Listener_InternalListenerConfig{}},
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(listenerBuffer),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(hcm)},
		}}}},
	}
}

// internalManager leaves requests as the traffic listener has made them.
func internalManager(name string, filters ...*hcmv3.HttpFilter) *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		StatPrefix:                   name,
		CodecType:                    hcmv3.HttpConnectionManager_HTTP2,
		ServerHeaderTransformation:   hcmv3.HttpConnectionManager_PASS_THROUGH,
		SkipXffAppend:                true,
		PreserveExternalRequestId:    true,
		HttpFilters:                  append(filters, routerFilter()),
		StreamIdleTimeout:            duration(0), // the routes bound it
		UseRemoteAddress:             wrapperspb.Bool(false),
		GenerateRequestId:            wrapperspb.Bool(false),
		PathWithEscapedSlashesAction: hcmv3.HttpConnectionManager_KEEP_UNCHANGED,
	}
}

func routerFilter() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(&routerv3.Router{})}}
}

func innerManager(o Options) *hcmv3.HttpConnectionManager {
	hcm := internalManager(innerName, deadlineFilter(), rememberFilter(), processorFilter())
	hcm.LocalReplyConfig = &hcmv3.LocalReplyConfig{}
	for i := range rungCauses {
		hcm.LocalReplyConfig.Mappers = append(hcm.LocalReplyConfig.Mappers, marker(&rungCauses[i]))
	}
	hcm.AccessLog = []*accesslogv3.AccessLog{cutAnswers()}
	if o.AccessLog != "" {
		hcm.AccessLog = append(hcm.AccessLog, accessLog(o.AccessLog))
	}
	return hcm
}

// marker only adds a header: with a status or a body it would be no answer that
// a gRPC client reads.
func marker(c *rungCause) *hcmv3.ResponseMapper {
	metadata := "xds.route_metadata.filter_metadata"
	own := metadata + "['" + policy.MetadataNamespace + "']"
	return &hcmv3.ResponseMapper{
		Filter: celFilter(strings.Join([]string{
			"'" + policy.MetadataNamespace + "' in " + metadata,
			"'" + metadataCauses + "' in " + own,
			own + "['" + metadataCauses + "'].contains('" + c.cause + "')",
			c.when,
		}, " && ")),
		HeadersToAdd: []*corev3.HeaderValueOption{setHeader(headerUnanswered, c.reason())},
	}
}

// bridgeManager makes the bytes of a default a gRPC answer, with its frame and
// its trailers.
func bridgeManager() *hcmv3.HttpConnectionManager {
	hcm := internalManager(messageName, &hcmv3.HttpFilter{
		Name: "envoy.filters.http.grpc_http1_reverse_bridge",
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(&bridgev3.FilterConfig{
			ContentType: typeProtobuf, WithholdGrpcFrames: true,
		})},
	})
	hcm.RouteSpecifier = inlineRoutes(messageName, &routev3.Route{
		Name:  messageName,
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: defaultsName},
		}},
	})
	return hcm
}

// defaultsManager answers with the default of the policy that a request names.
func defaultsManager(defaults []*routev3.Route) *hcmv3.HttpConnectionManager {
	hcm := internalManager(defaultsName)
	hcm.AccessLog = []*accesslogv3.AccessLog{lastRungCounter()}
	config := inlineRoutes(defaultsName, defaults...)
	longest := 0
	for _, r := range defaults {
		longest = max(longest, len(r.GetDirectResponse().GetBody().GetInlineBytes()))
	}
	config.RouteConfig.MaxDirectResponseBodySizeBytes = wrapperspb.UInt32(uint32(max(longest, 4096)))
	hcm.RouteSpecifier = config
	return hcm
}

func inlineRoutes(name string, routes ...*routev3.Route) *hcmv3.HttpConnectionManager_RouteConfig {
	return &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
		Name:         name,
		VirtualHosts: []*routev3.VirtualHost{{Name: name, Domains: []string{"*"}, Routes: routes}},
	}}
}

// defaultMessages has one direct response for each route that Envoy alone
// answers by a message.
func defaultMessages(s *compile.Snapshot) ([]*routev3.Route, error) {
	var out []*routev3.Route
	for i := range s.Routes {
		r := &s.Routes[i]
		if !answersByMessage(r) {
			continue
		}
		// Raw: nobody has seen the request, and some clients read nothing else.
		message, err := protocol.ToGRPC(nil, []byte(r.Policy.Default().Body), nil, protocol.Options{Raw: true})
		if err != nil {
			return nil, fmt.Errorf("route %s: the default is no gRPC message: %w", r.Name, err)
		}
		out = append(out, &routev3.Route{
			Name: r.Name,
			Match: &routev3.RouteMatch{
				PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"},
				Headers:       []*routev3.HeaderMatcher{header(policy.HeaderDigest, exactly(policy.Digest(r.PolicyJSON)))},
			},
			ResponseHeadersToAdd: []*corev3.HeaderValueOption{
				setHeader("content-type", typeProtobuf),
				setHeader(headerSource, sourceDefault),
				setHeader(headerReason, ReasonUnanswered),
				setHeader("cache-control", "no-store"),
			},
			Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
				Status: 200,
				Body:   &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: message}},
			}},
		})
	}
	return out, nil
}
