package envoy

import (
	"fmt"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	internallistenerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3"
	downstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"sigs.k8s.io/yaml"

	"github.com/safestate/safestate/internal/compile"
)

// maxConnections is the limit on callers' connections that Envoy asks for.
const maxConnections = 50_000

// Bootstrap is what a proxy starts from to fetch everything else over ADS.
//
// ADS is incremental (delta): asked the other way, Envoy and go-control-plane
// send a refused version to and fro a thousand times a second. The processor's
// cluster is here and not in ADS, because a filter whose cluster is missing
// has let requests through unjudged; and so is the ladder's, which routes over
// ADS name.
func Bootstrap(o Options) (*bootstrapv3.Bootstrap, error) {
	o = o.withDefaults()
	b, err := base(o)
	if err != nil {
		return nil, err
	}
	xds, err := serviceCluster(XDSClusterName, o.XDS, o.TLS)
	if err != nil {
		return nil, err
	}
	b.StaticResources.Clusters = append(b.StaticResources.Clusters, xds)
	b.DynamicResources = &bootstrapv3.Bootstrap_DynamicResources{
		LdsConfig: overADS.source(),
		CdsConfig: overADS.source(),
		AdsConfig: xdsService(),
	}
	return checked(b)
}

// xdsService is how a proxy asks the control plane.
func xdsService() *corev3.ApiConfigSource {
	return &corev3.ApiConfigSource{
		ApiType:                   corev3.ApiConfigSource_DELTA_GRPC,
		TransportApiVersion:       corev3.ApiVersion_V3,
		SetNodeOnFirstMessageOnly: true,
		GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
				ClusterName: XDSClusterName,
				// Envoy's own is up to 30 s: as long as a control plane
				// that is back would go unheard.
				RetryPolicy: &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
					BaseInterval: durationpb.New(250 * time.Millisecond),
					MaxInterval:  durationpb.New(2 * time.Second),
				}},
			},
		}}},
	}
}

// Static is the whole configuration in one file, without ADS.
func Static(s *compile.Snapshot, o Options) (*bootstrapv3.Bootstrap, error) {
	o = o.withDefaults()
	r, err := render(s, o, inStatic)
	if err != nil {
		return nil, err
	}
	if err := r.Validate(); err != nil {
		return nil, fmt.Errorf("the rendered configuration is not valid: %w", err)
	}
	b, err := base(o)
	if err != nil {
		return nil, err
	}
	b.StaticResources.Listeners = r.Listeners
	b.StaticResources.Clusters = append(b.StaticResources.Clusters, r.Clusters...)
	b.StaticResources.Secrets = r.Secrets
	return checked(b)
}

// base is what all kinds share: the node, the admin interface, the runtime, the
// clusters of the processor and of the ladder, and the limit on connections.
func base(o Options) (*bootstrapv3.Bootstrap, error) {
	admin, err := address("admin", o.Admin)
	if err != nil {
		return nil, err
	}
	processor, err := serviceCluster(ProcessorClusterName, o.Processor, o.TLS)
	if err != nil {
		return nil, err
	}
	answers, err := answersCluster(o.Answers, o.TLS)
	if err != nil {
		return nil, err
	}
	metadata, err := nodeMetadata(o)
	if err != nil {
		return nil, err
	}
	return &bootstrapv3.Bootstrap{
		Node:            &corev3.Node{Id: o.NodeID, Cluster: o.NodeCluster, Metadata: metadata},
		Admin:           &bootstrapv3.Admin{Address: admin},
		LayeredRuntime:  runtime(o),
		StatsConfig:     wasmStats(o),
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Clusters: []*clusterv3.Cluster{processor, answers}},
		// For the listeners behind which a gRPC call has its last rung.
		BootstrapExtensions: []*corev3.TypedExtensionConfig{{
			Name: "envoy.bootstrap.internal_listener", TypedConfig: packed(&internallistenerv3.InternalListener{}),
		}},
		OverloadManager: &overloadv3.OverloadManager{ResourceMonitors: []*overloadv3.ResourceMonitor{{
			Name: "envoy.resource_monitors.global_downstream_max_connections",
			ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: packed(
				&downstreamv3.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: maxConnections})},
		}}},
	}, nil
}

func checked(b *bootstrapv3.Bootstrap) (*bootstrapv3.Bootstrap, error) {
	if errs := validate(b); len(errs) > 0 {
		return nil, fmt.Errorf("the bootstrap is not valid: %w", errs[0])
	}
	return b, nil
}

// YAML prints a configuration as Envoy reads it, with keys in alphabetical
// order: equal messages give equal text.
func YAML(m proto.Message) ([]byte, error) {
	j, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return yaml.JSONToYAML(j)
}
