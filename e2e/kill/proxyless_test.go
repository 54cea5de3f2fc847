package kill

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	grpcxds "google.golang.org/grpc/xds"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/kill"
)

// TestProxyless: gRPC's own client, which is its own proxy, does not reach what is
// killed either, whichever way its endpoints are found, and comes back.
func TestProxyless(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "localhost"} {
		t.Run(address, func(t *testing.T) {
			r := rowOf(t, "plain-grpc")
			v := versions{startModel(t, r.live), startModel(t, r.live)}
			s := newStand(t, compiled(t, r.objects(v, extra{address: address, weights: [2]int{50, 50}})), nil)
			client := s.proxyless(r)
			answered := func() bool { return client() == codes.OK }
			// Of two versions each gets half of the calls: so many miss none.
			const calls = 40
			all := func(code codes.Code) bool {
				for range calls {
					if client() != code {
						return false
					}
				}
				return true
			}
			dataplane.Eventually(t, soon, "the model answers", answered)
			for scope, target := range targets {
				s.kill(target(r), kill.Blackhole)
				if scope == kill.Version { // the other one answers
					dataplane.Eventually(t, soon, "it is killed", func() bool {
						before := v[0].asked.Load()
						if !all(codes.OK) {
							t.Fatal("the other version does not answer")
						}
						return v[0].asked.Load() == before
					})
				} else {
					dataplane.Eventually(t, soon, "it is killed", func() bool { return all(codes.Unavailable) })
				}
				before := v[0].asked.Load()
				for range 20 {
					client()
				}
				if n := v[0].asked.Load() - before; n != 0 {
					t.Errorf("%s: %d calls reached the model", scope, n)
				}
				s.revive(target(r))
				dataplane.Eventually(t, soon, "the model answers again", func() bool { return answered() && v[0].asked.Load() > before })
			}
		})
	}
}

// proxyless is a client with its configuration from the control plane. What it
// calls, a health check, is answered by a message that is empty.
func (s *stand) proxyless(r *row) func() codes.Code {
	s.t.Helper()
	resolver, err := grpcxds.NewXDSResolverWithConfigForTesting(fmt.Appendf(nil,
		`{"xds_servers": [{"server_uri": %q, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}], "node": {"id": "grpc-go"}}`, s.options.XDS))
	if err != nil {
		s.t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///"+r.name+".default", grpc.WithResolvers(resolver), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	health := healthv1.NewHealthClient(conn)
	return func() codes.Code {
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "x-route", r.name), soon)
		defer cancel()
		_, err := health.Check(ctx, &healthv1.HealthCheckRequest{})
		return status.Code(err)
	}
}
