package envoy

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	commondnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	injectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	codecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	genericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/generic/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/safestate/safestate/internal/compile"
)

const (
	// concurrency is what Envoy lets through to one version whose Model names no
	// limits. Envoy's default is 1,024 requests; the processor's bulkhead is
	// what sheds, this is only a stop for the worst.
	concurrency = 1 << 16
	// processorConcurrency is the same towards the processor and the ladder.
	// With Envoy's default of 1,024, 376 of 1,400 open streams got the default
	// for nothing. What sheds is the processor: its bulkheads, and its budget of
	// bytes in flight.
	processorConcurrency = 1 << 20
	// serviceAsked and servicePatience find a service of ours that is stopped
	// (SIGSTOP, a lost machine) within the sum of both: nothing else ends a
	// stream that it holds before the stream's longest duration. A service that
	// is merely busy has the patience.
	serviceAsked    = time.Second
	servicePatience = 3 * time.Second
	// modelIdle closes idle connections before uvicorn does (after 5 s), so
	// that no request goes out on a connection that is just being closed.
	modelIdle = 4 * time.Second
	// longestEjection is Envoy's own default, made explicit.
	longestEjection = 5 * time.Minute
	// dnsRefresh is how often a host name is resolved again.
	dnsRefresh = 5 * time.Second
)

// versionCluster renders one version of a model, and the secret that it
// refers to, if any.
func versionCluster(c *compile.Cluster, o Options, how delivery) (*clusterv3.Cluster, *tlsv3.Secret, error) {
	fail := func(err error) (*clusterv3.Cluster, *tlsv3.Secret, error) {
		return nil, nil, fmt.Errorf("version %s: %w", c.Name, err)
	}
	if len(c.Endpoints) == 0 && !c.Killed || c.ConnectTimeout <= 0 {
		return fail(fmt.Errorf("%d endpoints, connect timeout %s: want at least one, and more than 0", len(c.Endpoints), c.ConnectTimeout))
	}
	filters := []*hcmv3.HttpFilter{upstreamFilter("safestate.strip", &headermutationv3.HeaderMutation{Mutations: &headermutationv3.Mutations{
		// A model's own x-safestate headers must not look like ours. Here they
		// are dropped before any other filter can see them.
		ResponseMutations: removeHeaders(ourHeaders),
	}})}
	var secret *tlsv3.Secret
	if c.AuthorizationFile != "" {
		injector, s := authorization(c, how)
		filters, secret = append(filters, injector), s
	}
	if c.Killed {
		return killedCluster(c), secret, nil
	}
	out := &clusterv3.Cluster{
		Name:                 c.Name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       duration(c.ConnectTimeout),
		LbPolicy:             clusterv3.Cluster_LEAST_REQUEST,
		LoadAssignment:       endpoints(c),
		CircuitBreakers:      versionLimits(c.Limits, concurrency),
		UpstreamConnectionOptions: &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
			KeepaliveProbes: wrapperspb.UInt32(3), KeepaliveTime: wrapperspb.UInt32(10), KeepaliveInterval: wrapperspb.UInt32(5),
		}},
		// Envoy's panic mode would send requests to endpoints known to be
		// down, and the ladder is the better answer.
		CommonLbConfig:                &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{Value: 0}},
		TypedExtensionProtocolOptions: httpOptions(modelHTTP(filters)),
	}
	if c.HTTP2 {
		out.TypedExtensionProtocolOptions = httpOptions(modelHTTP2(filters))
	}
	if c.DNS {
		out.ClusterDiscoveryType = byDNS()
		if c.HTTP2 {
			refuseWithoutHosts(out.LoadAssignment)
		}
	}
	if c.HealthCheck != nil {
		out.HealthChecks = []*corev3.HealthCheck{healthCheck(c)}
	}
	if c.Outliers != nil {
		out.OutlierDetection = outlierDetection(c.Outliers)
	}
	if c.TLS != nil {
		out.TransportSocket = upstreamTLS(c, o.SystemCA)
	}
	return out, secret, nil
}

