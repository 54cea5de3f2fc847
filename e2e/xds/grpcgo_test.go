package xds

import (
	"context"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	grpcxds "google.golang.org/grpc/xds"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/porttest"
)

// TestGRPCGo has gRPC's own client, a data plane without Envoy, follow the same
// server: under load no call fails while weights change and versions come and
// go, and the shares are the weights.
func TestGRPCGo(t *testing.T) {
	at := porttest.Address(t)
	c := startControl(t, at, xds.Options{})
	versions := []share{{"v1", grpcModel(t, "v1"), 50}, {"v2", grpcModel(t, "v2"), 50}, {"v3", grpcModel(t, "v3"), 0}}
	set := func(shares ...share) string {
		r := proxyless(t, shares...)
		c.set(t, r)
		return r.Version()
	}
	set(versions[0], versions[1])
	client := grpcClient(t, at)

	var calls, failed atomic.Int64
	var first atomic.Pointer[string]
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	stop := func() { cancel(); running.Wait() }
	defer stop()
	ask := func() string {
		version, err := client.version(ctx)
		if err != nil && ctx.Err() == nil {
			failed.Add(1)
			text := err.Error()
			first.CompareAndSwap(nil, &text)
		}
		calls.Add(1)
		return version
	}
	for range 2 {
		running.Go(func() {
			for ctx.Err() == nil {
				ask()
			}
		})
	}

	const absent = -1 // the third version comes and goes, as all do by weight 0
	for i, weights := range [][3]int{
		{50, 50, absent}, {0, 100, absent}, {90, 10, absent}, {100, 0, 0}, {20, 30, 50}, {0, 0, 100}, {99, 1, 0}, {99, 1, absent},
	} {
		var shares []share
		for k, w := range weights {
			if s := versions[k]; w != absent {
				s.weight = w
				shares = append(shares, s)
			}
		}
		version := set(shares...)
		dataplane.Eventually(t, soon, "the client takes it", func() bool { p := c.Proof(version); return p.Complete() && p.Expected == 1 })
		// It accepts before it uses: what shows that it does is the traffic.
		const sample = 500
		want := weightsOf(shares)
		dataplane.Eventually(t, soon, fmt.Sprintf("change %d: the shares are %v", i, want), func() bool {
			got := map[string]int{}
			for range sample {
				got[ask()]++
			}
			for _, s := range versions {
				p := float64(want[s.version]) / 100
				if math.Abs(float64(got[s.version])-p*sample) > 5*math.Sqrt(sample*p*(1-p)) {
					return false
				}
			}
			return true
		})
	}
	stop()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d calls failed, the first: %s", n, calls.Load(), *first.Load())
	}
}

// grpcModel is a version that answers gRPC's health checks, in place of
// predictions, with its name. It ends with the test.
func grpcModel(t *testing.T, version string) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, r any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if err := grpc.SetHeader(ctx, metadata.Pairs(versionHeader, version)); err != nil {
			return nil, err
		}
		return handle(ctx, r)
	}))
	healthv1.RegisterHealthServer(s, health.NewServer())
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return l.Addr().(*net.TCPAddr).Port
}

type grpcCaller struct{ health healthv1.HealthClient }

// grpcClient is gRPC's client with its configuration from a control plane.
func grpcClient(t *testing.T, control string) grpcCaller {
	t.Helper()
	resolver, err := grpcxds.NewXDSResolverWithConfigForTesting(fmt.Appendf(nil,
		`{"xds_servers": [{"server_uri": %q, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}], "node": {"id": "grpc-go"}}`, control))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///score.default", grpc.WithResolvers(resolver), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return grpcCaller{healthv1.NewHealthClient(conn)}
}

// version calls and returns which version answered.
func (c grpcCaller) version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	var header metadata.MD
	_, err := c.health.Check(ctx, &healthv1.HealthCheckRequest{}, grpc.Header(&header), grpc.WaitForReady(true))
	if err != nil {
		return "", err
	}
	if v := header.Get(versionHeader); len(v) == 1 {
		return v[0], nil
	}
	return "", fmt.Errorf("no version in %v", header)
}

// proxyless renders a GRPCRoute for clients that are their own proxy.
func proxyless(t *testing.T, shares ...share) *envoy.Resources {
	t.Helper()
	text := `apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: score, namespace: default}
spec:
  parentRefs: [{name: inference}]
  rules:
  - name: all
    backendRefs:
` + backendRefs(shares) + modelObject("OpenInferenceV2", shares)
	s, problems := compile.Files(config.File{Name: "world.yaml", Data: []byte(text)})
	if s == nil {
		t.Fatal(problems)
	}
	p, err := envoy.ProxylessResources(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, rc := range p.Routes {
		keepKnown(rc)
	}
	return &envoy.Resources{Listeners: p.Listeners, Routes: p.Routes, Clusters: p.Clusters, Endpoints: p.Endpoints}
}

// keepKnown names every version in a route that no call matches. gRPC's client
// forgets those with weight 0, and fails the calls that it sends to one which
// has just come back: it uses new weights before the connections to them.
func keepKnown(rc *routev3.RouteConfiguration) {
	for _, vh := range rc.GetVirtualHosts() {
		never := proto.Clone(vh.Routes[0]).(*routev3.Route)
		never.Name = "none"
		never.Match = &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: "/none"}}
		for _, c := range never.GetRoute().GetWeightedClusters().GetClusters() {
			c.Weight = wrapperspb.UInt32(1)
		}
		vh.Routes = append([]*routev3.Route{never}, vh.Routes...)
	}
}
