package envoy

import (
	"fmt"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
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
	"github.com/safestate/safestate/internal/verdict"
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

// headerDefault names the route whose default is asked for, where nothing else
// answered. The digest of the policy would not do: it changes with the stable
// version, and the defaults would have to change in the same moment.
const headerDefault = verdict.HeaderPrefix + "default"

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
		RequestHeadersToAdd:    []*corev3.HeaderValueOption{policyDigest(r), setHeader(headerDefault, formatLiteral(r.Name))},
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
	rc.VirtualHosts = append(rc.VirtualHosts, probeHost(s, false))
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
	out.Routes = append(out.Routes, inner, defaults)
	out.Listeners = append(out.Listeners, hopListeners(o, how, inner, defaults)...)
	out.Clusters = append(out.Clusters, hopClusters()...)
	return nil
}

func hopClusters() []*clusterv3.Cluster {
	return []*clusterv3.Cluster{internalCluster(innerName), internalCluster(messageName), internalCluster(defaultsName)}
}

// hopListeners do not depend on the snapshot but for the routes inline: a
// listener that changes is drained.
func hopListeners(o Options, how delivery, inner, defaults *routev3.RouteConfiguration) []*listenerv3.Listener {
	innerHCM, defaultsHCM := innerManager(o), internalManager(defaultsName)
	how.setRoutes(innerHCM, inner)
	how.setRoutes(defaultsHCM, defaults)
	defaultsHCM.AccessLog = []*accesslogv3.AccessLog{lastRungCounter(o)}
	return []*listenerv3.Listener{
		internalListener(innerName, innerHCM),
		internalListener(messageName, bridgeManager()),
		internalListener(defaultsName, defaultsHCM),
	}
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
	hcm := internalManager(innerName, killFilter(), deadlineFilter(), rememberFilter(), processorFilter())
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
	inStatic.setRoutes(hcm, oneHost(messageName, &routev3.Route{
		Name:  messageName,
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: defaultsName},
		}},
	}))
	return hcm
}

func oneHost(name string, routes ...*routev3.Route) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name:         name,
		VirtualHosts: []*routev3.VirtualHost{{Name: name, Domains: []string{"*"}, Routes: routes}},
	}
}

// defaultMessages has one direct response for each route that Envoy alone
// answers by a message.
func defaultMessages(s *compile.Snapshot) (*routev3.RouteConfiguration, error) {
	var out []*routev3.Route
	longest := 4096 // Envoy's default
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
		longest = max(longest, len(message))
		out = append(out, &routev3.Route{
			Name: r.Name,
			Match: &routev3.RouteMatch{
				PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"},
				Headers:       []*routev3.HeaderMatcher{header(headerDefault, exactly(r.Name))},
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
	config := oneHost(defaultsName, out...)
	config.MaxDirectResponseBodySizeBytes = wrapperspb.UInt32(uint32(longest))
	return config, nil
}
