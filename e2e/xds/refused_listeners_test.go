package xds

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// refusedListeners are mistakes in LDS.
func refusedListeners() []refusal {
	var out []refusal
	identities, _ := badTLS()
	for what, s := range identities {
		out = append(out, inListener("callers' TLS: "+what, s.says, func(l *listenerv3.Listener) {
			l.FilterChains[0].TransportSocket = &corev3.TransportSocket{Name: "envoy.transport_sockets.tls",
				ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed(&tlsv3.DownstreamTlsContext{CommonTlsContext: s.context})}}
		}))
	}
	out = append(out, refusedAddresses()...)
	out = append(out, refusedLogs()...)
	out = append(out, refusedChains()...)
	return append(out, refusedManagers()...)
}

func refusedAddresses() []refusal {
	var out []refusal
	for a, says := range map[string]string{
		"nowhere": "malformed IP address", "300.0.0.1": "malformed IP address", "192.0.2.1": "Cannot assign requested address",
	} {
		out = append(out,
			inListener("address "+a, says, func(l *listenerv3.Listener) { l.Address.GetSocketAddress().Address = a }),
			inListener("second address "+a, says, func(l *listenerv3.Listener) {
				second := proto.Clone(l.Address).(*corev3.Address)
				second.GetSocketAddress().Address = a
				l.AdditionalAddresses = []*listenerv3.AdditionalAddress{{Address: second}}
			}))
	}
	return append(out,
		inListener("a port that is shared no longer", "reuse port cannot be changed", func(l *listenerv3.Listener) { l.EnableReusePort = wrapperspb.Bool(false) }),
		inListener("UDP", "connection-less UDP listener", func(l *listenerv3.Listener) { l.Address.GetSocketAddress().Protocol = corev3.SocketAddress_UDP }))
}

func logTo(path, format string) *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{Name: "envoy.access_loggers.file", ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: packed(&filelogv3.FileAccessLog{
		Path: path, AccessLogFormat: &filelogv3.FileAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: inline(format)}}}})}}
}

func refusedLogs() []refusal {
	var out []refusal
	for _, f := range badFormats {
		out = append(out, inManager("access log of "+f[0], f[1], func(m *hcmv3.HttpConnectionManager) { m.AccessLog = append(m.AccessLog, logTo("/dev/null", f[0])) }))
	}
	for path, says := range map[string]string{"/nonexistent/access.log": "No such file or directory", "/": "Is a directory"} {
		out = append(out, inManager("access log at "+path, says, func(m *hcmv3.HttpConnectionManager) { m.AccessLog = append(m.AccessLog, logTo(path, "a")) }))
	}
	return append(out,
		inListener("the listener's own access log", "No such file or directory", func(l *listenerv3.Listener) {
			l.AccessLog = []*accesslogv3.AccessLog{logTo("/nonexistent/access.log", "a")}
		}),
		inManager("access log of nobody's", unregistered, func(m *hcmv3.HttpConnectionManager) {
			m.AccessLog = append(m.AccessLog, &accesslogv3.AccessLog{Name: "nobody", ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: packed(nothing())}})
		}))
}

func refusedChains() []refusal {
	return []refusal{
		inListener("the same chain twice", "duplicate matcher", func(l *listenerv3.Listener) {
			again := proto.Clone(l.FilterChains[0]).(*listenerv3.FilterChain)
			again.Name = "again"
			l.FilterChains = append(l.FilterChains, again)
		}),
		inListener("no chain", "no filter chains specified", func(l *listenerv3.Listener) { l.FilterChains = nil }),
		inListener("chain for no address", "malformed IP address", func(l *listenerv3.Listener) {
			l.FilterChains[0].FilterChainMatch = &listenerv3.FilterChainMatch{PrefixRanges: []*corev3.CidrRange{{AddressPrefix: "nowhere", PrefixLen: wrapperspb.UInt32(8)}}}
		}),
		inListener("chain for a name with a star inside", "partial wildcards are not supported", func(l *listenerv3.Listener) {
			l.FilterChains[0].FilterChainMatch = &listenerv3.FilterChainMatch{ServerNames: []string{"a.*.example.com"}}
		}),
		inListener("network filter of nobody's", unregistered, func(l *listenerv3.Listener) {
			l.FilterChains[0].Filters[0] = &listenerv3.Filter{Name: "nobody", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(nothing())}}
		}),
		inListener("two ends of a chain", "must be the last filter in a network filter chain", func(l *listenerv3.Listener) {
			l.FilterChains[0].Filters = append(l.FilterChains[0].Filters, l.FilterChains[0].Filters[0])
		}),
		inListener("listener filter of nobody's", unregistered, func(l *listenerv3.Listener) {
			l.ListenerFilters = []*listenerv3.ListenerFilter{{Name: "nobody", ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: packed(nothing())}}}
		}),
		inListener("socket of nobody's for callers", unregistered, func(l *listenerv3.Listener) { l.FilterChains[0].TransportSocket = socketOfNobody() }),
	}
}

