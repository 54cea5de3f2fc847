package main

import (
	"context"
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/envoy"
)

// subject is a server that is measured.
type subject struct {
	name  string
	what  string
	delta bool // the protocol that its clients speak
	// make builds it for n clients; acked is called for every acceptance, with its
	// type, on any goroutine.
	make func(n int, acked func(typeURL string)) (server, error)
}

// server is a running subject.
type server interface {
	options() []grpc.ServerOption
	register(*grpc.Server)
	set(*envoy.Resources) error
}

// The subjects, ours first. What is called plain is go-control-plane as its own
// example uses it: a snapshot cache keyed by node id, to which every node's
// snapshot is set. Of its two protocols the ratios are against the one that
// ours is measured with, which is the quicker one.
const (
	ours  = "safestate"
	plain = "plain-delta"
)

// inLargeRuns are the subjects of the runs that are printed only: ours, plain,
// and the best of go-control-plane's.
var inLargeRuns = []string{ours, plain, "linear-delta"}

func subjects() []subject {
	return []subject{
		{ours, "envoy/xds, delta", true, newOurs},
		{"plain-sotw", "snapshot cache as the example has it: a snapshot set for every node id, state of the world", false, snapshots(true)},
		{plain, "the same over delta", true, snapshots(true)},
		{"shared-sotw", "snapshot cache, one key for all nodes, state of the world", false, snapshots(false)},
		{"shared-delta", "snapshot cache, one key for all nodes, delta", true, snapshots(false)},
		{"linear-delta", "one LinearCache for each type, delta", true, newLinear},
	}
}

func subjectNamed(name string) (*subject, error) {
	for _, s := range subjects() {
		if s.name == name {
			return &s, nil
		}
	}
	return nil, fmt.Errorf("no subject %q", name)
}

// goControlPlane is its server over one of its caches.
type goControlPlane struct {
	server  serverv3.Server
	publish func(*envoy.Resources) error
}

// options are those of go-control-plane's example server.
func (g *goControlPlane) options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxConcurrentStreams(1_000_000),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 30 * time.Second, PermitWithoutStream: true}),
	}
}

func (g *goControlPlane) register(s *grpc.Server) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, g.server)
}
func (g *goControlPlane) set(r *envoy.Resources) error { return g.publish(r) }

// counting calls acked for every acceptance.
func counting(acked func(string)) serverv3.Callbacks {
	return serverv3.CallbackFuncs{
		StreamRequestFunc: func(_ int64, r *discoveryv3.DiscoveryRequest) error {
			if r.GetResponseNonce() != "" && r.GetErrorDetail() == nil {
				acked(r.GetTypeUrl())
			}
			return nil
		},
		StreamDeltaRequestFunc: func(_ int64, r *discoveryv3.DeltaDiscoveryRequest) error {
			if r.GetResponseNonce() != "" && r.GetErrorDetail() == nil {
				acked(r.GetTypeUrl())
			}
			return nil
		},
	}
}

type oneKey struct{}

func (oneKey) ID(*corev3.Node) string { return "all" }

// snapshots makes a snapshot cache, with a key for each node or one for all. As
// in the example a snapshot has one version for all types: over state of the
// world a flip sends them all.
func snapshots(perNode bool) func(int, func(string)) (server, error) {
	return func(n int, acked func(string)) (server, error) {
		var hash cachev3.NodeHash = oneKey{}
		keys := []string{"all"}
		if perNode {
			hash, keys = cachev3.IDHash{}, nil
			for i := range n {
				keys = append(keys, nodeName(i))
			}
		}
		cache := cachev3.NewSnapshotCache(false, hash, nil)
		return &goControlPlane{
			server: serverv3.NewServer(context.Background(), cache, counting(acked)),
			publish: func(r *envoy.Resources) error {
				all := byType(r)
				snapshot, err := cachev3.NewSnapshot(r.Version(), map[resourcev3.Type][]types.Resource{
					resourcev3.ClusterType: all[resourcev3.ClusterType], resourcev3.RouteType: all[resourcev3.RouteType],
					resourcev3.ListenerType: all[resourcev3.ListenerType],
				})
				if err != nil {
					return err
				}
				for _, key := range keys {
					if err := cache.SetSnapshot(context.Background(), key, snapshot); err != nil {
						return err
					}
				}
				return nil
			},
		}, nil
	}
}

// newLinear makes a LinearCache for each type; a change updates what it changes.
func newLinear(_ int, acked func(string)) (server, error) {
	caches := map[string]cachev3.Cache{}
	linear := map[string]*cachev3.LinearCache{}
	for _, t := range []string{resourcev3.ClusterType, resourcev3.ListenerType, resourcev3.RouteType} {
		linear[t] = cachev3.NewLinearCache(t)
		caches[t] = linear[t]
	}
	mux := &cachev3.MuxCache{
		Classify:      func(r *cachev3.Request) string { return r.GetTypeUrl() },
		ClassifyDelta: func(r *cachev3.DeltaRequest) string { return r.GetTypeUrl() },
		Caches:        caches,
	}
	had := map[string]types.Resource{}
	return &goControlPlane{
		server: serverv3.NewServer(context.Background(), mux, counting(acked)),
		publish: func(r *envoy.Resources) error {
			for t, items := range byType(r) {
				named := map[string]types.Resource{}
				for _, m := range items {
					name := cachev3.GetResourceName(m)
					if old := had[t+name]; old == nil || !proto.Equal(old, m) {
						named[name], had[t+name] = m, m
					}
				}
				if len(named) == 0 {
					continue
				}
				if err := linear[t].UpdateResources(named, nil); err != nil {
					return err
				}
			}
			return nil
		},
	}, nil
}

func byType(r *envoy.Resources) map[string][]types.Resource {
	out := map[string][]types.Resource{}
	for _, m := range r.Clusters {
		out[resourcev3.ClusterType] = append(out[resourcev3.ClusterType], m)
	}
	for _, m := range r.Routes {
		out[resourcev3.RouteType] = append(out[resourcev3.RouteType], m)
	}
	for _, m := range r.Listeners {
		out[resourcev3.ListenerType] = append(out[resourcev3.ListenerType], m)
	}
	return out
}
