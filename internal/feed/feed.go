// Package feed tells a processor that runs apart from the control plane what it
// has to enforce. It subscribes like a proxy, by ADS, to resources of Envoy's own
// runtime type whose layer has one string; so that the control plane's ledger
// knows of it what it knows of proxies: what it took, what it refused, and how
// long it has been silent.
package feed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/types/known/structpb"
)

// TypeURL is the type of the resources.
const TypeURL = "type.googleapis.com/envoy.service.runtime.v3.Runtime"

// Kills is the resource that says what is killed: the JSON of kill.Set.Enforced.
const Kills = "safestate.kills"

// field is the one field of a resource's layer.
const field = "text"

// Resource is a resource that carries a text.
func Resource(name, text string) *runtimev3.Runtime {
	return &runtimev3.Runtime{Name: name, Layer: &structpb.Struct{Fields: map[string]*structpb.Value{field: structpb.NewStringValue(text)}}}
}

// Options are what a subscription needs; all are required but OnLink.
type Options struct {
	// Node is the host's id, as the control plane's ledger has it.
	Node string
	// Targets are the control planes' addresses, as gRPC names them. One is used at
	// a time, beginning anywhere, and the next after each failure.
	Targets     []string
	Credentials credentials.TransportCredentials
	// Take puts what a resource says in force, by the resource's name. What it
	// refuses the control plane is told of, and the one before stays in force.
	Take map[string]func(text string) error
	// OnLink is told when the link works (nil), and why it does not.
	OnLink func(error)
}

const (
	// The pause after failures: a random part of base doubled with each, up to most
	// (full jitter: Brooker, Exponential Backoff And Jitter, 2015).
	base = 100 * time.Millisecond
	most = 5 * time.Second
	// steady is how long a stream must have worked for its end not to count as one
	// more failure in a row.
	steady = 5 * time.Second
	// maxAnswer is the largest answer, in bytes.
	maxAnswer = 16 << 20
)

// Run subscribes until ctx ends, and again whenever the stream breaks. What was
// taken stays in force meanwhile.
func Run(ctx context.Context, o Options) {
	next := rand.Uint32() / 2 //nolint:gosec // spreads hosts over replicas, no secret
	for failures := 0; ctx.Err() == nil; failures++ {
		began := time.Now()
		next++
		answered, err := once(ctx, &o, o.Targets[int(next)%len(o.Targets)])
		if ctx.Err() != nil {
			return
		}
		if answered && time.Since(began) > steady {
			failures = 0
		}
		if o.OnLink != nil {
			o.OnLink(err)
		}
		wait := time.NewTimer(time.Duration(rand.Float64() * float64(min(most, base<<min(failures, 10))))) //nolint:gosec // jitter, no secret
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
	}
}

// once follows one stream to its end.
func once(ctx context.Context, o *Options, target string) (answered bool, err error) {
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(o.Credentials),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: false}))
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }() // the stream has ended
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		return false, err
	}
	s := subscription{options: o, send: stream.Send}
	if err := s.ask(); err != nil {
		return false, err
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return answered, err
		}
		if !answered && o.OnLink != nil {
			o.OnLink(nil)
		}
		answered = true
		if err := s.take(response); err != nil {
			return answered, err
		}
	}
}

// subscription is one stream's part of the protocol: state of the world, with an
// answer to each response.
type subscription struct {
	options *Options
	send    func(*discoveryv3.DiscoveryRequest) error
	version string // that is in force
}

func (s *subscription) ask() error {
	return s.send(s.request())
}

func (s *subscription) request() *discoveryv3.DiscoveryRequest {
	r := &discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: s.options.Node, UserAgentName: "safestate"}, TypeUrl: TypeURL, VersionInfo: s.version}
	for name := range s.options.Take {
		r.ResourceNames = append(r.ResourceNames, name)
	}
	return r
}

func (s *subscription) take(response *discoveryv3.DiscoveryResponse) error {
	if response.TypeUrl != TypeURL {
		return fmt.Errorf("the control plane answers with %s, and was asked for %s", response.TypeUrl, TypeURL)
	}
	err := s.enforce(response)
	if err == nil {
		s.version = response.VersionInfo
	}
	r := s.request()
	r.ResponseNonce = response.Nonce
	if err != nil {
		r.ErrorDetail = &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: err.Error()}
	}
	return s.send(r)
}

func (s *subscription) enforce(response *discoveryv3.DiscoveryResponse) error {
	var mistakes []error
	for _, packed := range response.Resources {
		var r runtimev3.Runtime
		if err := packed.UnmarshalTo(&r); err != nil {
			mistakes = append(mistakes, err)
			continue
		}
		take := s.options.Take[r.Name]
		if take == nil {
			continue
		}
		if err := take(r.GetLayer().GetFields()[field].GetStringValue()); err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w", r.Name, err))
		}
	}
	return errors.Join(mistakes...)
}
