package envoy

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"

	"github.com/safestate/safestate/internal/compile"
)

// ads is go-control-plane's own server with one snapshot for all: enough to see
// what a proxy makes of what is rendered. What safestate serves with is package
// xds, which imports this one.
type ads struct {
	mu      sync.Mutex
	refused []string
}

type oneNode struct{}

func (oneNode) ID(*corev3.Node) string { return "all" }

func serveADS(t *testing.T, addr string, r *Resources) *ads {
	t.Helper()
	a := &ads{}
	snapshot, err := cachev3.NewSnapshot(r.Version(), map[resourcev3.Type][]types.Resource{
		resourcev3.ListenerType: asTypes(r.Listeners),
		resourcev3.RouteType:    asTypes(r.Routes),
		resourcev3.ClusterType:  asTypes(r.Clusters),
		resourcev3.SecretType:   asTypes(r.Secrets),
	})
	if err != nil {
		t.Fatal(err)
	}
	cache := cachev3.NewSnapshotCache(true, oneNode{}, nil)
	if err := cache.SetSnapshot(t.Context(), "all", snapshot); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	ctx, stop := context.WithCancel(context.Background())
	xds := serverv3.NewServer(ctx, cache, serverv3.CallbackFuncs{
		StreamDeltaRequestFunc: func(_ int64, r *discoveryv3.DeltaDiscoveryRequest) error {
			if e := r.GetErrorDetail(); e != nil {
				a.mu.Lock()
				defer a.mu.Unlock()
				a.refused = append(a.refused, e.GetMessage())
			}
			return nil
		},
	})
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, xds)
	secretservicev3.RegisterSecretDiscoveryServiceServer(s, xds)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { stop(); s.Stop() })
	return a
}

func asTypes[M types.Resource](in []M) []types.Resource {
	out := make([]types.Resource, len(in))
	for i, m := range in {
		out[i] = m
	}
	return out
}

func (a *ads) refusals() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.refused, "\n")
}

func startADS(t *testing.T, o Options) *proxy {
	t.Helper()
	b, err := Bootstrap(o)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, b, o)
}

func rendered(t *testing.T, s *compile.Snapshot, o Options) *Resources {
	t.Helper()
	r, err := Render(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestVersion: equal content is one version, and another endpoint another.
func TestVersion(t *testing.T) {
	s := snapshot(t, enforced(nil), version("v1", "127.0.0.1:9001"))
	one, two := rendered(t, s, Options{}), rendered(t, s, Options{})
	if one.Version() != two.Version() {
		t.Fatalf("equal snapshots, versions %s and %s", one.Version(), two.Version())
	}
	if other := rendered(t, snapshot(t, enforced(nil), version("v1", "127.0.0.1:9002")), Options{}); other.Version() == one.Version() {
		t.Error("another endpoint, the same version")
	}
}
