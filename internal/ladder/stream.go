package ladder

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/fallback"
	"github.com/safestate/safestate/internal/verdict"
)

// afterDone is how long a stream whose answer is complete is waited for: for
// the [DONE] that some servers never send, and then for the end of the body,
// with which the connection is kept. The caller has the answer by then.
const afterDone = 250 * time.Millisecond

// StreamError is a stream that failed after its first content: the caller has
// the beginning of an answer and is to be told that it is none.
type StreamError struct{ Finding verdict.Finding }

// Error names the reason. It is for logs: a reason can hold a model's own text.
func (e *StreamError) Error() string { return "ladder: the stream failed: " + e.Finding.Reason() }

// errKilled stands in for an error of a stream whose model was killed.
var errKilled = errors.New("ladder: the model was killed")

// ErrStreamClosed is what Next returns of a closed Stream.
var ErrStreamClosed = errors.New("ladder: the stream is closed")

// Stream is a streamed answer of a fallback model, from its first content on.
// It holds a place at the model until its end, and nothing of the request. One
// goroutine at a time may use it, but for Close, which must be called.
type Stream struct {
	rung   *modelRung
	source *fallback.Stream
	judge  *detect.Stream
	place  *place
	took   time.Duration // to the first content: what a breaker may call slow
	ends   time.Time     // when it has to be over

	room *[]byte     // what the source is read into; what is passed on may lie in it
	step detect.Step // what came of the last piece
	held bool        // step is the first content, and Next has not given it out
	size int         // bytes of the body so far
	read error       // why the source has nothing more
	over error       // what Next returns once there is nothing more to pass on

	clock  *time.Timer     // ends a silence by closing the source
	silent verdict.Finding // what that silence is
	// Who closed the source.
	rang, left, closed atomic.Bool
}

// rooms are what streams are read into.
var rooms = sync.Pool{New: func() any {
	b := make([]byte, 4<<10)
	return &b
}}

// stream asks for a streamed answer and reads it up to its first content: from
// there on it is an answer. A model may give a whole one all the same.
func (r *modelRung) stream(ctx context.Context, ask *Ask, request fallback.Request, place *place) (Answer, Outcome) {
	started := time.Now()
	source, whole, err := r.client.Stream(ctx, request)
	if whole != nil {
		return r.whole(ask.Exchange, whole, place, time.Since(started))
	}
	s := &Stream{rung: r, source: source, place: place}
	if err == nil {
		s.judge = r.detector.FallbackStream(ask.Exchange, r.cfg)
		s.room = rooms.Get().(*[]byte)
		s.ends = ask.Deadline.Add(r.policy.Stream.MaxDuration.D() - r.policy.Deadline.D())
		err = s.begin()
	}
	s.took = time.Since(started)
	if err != nil {
		place.leave(blame(err, s.took, r.cfg.Deadline.D()), s.took)
		return Answer{}, Failed
	}
	return Answer{
		Source: Fallback, Status: http.StatusOK, ContentType: source.ContentType, Stream: s,
		Model: r.cfg.Model, Version: r.cfg.Version,
	}, Answered
}

// begin reads up to the first content and commits the source. After an error
// the stream is closed.
func (s *Stream) begin() (err error) {
	defer func() {
		if err != nil {
			s.source.Close()
			s.free()
		}
	}()
	for {
		s.pull(context.Background())
		var failed *StreamError
		switch {
		case errors.As(s.over, &failed):
			return failed
		case s.step.Content:
			if !s.source.Commit() { // its time ended in the same moment
				return &fallback.Error{Kind: fallback.Timeout}
			}
			s.held = true
			s.clock = time.AfterFunc(time.Hour, s.ring)
			s.clock.Stop()
			return nil
		case s.over != nil: // over, and there was nothing in it
			return &StreamError{verdict.Finding{Code: verdict.BrokenEmpty, Enforced: true}}
		case s.read != nil && !errors.Is(s.read, io.EOF):
			return s.read
		}
	}
}

// pull reads the next piece and has it judged: step is what came of it. over is
// set where nothing follows.
func (s *Stream) pull(ctx context.Context) {
	s.step.Pass = nil
	if s.read != nil {
		s.conclude(ctx)
		return
	}
	if s.rung.killed() { // it says nothing about the model
		s.place.leave(breaker.Ignored, s.took)
		s.read, s.over = errKilled, &StreamError{verdict.Finding{Code: verdict.Killed, Enforced: true}}
		return
	}
	var n int
	n, s.read = s.source.Read(*s.room)
	s.size += n
	if n > 0 {
		s.take(s.judge.Feed((*s.room)[:n]))
	}
}

