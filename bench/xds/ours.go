package main

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/envoy/xds"
)

// oursServer is safestate's server, on a gRPC server made for it.
type oursServer struct{ server *xds.Server }

func newOurs(_ int, acked func(string)) (server, error) {
	return &oursServer{xds.New(xds.Options{Observer: observer{acked}})}, nil
}

func (o *oursServer) options() []grpc.ServerOption {
	return append(xds.ServerOptions(),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 500 * time.Millisecond, PermitWithoutStream: true}),
	)
}

func (o *oursServer) register(s *grpc.Server)      { o.server.Register(s) }
func (o *oursServer) set(r *envoy.Resources) error { return o.server.Set(r, xds.AtOnce) }

// observer counts acceptances.
type observer struct{ acked func(typeURL string) }

func (o observer) Accepted(_, typeURL, _ string) { o.acked(typeURL) }

func (o observer) Refused(string, string, string, string) {}

func (o observer) Denied(string, xds.Cause, string) {}
