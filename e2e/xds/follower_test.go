package xds

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/safestate/safestate/envoy"
)

// follower is a simulated proxy: it takes everything, after a while, and holds
// what it is told against make before break, as only a proxy can.
type follower struct {
	node  string
	after func() time.Duration // before each acceptance
	stop  func()

	mu       sync.Mutex
	clusters map[string]bool // accepted
	named    []string        // by the routes that it has
	broken   []string        // what it was told and must not have been
	acks     int
	err      error
}

// follow connects a proxy, which stays until the test ends or stop is called.
func follow(t testing.TB, to, node string, after func() time.Duration) *follower {
	t.Helper()
	conn, err := grpc.NewClient(to, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{node: node, after: after, clusters: map[string]bool{}}
	ended := make(chan struct{})
	f.stop = sync.OnceFunc(func() { cancel(); <-ended; _ = conn.Close() })
	t.Cleanup(f.stop)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(ended)
		err := f.run(ctx, stream)
		f.mu.Lock()
		defer f.mu.Unlock()
		if ctx.Err() == nil {
			f.err = err
		}
	}()
	return f
}

func (f *follower) run(ctx context.Context, s grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]) error {
	if err := s.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: f.node}, TypeUrl: resourcev3.ClusterType}); err != nil {
		return err
	}
	// As Envoy asks: clusters, then listeners, then the routes they name.
	next := map[string]*discoveryv3.DeltaDiscoveryRequest{
		resourcev3.ClusterType:  {TypeUrl: resourcev3.ListenerType},
		resourcev3.ListenerType: {TypeUrl: resourcev3.RouteType, ResourceNamesSubscribe: []string{envoy.RouteConfigName}},
	}
	for {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		f.told(r)
		select {
		case <-time.After(f.after()):
		case <-ctx.Done():
			return ctx.Err()
		}
		f.took(r)
		if err := s.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}); err != nil {
			return err
		}
		if then := next[r.GetTypeUrl()]; then != nil {
			delete(next, r.GetTypeUrl())
			if err := s.Send(then); err != nil {
				return err
			}
		}
	}
}

// told holds a response against what this proxy has.
func (f *follower) told(r *discoveryv3.DeltaDiscoveryResponse) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch r.GetTypeUrl() {
	case resourcev3.ClusterType:
		for _, name := range r.GetRemovedResources() {
			if slices.Contains(f.named, name) {
				f.broken = append(f.broken, fmt.Sprintf("cluster %s is taken away while its routes name it", name))
			}
		}
	case resourcev3.RouteType:
		for _, item := range r.GetResources() {
			rc := &routev3.RouteConfiguration{}
			if err := item.GetResource().UnmarshalTo(rc); err != nil {
				f.broken = append(f.broken, err.Error())
				continue
			}
			f.named = named(rc)
			for _, name := range f.named {
				if !f.clusters[name] {
					f.broken = append(f.broken, fmt.Sprintf("routes name cluster %s, which it has not accepted", name))
				}
			}
		}
	}
}

func (f *follower) took(r *discoveryv3.DeltaDiscoveryResponse) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acks++
	if r.GetTypeUrl() != resourcev3.ClusterType {
		return
	}
	for _, item := range r.GetResources() {
		f.clusters[item.GetName()] = true
	}
	for _, name := range r.GetRemovedResources() {
		delete(f.clusters, name)
	}
}

// taken is how much it has accepted.
func (f *follower) taken() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.acks
}

// named are the clusters that routes lead to.
func named(rc *routev3.RouteConfiguration) []string {
	var out []string
	for _, vh := range rc.GetVirtualHosts() {
		for _, rt := range vh.GetRoutes() {
			for _, w := range rt.GetRoute().GetWeightedClusters().GetClusters() {
				out = append(out, w.GetName())
			}
		}
	}
	return out
}

// check fails the test if this proxy was told what it must not have been.
func (f *follower) check(t testing.TB) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.broken {
		t.Errorf("%s: %s", f.node, b)
	}
	if f.err != nil {
		t.Errorf("%s: %v", f.node, f.err)
	}
	if f.acks == 0 {
		t.Errorf("%s was told nothing", f.node)
	}
}
