package tlsmesh

import (
	"context"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	grpcxds "google.golang.org/grpc/xds"

	"github.com/safestate/safestate/e2e/dataplane"
)

// TestProxyless has gRPC's own client follow safestate serve without an Envoy:
// its shares are the weights, and no call fails while they change, also not of a
// version that comes back from nothing. An Envoy of the same safestate is given
// nothing of that client's.
func TestProxyless(t *testing.T) {
	v1, v2 := share{version: "v1", port: grpcModel(t, "v1"), weight: 70}, share{version: "v2", port: grpcModel(t, "v2"), weight: 30}
	text := func() string {
		shares := []share{v1, v2}
		return routeOf("GRPCRoute", "", shares) + modelOf(shares) + policyOf("GRPCRoute")
	}
	config := folder(t, text())
	c := startControl(t, config)
	p := c.startEnvoy(t, []string{"bootstrap"}, nil)
	client := dialXDS(t, c.grpc, `{"type": "insecure"}`)

	var asked, failed atomic.Int64
	var first atomic.Pointer[string]
	version := func(ctx context.Context) string {
		v, err := client.version(ctx)
		if err != nil && ctx.Err() == nil {
			failed.Add(1)
			text := err.Error()
			first.CompareAndSwap(nil, &text)
		}
		asked.Add(1)
		return v
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	stop := func() { cancel(); running.Wait() }
	defer stop()
	running.Go(func() {
		for ctx.Err() == nil {
			version(ctx)
		}
	})
	for _, weights := range [][2]int{{70, 30}, {0, 100}, {100, 0}, {0, 100}, {50, 50}} {
		v1.weight, v2.weight = weights[0], weights[1]
		rewrite(t, config, text())
		const sample = 300
		share := float64(weights[0]) / 100
		dataplane.Eventually(t, soon, fmt.Sprintf("the shares are %v", weights), func() bool {
			n := 0
			for range sample {
				if version(ctx) == "v1" {
					n++
				}
			}
			return math.Abs(float64(n)-share*sample) <= 5*math.Sqrt(sample*share*(1-share))
		})
	}
	stop()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d calls failed, the first: %s", n, asked.Load(), *first.Load())
	}
	dataplane.Eventually(t, soon, "Envoy has a listener", func() bool { return p.number("listener_manager.listener_added") >= 1 })
	if p.number("listener_manager.listener_added") != 1 || p.number("listener_manager.lds.update_rejected") != 0 || c.told("refused a configuration") {
		t.Errorf("Envoy has %d listeners, or refused some", p.number("listener_manager.listener_added"))
	}
}

// TestProxylessTLS: such a client is held to its certificate as a proxy is.
func TestProxylessTLS(t *testing.T) {
	ca := newAuthority(t, "ca")
	shares := []share{{version: "v1", port: grpcModel(t, "v1"), weight: 100}}
	c := startControl(t, folder(t, routeOf("GRPCRoute", "", shares)+modelOf(shares)), ca.issued("safestate").serveFlags()...)
	by := func(name string) caller {
		p := ca.issued(name)
		return dialXDS(t, c.grpc, fmt.Sprintf(`{"type": "tls", "config": {"ca_certificate_file": %q, "certificate_file": %q, "private_key_file": %q}}`, p.ca, p.cert, p.key))
	}
	if v, err := by("grpc-go").version(t.Context()); v != "v1" || err != nil {
		t.Errorf("got %q, %v", v, err)
	}
	other := by("another")
	go func() { _, _ = other.version(t.Context()) }() // it waits for a configuration until the test ends
	dataplane.Eventually(t, soon, "it is turned away", func() bool { return c.told("turned away", `"node":"grpc-go"`, "another") })
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

type caller struct{ health healthv1.HealthClient }

// dialXDS is gRPC's client of the route, with its configuration from a control
// plane that it dials by the credentials of its own bootstrap.
func dialXDS(t *testing.T, control, credentials string) caller {
	t.Helper()
	resolver, err := grpcxds.NewXDSResolverWithConfigForTesting(fmt.Appendf(nil,
		`{"xds_servers": [{"server_uri": %q, "channel_creds": [%s], "server_features": ["xds_v3"]}], "node": {"id": "grpc-go"}}`, control, credentials))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///fraud.default", grpc.WithResolvers(resolver), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return caller{healthv1.NewHealthClient(conn)}
}

// version calls and returns which version answered.
func (c caller) version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	var header metadata.MD
	if _, err := c.health.Check(ctx, &healthv1.HealthCheckRequest{}, grpc.Header(&header), grpc.WaitForReady(true)); err != nil {
		return "", err
	}
	if v := header.Get(versionHeader); len(v) == 1 {
		return v[0], nil
	}
	return "", fmt.Errorf("no version in %v", header)
}
