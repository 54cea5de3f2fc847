package signals

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"

	"github.com/safestate/safestate/internal/signals/signalsv1"
)

// Stream is one connection of a reporter to a control plane. Send and Recv are
// for one goroutine each; both end with the context that the stream was made
// with.
type Stream interface {
	Send(*signalsv1.Report) error
	Recv() (*signalsv1.Directive, error)
	CloseSend() error
}

// Link makes a stream, which lives as long as ctx.
type Link func(ctx context.Context) (Stream, error)

// DialOptions say where a control plane is.
type DialOptions struct {
	// Targets are its replicas' addresses, as gRPC names them. One is used at a
	// time, beginning anywhere, and the next after each failure.
	Targets []string
	// Credentials are of TLS, or insecure.NewCredentials(); nil is refused.
	Credentials credentials.TransportCredentials
	// More is for tests and for tokens.
	More []grpc.DialOption
}

const (
	// backoffBase and backoffMost bound the pause after failures: a random part
	// of backoffBase doubled with each, up to backoffMost (full jitter: Brooker,
	// Exponential Backoff And Jitter, 2015).
	backoffBase = 100 * time.Millisecond
	backoffMost = 5 * time.Second
	// connectMost is how long one attempt to connect may take.
	connectMost = 3 * time.Second
	// mostDirective is the largest directive that a host reads, in bytes.
	mostDirective = 1 << 20
)

var errNoTargets = errors.New("safestate: no address of a control plane to report to")

// Dial returns a link over gRPC. It connects only when it is used, and anew for
// each stream, so that no pause but the reporter's own lies between two attempts.
func Dial(o DialOptions) Link {
	var next atomic.Uint32
	next.Store(rand.Uint32() / 2) //nolint:gosec // spreads hosts over replicas, no secret
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(o.Credentials),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: backoffBase, Multiplier: 2, MaxDelay: backoffMost},
			MinConnectTimeout: connectMost,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(mostDirective)),
	}, o.More...)
	return func(ctx context.Context) (Stream, error) {
		if len(o.Targets) == 0 {
			return nil, errNoTargets
		}
		target := o.Targets[int(next.Add(1))%len(o.Targets)]
		conn, err := grpc.NewClient(target, options...)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		return signalsv1.NewSignalsClient(conn).Exchange(ctx)
	}
}

// steady is how long a stream must have worked for its end not to count as one
// more failure in a row. One that was never answered has not worked, however long
// it took to find out.
const steady = 5 * time.Second

// keep calls once, which uses a stream until it breaks, again and again; once says
// as well whether the stream was answered. After closing is closed there is at most
// one more call, at once.
func keep(ctx context.Context, closing <-chan struct{}, onLink func(error), once func(context.Context) (answered bool, err error)) {
	for failures := 0; ; failures++ {
		began := time.Now()
		answered, err := once(ctx)
		select {
		case <-closing:
			return
		case <-ctx.Done():
			return
		default:
		}
		if answered && time.Since(began) > steady {
			failures = 0
		}
		onLink(err)
		wait := time.NewTimer(pause(failures, rand.Float64())) //nolint:gosec // jitter, no secret
		select {
		case <-wait.C:
		case <-closing:
		case <-ctx.Done():
		}
		wait.Stop()
	}
}

// pause is how long to wait after a number of failures in a row; part is random,
// in [0, 1).
func pause(failures int, part float64) time.Duration {
	most := backoffMost
	if failures < 10 {
		most = min(most, backoffBase<<failures)
	}
	return time.Duration(part * float64(most))
}
