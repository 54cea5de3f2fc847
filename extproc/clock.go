package extproc

import (
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/ladder"
	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// arm has the clock tick after a while, and takes back any earlier tick.
func (d *duplex) arm(wait time.Duration) {
	wait = max(wait, 0)
	if d.timer == nil {
		d.timer = time.AfterFunc(wait, d.tick)
		return
	}
	d.timer.Reset(wait)
}

// tick looks whether the answer is late, on a goroutine of its own. The clock
// is wound again rather than reset with every piece: a stream of a hundred
// tokens a second ticks once in betweenTokens.
func (d *duplex) tick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer func() { d.survive("a stream's clock failed", recover()) }()
	// An error means that the proxy has ended the stream: the exchange sees it
	// at its next message.
	_ = d.ticked(time.Now())
}

// survive keeps one exchange's panic, on a goroutine of its own, from the others,
// and its caller from waiting for ever.
func (d *duplex) survive(what string, panicked any) {
	if panicked == nil {
		return
	}
	e := d.exchange
	e.server.log.Error().Interface("panic", panicked).Bytes("stack", debug.Stack()).Msg(what)
	f := verdict.Finding{Code: verdict.ProcessorAway, Enforced: true}
	was := d.state
	d.state = over
	// Errors mean that the proxy has ended the stream by itself.
	switch {
	case was == flowing && d.kind == eventStream, was == supplanted:
		_ = e.out.send(piece(local.AppendCut(nil, local.ErrorCode(f)), true))
	case was == held && !e.route.grpc(), was == awaiting:
		tags := []ladder.Header{{Name: verdict.HeaderReason, Value: f.Reason()}, {Name: "content-type", Value: chat.TypeJSON}}
		_ = e.out.send(immediate(http.StatusServiceUnavailable, tags, chat.AppendErrorBody(nil, local.ErrorCode(f), lostMessage), "safestate_lost"))
	case was == held:
		_ = e.out.send(immediateStatus(codes.Unavailable, f.Reason(), e.lastRungAnswers()))
	}
}

// lostMessage is what a caller is told whose answer was lost in safestate.
const lostMessage = "The answer was lost on its way."

func (d *duplex) ticked(now time.Time) error {
	switch d.state {
	case held:
		if left := d.bound.Sub(now); left > 0 {
			d.arm(left)
			return nil
		}
		return d.late()
	case flowing:
		return d.silent(now)
	case awaiting:
		return d.gather(d.waiting.answer, d.waiting.cause)
	}
	return nil
}

// envoyHolds is what Envoy keeps for a caller who reads slowly before it stops
// reading from the model, which then looks as silent as one that stalled: its
// buffers for a connection, 1 MiB.
const envoyHolds = 1 << 20

// late answers in the place of an answer that has not been decided in time.
func (d *duplex) late() error {
	e := d.exchange
	f := verdict.Finding{Code: verdict.LateAnswer, Detail: "before the end of the body", Enforced: true}
	if d.kind == eventStream {
		f.Detail = "before the first content"
	}
	e.countFinding(f)
	e.settle(f)
	return d.replace(f)
}

// silent ends a committed stream that has said nothing for too long, or has
// gone on for too long. One that is complete ends well.
func (d *duplex) silent(now time.Time) error {
	e := d.exchange
	if d.stream == nil || !e.enforced {
		return nil
	}
	p := e.route.policy
	quiet := now.Sub(d.last)
	if e.stage == stageFinished || d.stream.Complete() {
		if quiet < afterDone {
			d.arm(afterDone - quiet)
			return nil
		}
		return d.finishAtOnce()
	}
	between, left := p.Stream.BetweenTokens.D(), e.started.Add(p.Stream.MaxDuration.D()).Sub(now)
	mode := policy.Mode("")
	if p.Detect.Late != nil {
		mode = p.Detect.Late.Mode
	}
	switch {
	case !mode.Enforces():
		return nil
	case left <= 0:
		return d.cut(verdict.Finding{Code: verdict.LateAnswer, Detail: "longer than " + p.Stream.MaxDuration.D().String(), Enforced: true}, nil)
	case quiet >= between:
		if d.size > envoyHolds {
			e.countNothing() // it may be the caller that does not read on
		}
		return d.cut(verdict.Finding{Code: verdict.StreamStalled, Detail: strconv.FormatInt(quiet.Milliseconds(), 10) + " ms", Enforced: true}, nil)
	}
	d.arm(min(between-quiet, left))
	return nil
}

// finishAtOnce ends a stream that is complete though the model's connection
// stays open.
func (d *duplex) finishAtOnce() error {
	e := d.exchange
	step := d.stream.End()
	d.complete()
	d.ended()
	d.state = over
	return e.out.send(piece(step.Pass, true).with(toldCounted))
}

// streams are the answers under way, so that a process that ends can end them.
// It is safe for concurrent use.
type streams struct {
	mu   sync.Mutex
	open map[*duplex]struct{}
}

func (s *streams) add(d *duplex) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[*duplex]struct{}{}
	}
	s.open[d] = struct{}{}
}

func (s *streams) remove(d *duplex) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, d)
}

func (s *streams) list() []*duplex {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*duplex, 0, len(s.open))
	for d := range s.open {
		out = append(out, d)
	}
	return out
}

// EndStreams ends every answer that is under way: one that is held is answered
// from the ladder, a committed stream ends with an error event. A process calls
// it before it ends, once it has waited for them as long as it can.
func (s *Server) EndStreams() {
	s.endAll()
	for _, d := range s.streams.list() {
		go d.drain() // one whose caller does not read must not hold up the others
	}
}

func (d *duplex) drain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer func() { d.survive("a stream could not be ended", recover()) }()
	f := verdict.Finding{Code: verdict.Draining, Enforced: true}
	// Errors mean that the proxy has ended the stream by itself.
	switch {
	case d.state == held:
		d.exchange.countNothing()
		d.exchange.countFinding(f)
		_ = d.replace(f)
	case d.state == flowing && d.unended && d.exchange.enforced:
		_ = d.finishAtOnce()
	case d.state == flowing && d.kind == eventStream && d.exchange.enforced && d.stream != nil:
		d.exchange.countNothing()
		_ = d.cut(f, nil)
	case d.cancel != nil:
		d.cancel()
	}
}
