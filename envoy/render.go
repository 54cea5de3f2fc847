package envoy

import (
	"fmt"
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

// delivery says how the parts of a configuration refer to each other.
type delivery int

const (
	overADS  delivery = iota // by name, fetched from ADS
	inStatic                 // inline or by name in the same file
	alone                    // by name, fetched by a service of each type
)

// setRoutes tells a listener where its routes are.
func (d delivery) setRoutes(hcm *hcmv3.HttpConnectionManager, rc *routev3.RouteConfiguration) {
	if d == inStatic {
		hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: rc}
		return
	}
	hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: d.source(), RouteConfigName: rc.GetName()}}
}

// source is where a type is fetched from. A proxy that has never reached its
// control plane waits for it this long, then goes on without.
func (d delivery) source() *corev3.ConfigSource {
	out := &corev3.ConfigSource{ResourceApiVersion: corev3.ApiVersion_V3, InitialFetchTimeout: duration(time.Second)}
	if d == alone {
		out.ConfigSourceSpecifier = &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: xdsService()}
	} else {
		out.ConfigSourceSpecifier = &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}
	}
	return out
}

// Render gives the configuration as ADS serves it. It is pure; an error means
// that the snapshot or an option cannot be expressed, or that Envoy's own
// constraints do not hold. s is not changed; the result does not share memory
// with it.
func Render(s *compile.Snapshot, o Options) (*Resources, error) {
	r, err := RenderUnchecked(s, o)
	if err != nil {
		return nil, err
	}
	if err := r.Validate(); err != nil {
		return nil, fmt.Errorf("the rendered configuration is not valid: %w", err)
	}
	return r, nil
}

// RenderUnchecked is Render for one who checks what has changed, and that alone, as
// the xDS server does: most of the time goes into the checks.
func RenderUnchecked(s *compile.Snapshot, o Options) (*Resources, error) {
	r, err := render(s, o.withDefaults(), overADS)
	if err != nil {
		return nil, err
	}
	r.Proxyless, err = ProxylessResources(s)
	return r, err
}

func render(s *compile.Snapshot, o Options, how delivery) (*Resources, error) {
	if err := haveModule(s, o); err != nil {
		return nil, err
	}
	routes, err := routeConfig(s, o)
	if err != nil {
		return nil, err
	}
	listener, err := trafficListener(s, o, how, routes)
	if err != nil {
		return nil, err
	}
	r := &Resources{
		Listeners: []*listenerv3.Listener{listener},
		Routes:    []*routev3.RouteConfiguration{routes},
	}
	for i := range s.Clusters {
		c, secret, err := versionCluster(&s.Clusters[i], o, how)
		if err != nil {
			return nil, err
		}
		r.Clusters = append(r.Clusters, c)
		if secret != nil && !slices.ContainsFunc(r.Secrets, func(s *tlsv3.Secret) bool { return s.Name == secret.Name }) {
			r.Secrets = append(r.Secrets, secret)
		}
	}
	if err := addHop(r, s, o, how); err != nil {
		return nil, err
	}
	for _, c := range o.ExtraClusters {
		r.Clusters = append(r.Clusters, proto.Clone(c).(*clusterv3.Cluster))
	}
	return r, nil
}

// timeoutPerMiB is what each MiB of a body past the first adds to a message's
// time: it is copied, parsed and judged on whatever the machine has to spare.
const timeoutPerMiB = 10 * time.Millisecond

// messageTimeout is what one message of the processor may take on a route.
func messageTimeout(p *policy.Policy, o Options) time.Duration {
	if o.MessageTimeout > 0 {
		return o.MessageTimeout
	}
	most := defaultMessageTimeout + time.Duration(max(0, p.Limits.BodyBytes>>20-1))*timeoutPerMiB
	return max(time.Millisecond, min(most, p.Deadline.D()/2))
}

// packed wraps a message for Envoy's extension points. Marshalling fails only
// on invalid UTF-8, which Validate reports for the empty result.
func packed(m proto.Message) *anypb.Any {
	a := &anypb.Any{}
	if err := anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		return &anypb.Any{TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()), Value: []byte{0xff}}
	}
	return a
}

func duration(d time.Duration) *durationpb.Duration { return durationpb.New(d) }

func setHeader(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