// conclude says what the end of the body means.
func (s *Stream) conclude(ctx context.Context) {
	switch {
	case errors.Is(s.read, io.EOF), s.judge.Complete() && !s.closed.Load():
		// Who has a complete answer misses nothing that a broken end would have
		// brought.
		if s.take(s.judge.End()); s.over == nil {
			s.fail(s.truncated())
		}
	case s.closed.Load():
		s.over = ErrStreamClosed
	case s.left.Load():
		s.over = ctx.Err()
	case s.rang.Load():
		if s.silent.Code == verdict.StreamStalled {
			s.source.Stalled()
		}
		s.fail(s.silent)
	default:
		s.fail(s.truncated())
	}
}

func (s *Stream) truncated() verdict.Finding {
	return verdict.Finding{Code: verdict.BrokenTruncated, Detail: strconv.Itoa(s.size), Enforced: true}
}

// take notes a step of the judge.
func (s *Stream) take(step detect.Step) {
	s.step = step
	for _, f := range step.Verdict.Observed {
		s.rung.tell(f)
	}
	switch {
	case !step.Verdict.Clean():
		s.fail(step.Verdict.Failed)
	case step.Finished:
		s.over = io.EOF
	}
}

func (s *Stream) fail(f verdict.Finding) {
	s.rung.tell(f)
	s.over = &StreamError{f}
}

// Next returns the next bytes for the caller: whole events that have been
// judged, the held preamble and the first content at first. They are valid
// until the next call. io.EOF ends a complete stream, a *StreamError one that
// failed, upon which the caller is to get an error event. A Next whose ctx ends
// ends the stream with ctx's error.
//
// Each silence is bounded by the policy's BetweenTokens, counted from the call,
// so that a slow caller is not taken for a slow model.
func (s *Stream) Next(ctx context.Context) ([]byte, error) {
	if s.held {
		s.held = false
		if len(s.step.Pass) > 0 {
			s.settle()
			return s.step.Pass, nil
		}
	}
	if s.over != nil && s.read != nil {
		return nil, s.end()
	}
	s.arm()
	defer s.clock.Stop()
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, s.leave)()
	}
	for s.over == nil {
		s.pull(ctx)
		if len(s.step.Pass) > 0 {
			s.settle()
			return s.step.Pass, nil
		}
	}
	if errors.Is(s.over, io.EOF) {
		s.drain()
	}
	return nil, s.end()
}

// arm sets the clock for one silence.
func (s *Stream) arm() {
	limits := s.rung.policy.Stream
	wait := limits.BetweenTokens.D()
	s.silent = verdict.Finding{Code: verdict.StreamStalled, Detail: strconv.FormatInt(wait.Milliseconds(), 10) + " ms", Enforced: true}
	if left := time.Until(s.ends); left < wait {
		wait = max(left, 0)
		s.silent = verdict.Finding{Code: verdict.LateAnswer, Detail: "longer than " + limits.MaxDuration.D().String(), Enforced: true}
	}
	if s.over != nil || s.judge.Complete() {
		wait = min(wait, afterDone)
	}
	s.clock.Reset(wait)
}

// ring ends a silence.
func (s *Stream) ring() {
	s.rang.Store(true)
	s.source.Close()
}

// leave ends the stream of a caller who is gone.
func (s *Stream) leave() {
	s.left.Store(true)
	s.source.Close()
}

// drain reads what follows the end of the answer, so that the connection can be
// used again.
func (s *Stream) drain() {
	for s.read == nil {
		_, s.read = s.source.Read(*s.room)
	}
}

// settle gives the place back once it is known how the stream went, and ends
// the exchange with a model whose stream failed.
func (s *Stream) settle() {
	var failed *StreamError
	switch {
	case s.over == nil:
	case errors.Is(s.over, io.EOF):
		s.place.leave(breaker.Success, s.took)
	case errors.As(s.over, &failed):
		s.source.Close()
		s.place.leave(breaker.Failure, s.took)
	default:
		s.source.Close()
		s.place.leave(breaker.Ignored, s.took)
	}
}

// end ends the stream and returns why.
func (s *Stream) end() error {
	s.settle()
	s.source.Close()
	s.free()
	return s.over
}

// free gives the room back; nothing in it is used any more.
func (s *Stream) free() {
	if s.room != nil {
		rooms.Put(s.room)
		s.room = nil
	}
}

// Usage returns the tokens that the model counts, once Next has returned
// io.EOF. ok is false where the model does not say.
func (s *Stream) Usage() (prompt, completion int64, ok bool) { return s.judge.Usage() }

// Close ends the exchange with the model. It may be called more than once, and
// while Next waits, which then returns ErrStreamClosed. A model whose stream is
// closed before its end is neither praised nor blamed.
func (s *Stream) Close() {
	s.closed.Store(true)
	s.source.Close()
	s.clock.Stop()
	s.place.leave(breaker.Ignored, s.took)
}
