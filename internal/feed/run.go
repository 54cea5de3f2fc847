package feed

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// Options are what a subscription needs; all are required but OnLink and More.
type Options struct {
	// Node is the host's id, as the control plane's ledger has it: see Node.
	Node string
	// Targets are the control planes' addresses, as gRPC names them. One is used at
	// a time, beginning anywhere, and the next after each failure.
	Targets     []string
	Credentials credentials.TransportCredentials
	// Take puts what a resource says in force, by the resource's name, and is called
	// by one goroutine. What it refuses the control plane is told of, with the error's
	// words. An answer that lacks one of them is refused too.
	Take map[string]func(text string) error
	// OnLink is told when the control plane has said what is in force (nil), and why
	// the link has ended.
	OnLink func(error)
	// More is for tests.
	More []grpc.DialOption
}

const (
	// The pause after failures: a random part of base doubled with each, up to most
	// (full jitter: Brooker, Exponential Backoff And Jitter, 2015).
	base = 100 * time.Millisecond
	most = 5 * time.Second
	// steady is how long a stream must have worked for its end not to count as one
	// more failure in a row.
	steady = 5 * time.Second
	// connectMost is how long one attempt to connect may take.
	connectMost = 3 * time.Second
	// firstWord is how long a control plane may take until it says what is in force.
	// Later it says nothing until something changes.
	firstWord = 10 * time.Second
	// lastWord is how long a good-bye may take.
	lastWord = time.Second
	// maxAnswer is the largest answer, in bytes.
	maxAnswer = 16 << 20
)

var errSilent = errors.New("the control plane does not say what is killed: it does not know yet, or is of a build that does not tell hosts")

// Run subscribes until ctx ends, and again whenever the stream breaks. What was
// taken stays in force meanwhile. At its end it tells the control plane that nobody
// need expect this host any more: call it off only when nothing is judged any more.
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
		o.tell(err)
		wait := time.NewTimer(pause(failures, rand.Float64())) //nolint:gosec // jitter, no secret
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
	}
}

func (o *Options) tell(err error) {
	if o.OnLink != nil {
		o.OnLink(err)
	}
}

// pause is how long to wait after a number of failures in a row; part is random, in
// [0, 1).
func pause(failures int, part float64) time.Duration {
	return time.Duration(part * float64(min(most, base<<min(failures, 10))))
}

// once follows one stream to its end.
func once(parent context.Context, o *Options, target string) (answered bool, err error) {
	conn, err := grpc.NewClient(target, append([]grpc.DialOption{
		grpc.WithTransportCredentials(o.Credentials),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectMost}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
	}, o.More...)...)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }() // the stream has ended
	// The stream outlives parent by a good-bye.
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	defer cancel()
	connecting := context.AfterFunc(parent, cancel)
	var silent atomic.Bool
	patience := time.AfterFunc(firstWord, func() {
		silent.Store(true)
		cancel()
	})
	defer patience.Stop()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		return false, said(err, &silent)
	}
	s := newSubscription(o, stream)
	if !connecting() {
		return false, parent.Err()
	}
	leaving := context.AfterFunc(parent, func() {
		s.leave()
		time.AfterFunc(lastWord, cancel)
	})
	defer leaving()
	if err := s.ask(); err != nil {
		return false, said(err, &silent)
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return answered, said(err, &silent)
		}
		if err := s.take(response); err != nil {
			return answered, err
		}
		if !answered {
			patience.Stop()
			o.tell(nil)
		}
		answered = true
	}
}

// said is why a stream ended.
func said(err error, silent *atomic.Bool) error {
	if silent.Load() {
		return errSilent
	}
	return err
}
