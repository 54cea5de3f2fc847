package xds

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	ringv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// refusedClusters are mistakes in CDS.
func refusedClusters() []refusal {
	var out []refusal
	identities, others := badTLS()
	for _, all := range []map[string]tlsSetting{identities, others} {
		for what, s := range all {
			out = append(out, inCluster("a model's TLS: "+what, s.says, func(c *clusterv3.Cluster) {
				c.TransportSocket = &corev3.TransportSocket{Name: "envoy.transport_sockets.tls",
					ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed(&tlsv3.UpstreamTlsContext{CommonTlsContext: s.context})}}
			}))
		}
	}
	out = append(out, refusedEndpoints()...)
	out = append(out, refusedChecks()...)
	out = append(out, refusedBalancing()...)
	return append(out, refusedUpstreams()...)
}

func endpoints(addresses ...string) *endpointv3.ClusterLoadAssignment {
	group := &endpointv3.LocalityLbEndpoints{}
	for _, a := range addresses {
		group.LbEndpoints = append(group.LbEndpoints, &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address: a, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 9}}}}}}})
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: "any", Endpoints: []*endpointv3.LocalityLbEndpoints{group}}
}

func kind(c *clusterv3.Cluster, k clusterv3.Cluster_DiscoveryType, at *endpointv3.ClusterLoadAssignment) {
	c.ClusterDiscoveryType, c.LoadAssignment = &clusterv3.Cluster_Type{Type: k}, at
}

func discovered(c *clusterv3.Cluster, from *corev3.ConfigSource) {
	kind(c, clusterv3.Cluster_EDS, nil)
	c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: from}
}

func refusedEndpoints() []refusal {
	var out []refusal
	for _, a := range []string{"localhost", "model.example.com", "256.0.0.1", "1.2.3", "::g", " 127.0.0.1"} {
		out = append(out, inCluster("address "+a, "malformed IP address", func(c *clusterv3.Cluster) { kind(c, clusterv3.Cluster_STATIC, endpoints(a)) }))
	}
	const oneName = "must have a single locality_lb_endpoint"
	return append(out,
		inCluster("two logical names", oneName, func(c *clusterv3.Cluster) {
			kind(c, clusterv3.Cluster_LOGICAL_DNS, endpoints("localhost", "localhost"))
		}),
		inCluster("no logical name", oneName, func(c *clusterv3.Cluster) { kind(c, clusterv3.Cluster_LOGICAL_DNS, endpoints()) }),
		inCluster("original destination by turns", "LB policy", func(c *clusterv3.Cluster) { kind(c, clusterv3.Cluster_ORIGINAL_DST, nil) }),
		inCluster("original destination with endpoints", "must have no load assignment", func(c *clusterv3.Cluster) {
			kind(c, clusterv3.Cluster_ORIGINAL_DST, endpoints("127.0.0.1"))
			c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
		}),
		inCluster("EDS from nowhere", "without an EDS config", func(c *clusterv3.Cluster) { kind(c, clusterv3.Cluster_EDS, nil) }),
		inCluster("EDS of fixed endpoints", "set in a non-EDS cluster", func(c *clusterv3.Cluster) {
			c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{ServiceName: "a"}
		}),
		inCluster("EDS from a missing file", "does not exist", func(c *clusterv3.Cluster) {
			discovered(c, &corev3.ConfigSource{ResourceApiVersion: corev3.ApiVersion_V3, ConfigSourceSpecifier: &corev3.ConfigSource_PathConfigSource{
				PathConfigSource: &corev3.PathConfigSource{Path: "/nonexistent/eds"}}})
		}),
		inCluster("EDS from a missing cluster", "statically defined non-EDS cluster", func(c *clusterv3.Cluster) {
			discovered(c, &corev3.ConfigSource{ResourceApiVersion: corev3.ApiVersion_V3, ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
				ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3,
				GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "nobody"}}}}}}})
		}),
		inCluster("kind of nobody's", "registered cluster factory", func(c *clusterv3.Cluster) {
			c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{Name: "nobody", TypedConfig: packed(nothing())}}
		}),
		inCluster("names resolved by nobody", unregistered, func(c *clusterv3.Cluster) {
			kind(c, clusterv3.Cluster_STRICT_DNS, endpoints("localhost"))
			c.TypedDnsResolverConfig = nobodys()
		}),
		inCluster("own address that is none", "malformed IP address", func(c *clusterv3.Cluster) {
			c.UpstreamBindConfig = &corev3.BindConfig{SourceAddress: &corev3.SocketAddress{Address: "nowhere", PortSpecifier: &corev3.SocketAddress_PortValue{}}}
		}),
	)
}