func refusedManagers() []refusal {
	last := func(m *hcmv3.HttpConnectionManager) int { return len(m.HttpFilters) - 1 }
	return []refusal{
		inManager("filter of nobody's in front", unregisteredName, func(m *hcmv3.HttpConnectionManager) {
			m.HttpFilters = append([]*hcmv3.HttpFilter{httpFilter("nobody", logTo("a", "a"))}, m.HttpFilters...)
		}),
		inManager("two routers", "must be the last filter in a http filter chain", func(m *hcmv3.HttpConnectionManager) {
			m.HttpFilters = append(m.HttpFilters, m.HttpFilters[last(m)])
		}),
		inManager("the router is not the last", "must be the last filter in a http filter chain", func(m *hcmv3.HttpConnectionManager) {
			i := last(m)
			m.HttpFilters[i], m.HttpFilters[i-1] = m.HttpFilters[i-1], m.HttpFilters[i]
		}),
		inManager("no router", "cannot be disabled by default", func(m *hcmv3.HttpConnectionManager) { m.HttpFilters = m.HttpFilters[:last(m)] }),
		inManager("the router is off", "cannot be disabled by default", func(m *hcmv3.HttpConnectionManager) { m.HttpFilters[last(m)].Disabled = true }),
		inManager("headers changed early by nobody", "extension not found: 'nobody'", func(m *hcmv3.HttpConnectionManager) {
			m.EarlyHeaderMutationExtensions = append(m.EarlyHeaderMutationExtensions, nobodys())
		}),
		inManager("callers' addresses from nobody", "extension not found: 'nobody'", func(m *hcmv3.HttpConnectionManager) {
			m.OriginalIpDetectionExtensions = []*corev3.TypedExtensionConfig{nobodys()}
		}),
		inManager("callers' addresses from two places", "may not be mixed", func(m *hcmv3.HttpConnectionManager) {
			m.UseRemoteAddress, m.OriginalIpDetectionExtensions = wrapperspb.Bool(true), []*corev3.TypedExtensionConfig{nobodys()}
		}),
		inManager("headers held by nobody", "does not support header validator", func(m *hcmv3.HttpConnectionManager) { m.TypedHeaderValidationConfig = nobodys() }),
		inManager("request ids of nobody's", "Didn't find a registered implementation", func(m *hcmv3.HttpConnectionManager) {
			m.RequestIdExtension = &hcmv3.RequestIDExtension{TypedConfig: packed(nothing())}
		}),
		inManager("upgrades of one name", "multiple upgrade configs", func(m *hcmv3.HttpConnectionManager) {
			m.UpgradeConfigs = []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}, {UpgradeType: "websocket"}}
		}),
		inManager("own answers that cannot be filled in", "Not supported field", func(m *hcmv3.HttpConnectionManager) {
			m.LocalReplyConfig = &hcmv3.LocalReplyConfig{BodyFormat: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: inline("%NOPE%")}}}
		}),
		inManager("inner addresses that are none", "invalid ip/mask combo", func(m *hcmv3.HttpConnectionManager) {
			m.InternalAddressConfig = &hcmv3.HttpConnectionManager_InternalAddressConfig{CidrRanges: []*corev3.CidrRange{{AddressPrefix: "nowhere", PrefixLen: wrapperspb.UInt32(8)}}}
		}),
		inManager("regex in a route of its own", "missing )", func(m *hcmv3.HttpConnectionManager) {
			m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{{
				Name: "a", Domains: []string{"*"}, Routes: []*routev3.Route{{
					Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: regex("(")}},
					Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200}}}}}}}}
		}),
	}
}