func endpoints(c *compile.Cluster) *endpointv3.ClusterLoadAssignment {
	group := &endpointv3.LocalityLbEndpoints{}
	for _, e := range c.Endpoints {
		group.LbEndpoints = append(group.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
				Address:  socketAddress(e.Address, uint32(e.Port)),
				Hostname: e.Address,
			}},
		})
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: c.Name, Endpoints: []*endpointv3.LocalityLbEndpoints{group}}
}

func thresholds(n uint32) *clusterv3.CircuitBreakers {
	return versionLimits(compile.Limits{}, n)
}

// versionLimits are Envoy's circuit breakers, n where there is no limit. None is
// left to its defaults: 1,024 of each, and 3 retries.
func versionLimits(l compile.Limits, n uint32) *clusterv3.CircuitBreakers {
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections:     wrapperspb.UInt32(cmp.Or(l.MaxConnections, n)),
		MaxPendingRequests: wrapperspb.UInt32(cmp.Or(l.MaxPendingRequests, n)),
		MaxRequests:        wrapperspb.UInt32(cmp.Or(l.MaxRequests, n)),
		MaxRetries:         wrapperspb.UInt32(cmp.Or(l.MaxRetries, n)),
	}}}
}

// outlierDetection ejects single endpoints by what they answer in a row. The
// rates that Envoy looks at by itself are off: they are held against the other
// endpoints, and a version's health is ours to judge.
func outlierDetection(o *compile.Outliers) *clusterv3.OutlierDetection {
	return &clusterv3.OutlierDetection{
		Consecutive_5Xx:                    wrapperspb.UInt32(o.Consecutive5xx),
		EnforcingConsecutive_5Xx:           wrapperspb.UInt32(100),
		Interval:                           duration(o.Interval),
		BaseEjectionTime:                   duration(o.BaseEjectionTime),
		MaxEjectionTime:                    duration(longestEjection),
		MaxEjectionPercent:                 wrapperspb.UInt32(o.MaxEjectionPercent),
		EnforcingSuccessRate:               wrapperspb.UInt32(0),
		EnforcingFailurePercentage:         wrapperspb.UInt32(0),
		EnforcingConsecutiveGatewayFailure: wrapperspb.UInt32(0),
	}
}

// modelHTTP is HTTP/1.1, which every model server speaks.
func modelHTTP(filters []*hcmv3.HttpFilter) *httpv3.HttpProtocolOptions {
	return &httpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: duration(modelIdle)},
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
		}},
		HttpFilters: append(filters, upstreamFilter("envoy.filters.http.upstream_codec", &codecv3.UpstreamCodec{})),
	}
}

func httpOptions(o *httpv3.HttpProtocolOptions) map[string]*anypb.Any {
	return map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed(o)}
}

func upstreamFilter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(config)}}
}

// authorization adds the Authorization header from a file that Envoy reads
// itself: neither this configuration nor Envoy's dump of it has the content.
// The file is read again when it is replaced by a move. All versions of a model
// have the same.
//
// The secret is fetched by a stream of its own, over ADS too: an Envoy that takes
// routes and clusters alone refuses a cluster that refers to ADS, and would get no
// route any more that needs it.
func authorization(c *compile.Cluster, how delivery) (*hcmv3.HttpFilter, *tlsv3.Secret) {
	name := "authorization:" + c.Namespace + "/" + c.Model
	reference := &tlsv3.SdsSecretConfig{Name: name}
	if how != inStatic {
		reference.SdsConfig = alone.source()
	}
	injector := upstreamFilter("safestate.authorization", &injectorv3.CredentialInjector{
		Overwrite: true,
		Credential: &corev3.TypedExtensionConfig{
			Name:        "envoy.http.injected_credentials.generic",
			TypedConfig: packed(&genericv3.Generic{Credential: reference, Header: "Authorization"}),
		},
	})
	secret := &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{
		Secret: file(c.AuthorizationFile),
	}}}
	return injector, secret
}