func refusedChecks() []refusal {
	check := func(name, says string, k *corev3.HealthCheck) refusal {
		k.Timeout, k.Interval = durationpb.New(time.Second), durationpb.New(time.Second)
		k.UnhealthyThreshold, k.HealthyThreshold = wrapperspb.UInt32(1), wrapperspb.UInt32(1)
		return inCluster("health check "+name, says, func(c *clusterv3.Cluster) { c.HealthChecks = []*corev3.HealthCheck{k} })
	}
	get := func(h *corev3.HealthCheck_HttpHealthCheck) *corev3.HealthCheck {
		h.Path = "/a"
		return &corev3.HealthCheck{HealthChecker: &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: h}}
	}
	return []refusal{
		check("of gRPC without HTTP/2", "must support HTTP/2 for gRPC", &corev3.HealthCheck{
			HealthChecker: &corev3.HealthCheck_GrpcHealthCheck_{GrpcHealthCheck: &corev3.HealthCheck_GrpcHealthCheck{}}}),
		check("of nobody's", unregistered, &corev3.HealthCheck{HealthChecker: &corev3.HealthCheck_CustomHealthCheck_{
			CustomHealthCheck: &corev3.HealthCheck_CustomHealthCheck{Name: "nobody", ConfigType: &corev3.HealthCheck_CustomHealthCheck_TypedConfig{TypedConfig: packed(nothing())}}}}),
		check("wants statuses the wrong way round", "expecting start < end", get(&corev3.HealthCheck_HttpHealthCheck{ExpectedStatuses: []*typev3.Int64Range{{Start: 500, End: 200}}})),
		check("wants statuses that are none", "expecting start >= 100", get(&corev3.HealthCheck_HttpHealthCheck{ExpectedStatuses: []*typev3.Int64Range{{Start: 1, End: 300}}})),
		check("retries statuses the wrong way round", "expecting start < end", get(&corev3.HealthCheck_HttpHealthCheck{RetriableStatuses: []*typev3.Int64Range{{Start: 5, End: 2}}})),
		check("sends what cannot be filled in", "Not supported field", get(&corev3.HealthCheck_HttpHealthCheck{RequestHeadersToAdd: written("x-a", "%NOPE%")})),
	}
}

func refusedBalancing() []refusal {
	by := func(name string, m proto.Message) func(*clusterv3.Cluster) {
		return func(c *clusterv3.Cluster) {
			c.LoadBalancingPolicy = &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{
				TypedExtensionConfig: &corev3.TypedExtensionConfig{Name: name, TypedConfig: packed(m)}}}}
		}
	}
	subset := func(c *clusterv3.Cluster, s *clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector) {
		c.LbSubsetConfig = &clusterv3.Cluster_LbSubsetConfig{SubsetSelectors: []*clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector{s}}
	}
	return []refusal{
		inCluster("balancing by nobody", "registered load balancer factory", by("nobody", nothing())),
		inCluster("smallest ring above the largest", "minimum_ring_size (2048)", by("envoy.load_balancing_policies.ring_hash",
			&ringv3.RingHash{MinimumRingSize: wrapperspb.UInt64(2048), MaximumRingSize: wrapperspb.UInt64(1024)})),
		inCluster("table of no prime size", "must be prime number", by("envoy.load_balancing_policies.maglev", &maglevv3.Maglev{TableSize: wrapperspb.UInt64(100)})),
		inCluster("table of no prime size, the older way", "must be prime number", func(c *clusterv3.Cluster) {
			c.LbPolicy = clusterv3.Cluster_MAGLEV
			c.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{TableSize: wrapperspb.UInt64(100)}}
		}),
		inCluster("balancing by a cluster that has none", "did not provide one", func(c *clusterv3.Cluster) { c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED }),
		inCluster("subsets of what balances itself", "cannot be combined with lb_subset_config", func(c *clusterv3.Cluster) {
			c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
			subset(c, &clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector{Keys: []string{"a"}})
		}),
		inCluster("subset's fallback outside of it", "must be a subset of selector keys", func(c *clusterv3.Cluster) {
			subset(c, &clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector{Keys: []string{"a"},
				FallbackPolicy: clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector_KEYS_SUBSET, FallbackKeysSubset: []string{"b"}})
		}),
		inCluster("outliers out for less than the least", "max_ejection_time cannot be smaller", func(c *clusterv3.Cluster) {
			c.OutlierDetection = &clusterv3.OutlierDetection{BaseEjectionTime: durationpb.New(time.Minute), MaxEjectionTime: durationpb.New(time.Second)}
		}),
	}
}

const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

func refusedUpstreams() []refusal {
	options := func(name string, m proto.Message) func(*clusterv3.Cluster) {
		return func(c *clusterv3.Cluster) { c.TypedExtensionProtocolOptions = map[string]*anypb.Any{name: packed(m)} }
	}
	http1 := &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}}}}
	http3 := &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http3ProtocolOptions{Http3ProtocolOptions: &corev3.Http3ProtocolOptions{}}}}
	return []refusal{
		inCluster("socket of nobody's", unregistered, func(c *clusterv3.Cluster) { c.TransportSocket = socketOfNobody() }),
		inCluster("socket without settings", unregisteredName, func(c *clusterv3.Cluster) { c.TransportSocket = &corev3.TransportSocket{Name: "nobody"} }),
		inCluster("options of nobody's", "protocol options implementation for name: 'nobody'", options("nobody", nothing())),
		inCluster("options of another kind", "upstream_protocol_options", options(httpOptions, nothing())),
		inCluster("filters without a codec", "The codec filter is the only valid terminal", options(httpOptions, &httpv3.HttpProtocolOptions{
			UpstreamProtocolOptions: http1, HttpFilters: []*hcmv3.HttpFilter{httpFilter("envoy.filters.http.router", nothing())}})),
		inCluster("ALPN without TLS", "non-ALPN transport socket", options(httpOptions, &httpv3.HttpProtocolOptions{
			UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_AutoConfig{AutoConfig: &httpv3.HttpProtocolOptions_AutoHttpConfig{}}})),
		inCluster("HTTP/3 without QUIC", "requires a QuicUpstreamTransport", options(httpOptions, &httpv3.HttpProtocolOptions{UpstreamProtocolOptions: http3})),
		inCluster("filter of nobody's", unregistered, func(c *clusterv3.Cluster) {
			c.Filters = []*clusterv3.Filter{{Name: "nobody", TypedConfig: packed(nothing())}}
		}),
	}
}
