package xds

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/safestate/safestate/envoy"
)

// journal is an Observer that remembers.
type journal struct {
	mu                        sync.Mutex
	accepted, refused, denied []string
}

func (j *journal) Accepted(node, typeURL, version string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.accepted = append(j.accepted, node+" "+typeURL+" "+version)
}

func (j *journal) Refused(node, typeURL, version, message string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.refused = append(j.refused, node+" "+typeURL+" "+version+" "+message)
}

func (j *journal) Denied(node string, cause Cause, why string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.denied = append(j.denied, node+" "+string(cause)+": "+why)
}

func (j *journal) refusals() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.refused)
}

// lab is a Server behind an in-memory connection, in a bubble where time passes
// only when everything waits.
type lab struct {
	*testing.T
	*Server
	journal *journal
	conn    *grpc.ClientConn
	ctx     context.Context
}

// run calls f with a lab of its own.
func run(t *testing.T, o Options, f func(l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{T: t, journal: &journal{}}
		o.Observer = l.journal
		l.Server = New(o)
		listener := bufconn.Listen(1 << 20)
		g := grpc.NewServer(append(ServerOptions(), grpc.StreamInterceptor(fromHost))...)
		l.Register(g)
		go func() { _ = g.Serve(listener) }()
		conn, err := grpc.NewClient("passthrough:///lab", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		l.conn = conn
		var stop context.CancelFunc
		l.ctx, stop = context.WithCancel(context.Background())
		t.Cleanup(func() {
			stop()
			_ = conn.Close()
			l.Close()
			g.Stop()
			synctest.Wait()
		})
		f(l)
	})
}

// from is a context by which a stream comes from a host of this name.
func from(ctx context.Context, host string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "from-host", host)
}

// fromHost has a stream come from the host that from names.
func fromHost(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if hosts := metadata.ValueFromIncomingContext(s.Context(), "from-host"); len(hosts) > 0 {
		s = &hostStream{s, peer.NewContext(s.Context(), &peer.Peer{Addr: &net.TCPAddr{IP: net.ParseIP(hosts[0]), Port: 4711}})}
	}
	return next(srv, s)
}

type hostStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (h *hostStream) Context() context.Context { return h.ctx }

// both runs f over either protocol; delta is what dial is to be given.
func both(t *testing.T, o Options, f func(l *lab, delta bool)) {
	t.Helper()
	for name, delta := range map[string]bool{"delta": true, "whole": false} {
		t.Run(name, func(t *testing.T) { run(t, o, func(l *lab) { f(l, delta) }) })
	}
}

// set publishes at once, and must succeed.
func (l *lab) set(c config) *envoy.Resources {
	l.Helper()
	r := c.resources()
	if err := l.Set(r, AtOnce); err != nil {
		l.Fatal(err)
	}
	synctest.Wait()
	return r
}

// config is a configuration in short: routes with weights to the clusters that
// they name, and a listener.
type config struct {
	clusters []string       // name, or name@port
	routes   map[string]int // cluster → its weight
	internal []string       // internal listeners; a cluster of the name leads there
	eds      []string       // clusters that ask for their endpoints
}

func (c config) resources() *envoy.Resources {
	r := &envoy.Resources{Listeners: []*listenerv3.Listener{{Name: "traffic", Address: address(10000)}}}
	for _, name := range c.clusters {
		port := uint32(80)
		if name, text, ok := strings.Cut(name, "@"); ok {
			_, _ = fmt.Sscan(text, &port)
			r.Clusters = append(r.Clusters, cluster(name, address(port)))
			continue
		}
		r.Clusters = append(r.Clusters, cluster(name, address(port)))
	}
	for _, name := range c.internal {
		r.Clusters = append(r.Clusters, cluster(name, &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{
			EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
				AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: name},
			},
		}}))
		r.Listeners = append(r.Listeners, &listenerv3.Listener{Name: name, ListenerSpecifier: &listenerv3.Listener_InternalListener{
			InternalListener: &listenerv3.Listener_InternalListenerConfig{},
		}})
	}
	for _, name := range c.eds {
		r.Clusters = append(r.Clusters, &clusterv3.Cluster{
			Name:                 name,
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
			EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}},
		})
		r.Endpoints = append(r.Endpoints, &endpointv3.ClusterLoadAssignment{ClusterName: name})
	}
	weights := &routev3.WeightedCluster{}
	for _, name := range slices.Sorted(maps.Keys(c.routes)) {
		weights.Clusters = append(weights.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: name, Weight: wrapperspb.UInt32(uint32(c.routes[name]))})
	}
	if len(weights.Clusters) == 0 {
		return r
	}
	r.Routes = []*routev3.RouteConfiguration{{Name: "safestate", VirtualHosts: []*routev3.VirtualHost{{
		Name: "all", Domains: []string{"*"}, Routes: []*routev3.Route{{
			Name:   "fraud",
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: weights}}},
		}},
	}}}}
	return r
}

func address(port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func cluster(name string, a *corev3.Address) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: a}}}},
		}}},
	}
}
