// Package extproc is safestate as Envoy's external processor: it sees every
// inference request and answer of the routes that carry a policy, and answers
// in the place of what failed.
//
// It keeps no configuration: each request brings its route's compiled policy
// as an attribute, parsed once per content.
package extproc

import (
	"context"
	"errors"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/signals/signalsv1"
	"github.com/safestate/safestate/internal/signing"
	"github.com/safestate/safestate/internal/telemetry"
)

// DefaultMaxInFlight is the most bytes of bodies that are held at once.
const DefaultMaxInFlight = 512 << 20

// MaxMessageBytes is the largest message taken from Envoy: the largest body
// limit a policy may have (64 MiB), the last chunk that went past it, and what
// surrounds them.
const MaxMessageBytes = 96 << 20

// Options are what a Server needs; all are required but MaxInFlight, Signals, Reports
// and Keys.
type Options struct {
	Metrics *telemetry.Metrics
	Log     *telemetry.Log
	Tracer  *telemetry.Tracer
	State   *State
	// Signals tells the control plane what was seen of each version; nil: nobody
	// is told. It must outlive the server.
	Signals *signals.Reporter
	// Reports gathers what filters inside Envoy report; nil: nobody does. An error
	// says why a report is refused.
	Reports func(*signalsv1.Report) error
	// MaxInFlight bounds the bytes of bodies held at once; 0 is
	// DefaultMaxInFlight.
	MaxInFlight int64
	// Signed refuses policies that are not signed by one of Keys. It is for a
	// server that others than this machine can dial. Without it, unsigned policies
	// are taken, and signed ones are verified where Keys has any.
	Signed bool
	Keys   *signing.Keys // nil: none
	// Kills is what is killed, which nothing is asked of and nothing is given of;
	// nil: nothing is.
	Kills *kill.Live
	// Mesh: whoever has a certificate of a mesh may dial, and counts for proxies of its
	// namespace alone.
	Mesh bool
}

// Server is the external processor. It is safe for concurrent use.
type Server struct {
	extprocv3.UnimplementedExternalProcessorServer

	metrics     *telemetry.Metrics
	log         *telemetry.Log
	tracer      *telemetry.Tracer
	signals     *signals.Reporter
	reports     func(*signalsv1.Report) error
	routes      *routes
	exchanges   sync.Pool
	judges      sync.Pool
	streams     streams
	kills       *kill.Live // nil: nothing is killed
	lately      lately
	ending      context.Context //nolint:containedctx // of the process: done once EndStreams is called
	endAll      context.CancelFunc
	leaving     context.Context //nolint:containedctx // of the process: done once Leave is called
	leave       context.CancelFunc
	mesh        bool
	maxInFlight int64
	inFlight    atomic.Int64 // bytes
	open        atomic.Int64 // exchanges
}

// New makes a Server.
func New(o Options) *Server {
	s := &Server{metrics: o.Metrics, log: o.Log, tracer: o.Tracer, signals: o.Signals, reports: o.Reports, maxInFlight: o.MaxInFlight, mesh: o.Mesh}
	if s.maxInFlight <= 0 {
		s.maxInFlight = DefaultMaxInFlight
	}
	s.ending, s.endAll = context.WithCancel(context.Background())
	s.leaving, s.leave = context.WithCancel(context.Background())
	s.kills, o.State.Ladder.Kills = o.Kills, o.Kills
	if o.Signals != nil {
		o.State.Ladder.Calls = o.Signals.Calls
	}
	if s.kills != nil {
		go s.followKills()
	}
	s.routes = newRoutes(s, o.State, newGate(&o))
	s.metrics.BodiesInFlight(func() float64 { return float64(s.inFlight.Load()) })
	s.exchanges.New = func() any { return new(exchange) }
	s.judges.New = func() any { return new(detect.Exchange) }
	return s
}

// Register adds the server to g, and the access log service by which Envoy tells
// of answers that were cut.
func (s *Server) Register(g grpc.ServiceRegistrar) {
	extprocv3.RegisterExternalProcessorServer(g, s)
	accesslogv3.RegisterAccessLogServiceServer(g, &evidence{server: s})
}

// Prepare builds the given policies ahead of their first request, so that
// fallback models are warm and refreshed defaults read, and keeps them while
// they are in the list. An error names the first that cannot be served; then
// the list of before stays.
func (s *Server) Prepare(policies []*policy.Policy) error { return s.routes.pin(policies) }

// Leave ends the streams that last as long as their proxies. A process calls it
// before it waits for the exchanges under way.
func (s *Server) Leave() { s.leave() }

// Close stops what the routes keep running: probes, refreshes. The gRPC server
// must have stopped before.
func (s *Server) Close() {
	s.leave()
	s.endAll()
	s.routes.close()
}

var (
	errUnknownMessage = status.Error(codes.InvalidArgument, "safestate: a message of a kind this version does not know")
	errOutOfOrder     = status.Error(codes.InvalidArgument, "safestate: a message out of order")
	errPanic          = status.Error(codes.Internal, "safestate: the processor failed on this request")
	errNoPolicy       = status.Error(codes.InvalidArgument, "safestate: the route carries no policy: set the request attribute "+policy.AttributePolicy)
)

// Process serves one HTTP request's messages.
func (s *Server) Process(stream grpc.BidiStreamingServer[extprocv3.ProcessingRequest, extprocv3.ProcessingResponse]) (err error) {
	e := s.exchanges.Get().(*exchange)
	e.begin(s, stream)
	defer e.end()
	// One request that no test thought of must not take the others with it.
	// An error is what has Envoy do what the route says.
	defer func() {
		if p := recover(); p != nil {
			s.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("the processor failed on a request")
			e.gaveUp()
			err = errPanic
		}
	}()
	for {
		m, err := stream.Recv()
		if err != nil {
			return ended(err)
		}
		started := time.Now()
		r, err := e.handle(m)
		e.busy += time.Since(started)
		if err != nil {
			if e.ctx.Err() == nil { // else the proxy has ended the stream, and nobody gave up
				e.gaveUp()
			}
			return err
		}
		if r == nil {
			continue
		}
		if err := e.out.send(r); err != nil {
			return err // the proxy has ended the stream: end tells what that means
		}
	}
}

func ended(err error) error {
	if errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled {
		return nil
	}
	return err
}

func (e *exchange) begin(s *Server, stream grpc.BidiStreamingServer[extprocv3.ProcessingRequest, extprocv3.ProcessingResponse]) {
	s.open.Add(1)
	s.metrics.StreamOpened()
	e.server, e.ctx, e.judge = s, stream.Context(), s.judges.Get().(*detect.Exchange)
	e.out = &sender{stream: stream}
}

// gaveUp counts a request that the processor leaves to Envoy.
func (e *exchange) gaveUp() {
	if d := e.duplex; d != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
	}
	if e.route != nil && e.stage != stageFinished {
		e.route.metrics.Uninspected(telemetry.CauseProcessorError)
		e.permits.Ignore()
		e.stage = stageFinished
	}
}

// end gives the exchange back. Nothing may keep a reference to it.
func (e *exchange) end() {
	if e.duplex != nil {
		e.duplex.end()
	}
	e.abandoned()
	e.server.metrics.ProcessorTime(max(0, e.busy-e.climbing)) // a clock's climb is no message's time
	e.permits.release()
	e.land()
	s := e.server
	s.metrics.StreamClosed()
	if e.held > 0 {
		s.inFlight.Add(-e.held)
	}
	e.judge.Reset()
	s.judges.Put(e.judge)
	*e = exchange{}
	s.exchanges.Put(e)
	s.open.Add(-1)
}
