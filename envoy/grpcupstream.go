package envoy

import (
	"fmt"
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	filterstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	setfilterstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	codecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

// modelHTTP2 is HTTP/2 without upgrade, which every gRPC server speaks.
func modelHTTP2(filters []*hcmv3.HttpFilter) *httpv3.HttpProtocolOptions {
	return &httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
		}},
		HttpFilters: append(filters, upstreamFilter("envoy.filters.http.upstream_codec", &codecv3.UpstreamCodec{})),
	}
}

// refusing is a loopback port that no server listens on (TCPMUX, RFC 1078).
const refusing = 1

// refuseWithoutHosts adds an endpoint that refuses, for while a name resolves to
// nothing: "no healthy endpoint" is Envoy's own answer, and no failure that it
// takes to the ladder. It is not asked while there is any other.
func refuseWithoutHosts(a *endpointv3.ClusterLoadAssignment) {
	a.Endpoints = append(a.Endpoints, &endpointv3.LocalityLbEndpoints{Priority: 1, LbEndpoints: []*endpointv3.LbEndpoint{{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socketAddress("127.0.0.1", refusing)}},
	}}})
}

// filterRemember keeps the caller's own authorization, from before a version's
// credentials take its place: what a filter of the version has written into a
// request is still there when the ladder is asked in its turn, and a cache would
// take one caller for another.
const filterRemember = "safestate.remember"

const stateAuthorization = "safestate.authorization"

func rememberFilter() *hcmv3.HttpFilter { return filter(filterRemember, &setfilterstatev3.Config{}) }

func rememberConfig() *setfilterstatev3.Config {
	return &setfilterstatev3.Config{OnRequestHeaders: []*filterstatev3.FilterStateValue{{
		Key:        &filterstatev3.FilterStateValue_ObjectKey{ObjectKey: stateAuthorization},
		FactoryKey: "envoy.string",
		Value: &filterstatev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
			// The sign keeps "none" apart from "not kept".
			Format:          &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: inline("=%REQ(authorization)%")},
			OmitEmptyValues: true,
		}},
	}}}
}

func hasCredentials(s *compile.Snapshot, r *compile.Route) bool {
	return slices.ContainsFunc(s.Clusters, func(c compile.Cluster) bool {
		return c.AuthorizationFile != "" && slices.ContainsFunc(r.Backends, func(b compile.Backend) bool { return b.Cluster == c.Name })
	})
}

// answersCluster is the ladder as an upstream. Where the caller's authorization
// was kept it is told by policy.HeaderAuthorization.
func answersCluster(where string, secured TLS) (*clusterv3.Cluster, error) {
	out, err := serviceCluster(AnswersClusterName, where, secured)
	if err != nil {
		return nil, err
	}
	const key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	options := &httpv3.HttpProtocolOptions{}
	if err := out.TypedExtensionProtocolOptions[key].UnmarshalTo(options); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", AnswersClusterName, err)
	}
	options.HttpFilters = []*hcmv3.HttpFilter{
		upstreamFilter("safestate.restore", &headermutationv3.HeaderMutation{Mutations: &headermutationv3.Mutations{
			RequestMutations: []*mutationv3.HeaderMutation{writeHeader(policy.HeaderAuthorization,
				"%FILTER_STATE("+stateAuthorization+":PLAIN)%", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)},
		}}),
		upstreamFilter("envoy.filters.http.upstream_codec", &codecv3.UpstreamCodec{}),
	}
	out.TypedExtensionProtocolOptions = httpOptions(options)
	return out, nil
}

// internalAddress is a listener of the same Envoy, without a socket.
func internalAddress(listener string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
		AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: listener},
	}}}
}

// internalCluster reaches an internal listener of the same name.
func internalCluster(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       duration(time.Second),
		CircuitBreakers:      thresholds(processorConcurrency),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier:      &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: internalAddress(name)}},
				LoadBalancingWeight: wrapperspb.UInt32(1),
			}},
		}}},
		TypedExtensionProtocolOptions: httpOptions(modelHTTP2(nil)),
	}
}