// upstreamTLS verifies the model's certificate always, against systemCA where
// no authority is named: Envoy's own system_root_certs does not combine with a
// check of the name. Without a server name
// each endpoint is held to its own: its host name, or its address.
func upstreamTLS(c *compile.Cluster, systemCA string) *corev3.TransportSocket {
	ca := &tlsv3.CertificateValidationContext{TrustedCa: file(orElse(c.TLS.CAFile, systemCA))}
	ctx := &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: ca},
	}}
	if c.TLS.CertFile != "" {
		ctx.CommonTlsContext.TlsCertificates = []*tlsv3.TlsCertificate{{
			CertificateChain: file(c.TLS.CertFile),
			PrivateKey:       file(c.TLS.KeyFile),
		}}
	}
	switch addresses := ipAddresses(c); {
	case c.TLS.ServerName != "":
		ctx.Sni = c.TLS.ServerName
		ca.MatchTypedSubjectAltNames = []*tlsv3.SubjectAltNameMatcher{san(c.TLS.ServerName)}
	case len(addresses) == len(c.Endpoints):
		for _, a := range addresses {
			ca.MatchTypedSubjectAltNames = append(ca.MatchTypedSubjectAltNames, san(a))
		}
	default:
		ctx.AutoHostSni, ctx.AutoSniSanValidation = true, true
	}
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed(ctx)},
	}
}

func san(name string) *tlsv3.SubjectAltNameMatcher {
	kind := tlsv3.SubjectAltNameMatcher_DNS
	if _, err := netip.ParseAddr(name); err == nil {
		kind = tlsv3.SubjectAltNameMatcher_IP_ADDRESS
	}
	return &tlsv3.SubjectAltNameMatcher{SanType: kind, Matcher: exactly(name)}
}

func ipAddresses(c *compile.Cluster) []string {
	var out []string
	for _, e := range c.Endpoints {
		if _, err := netip.ParseAddr(e.Address); err == nil {
			out = append(out, e.Address)
		}
	}
	return out
}

func healthCheck(c *compile.Cluster) *corev3.HealthCheck {
	h := c.HealthCheck
	host := c.Endpoints[0].Address
	if c.TLS != nil && c.TLS.ServerName != "" {
		host = c.TLS.ServerName
	}
	return &corev3.HealthCheck{
		Timeout:            duration(h.Timeout),
		Interval:           duration(h.Interval),
		NoTrafficInterval:  duration(h.Interval), // else 60 s until the first request
		UnhealthyThreshold: wrapperspb.UInt32(h.UnhealthyThreshold),
		HealthyThreshold:   wrapperspb.UInt32(h.HealthyThreshold),
		HealthChecker: &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: &corev3.HealthCheck_HttpHealthCheck{
			// The default would be the cluster's name, which is no host name.
			Host: host,
			Path: h.Path,
		}},
	}
}

// serviceCluster is one of our own services: the processor, ADS or the ladder.
func serviceCluster(name, where string, secured TLS) (*clusterv3.Cluster, error) {
	addr, err := address(name, where)
	if err != nil {
		return nil, err
	}
	transport, err := secured.to(name, addr)
	if err != nil {
		return nil, err
	}
	out := &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       duration(time.Second),
		CircuitBreakers:      thresholds(processorConcurrency),
		TransportSocket:      transport,
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: addr}}}},
		}}},
		TypedExtensionProtocolOptions: httpOptions(&httpv3.HttpProtocolOptions{
			UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
					// A service that is stopped keeps its connection: find out,
					// and connect again once it runs.
					ConnectionKeepalive: &corev3.KeepaliveSettings{Interval: duration(serviceAsked), Timeout: duration(servicePatience)},
				}},
			}},
		}),
	}
	if s := addr.GetSocketAddress(); s != nil {
		if _, err := netip.ParseAddr(s.GetAddress()); err != nil {
			out.ClusterDiscoveryType = byDNS()
		}
	}
	return out, nil
}

// byDNS resolves every endpoint's host name to all its addresses, IPv4 where
// there is any: model servers rarely listen on both.
func byDNS() *clusterv3.Cluster_ClusterType {
	return &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
		Name: "envoy.clusters.dns",
		TypedConfig: packed(&dnsv3.DnsCluster{
			DnsRefreshRate:  duration(dnsRefresh),
			DnsLookupFamily: commondnsv3.DnsLookupFamily_V4_PREFERRED,
		}),
	}}
}
