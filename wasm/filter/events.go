package filter

import (
	"bytes"
	"strconv"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/time"
	"github.com/safestate/safestate/internal/verdict"
	"github.com/safestate/safestate/wasm/proxywasm"
	"github.com/safestate/safestate/wasm/proxywasm/types"
)

// events is a streamed answer. Until its first content Envoy keeps what comes, and
// any rung may answer; then each piece is judged as it comes, and nothing is kept. A
// failure ends it with an error event. A filter cannot end a stream by itself: what
// the model still sends is dropped, and a tick later the transfer is broken off, which
// a caller who has read the event does not wait for.
type events struct {
	judge    *detect.Stream
	seen     int       // bytes of what Envoy keeps that have been judged
	last     time.Time // when the model last said something
	size     int64     // bytes that have come
	complete bool      // all of it has been passed on: what follows is dropped
	broken   bool      // observed, and not readable any more
	took     time.Duration
}

// streams reports whether the answer is a stream of events. Of a request that was
// not read nobody knows whether it asked for one.
func (s *stream) streams() bool {
	if s.route.policy.Protocol != policy.OpenAI || !s.shape.Stream && s.judge.RequestBodySeen {
		return false
	}
	return chat.IsStream(s.respond.text("content-type"))
}

// begin begins to judge a stream. One that is only observed goes out as it comes.
func (s *stream) begin(now time.Time) types.Action {
	s.events.judge, s.events.last = s.route.detector.Stream(s.judge), now
	if s.enforced {
		// What goes out may be shorter or longer than what came.
		_ = proxywasm.RemoveHttpResponseHeader("content-length") // most have none
		return types.ActionPause
	}
	s.bound = noTime
	s.tag()
	s.stage = stageFlowing
	return types.ActionContinue
}

// feed judges a piece of a stream, and lets what is clean of it pass.
func (s *stream) feed(size int, end bool) types.Action {
	e := &s.events
	now := s.plugin.look()
	if s.stage == stageDropping || e.complete && s.enforced {
		s.drop(size)
		if end {
			s.eventsEnded()
		}
		return types.ActionContinue
	}
	var piece []byte
	if size > e.seen {
		var err error
		if piece, err = proxywasm.GetHttpResponseBody(e.seen, size-e.seen); err != nil {
			return s.lost()
		}
	}
	e.size += int64(len(piece))
	if e.broken {
		return types.ActionContinue
	}
	if s.stage == stageHeld {
		e.seen = size
	}
	step := e.judge.Feed(piece)
	if step.Spoke {
		e.last = now
	}
	pass := step.Pass
	// All that was asked for is there: [DONE] is not waited for, since nothing can be
	// said later without the model.
	if (end || e.judge.Complete()) && !step.Finished && step.Verdict.Clean() {
		s.countAll(step.Verdict.Observed)
		pass = bytes.Clone(pass)
		step = e.judge.End()
		pass = append(pass, step.Pass...)
	}
	if !s.enforced {
		return s.watch(&step, end)
	}
	return s.advance(&step, pass, piece, size, end)
}

// advance acts on what the inspection says of a piece.
func (s *stream) advance(step *detect.Step, pass, piece []byte, size int, end bool) types.Action {
	s.countAll(step.Verdict.Observed)
	switch f := step.Verdict.Failed; {
	case f.Found() && s.stage == stageHeld:
		s.bound = noTime
		s.countFinding(f)
		s.settle(f, s.plugin.now().Sub(s.asked))
		s.countTokens(true)
		return s.replace(f)
	case f.Found():
		s.countCut(f)
		s.put(local.AppendCut(pass, local.ErrorCode(f)), nil, size)
		if end { // the model has ended it
			s.stage, s.bound = stageLeft, noTime
			return types.ActionContinue
		}
		s.stage = stageDropping
		s.until(s.plugin.now().Add(tick))
		return types.ActionContinue
	case s.stage == stageHeld && !step.Content && !step.Finished:
		return types.ActionPause
	case s.stage == stageHeld:
		s.commit()
	}
	s.put(pass, piece, size)
	if step.Finished {
		s.finish()
	}
	switch {
	case end:
		s.eventsEnded()
	case s.events.complete:
		s.until(s.plugin.now().Add(afterDone))
	default:
		s.watchSilence()
	}
	return types.ActionContinue
}

// commit lets the first content go: from here on the answer is the model's.
func (s *stream) commit() {
	s.stage = stageFlowing
	s.events.took = s.plugin.now().Sub(s.asked)
	s.tag()
	s.plugin.held -= s.holding // the request is not needed any more
	s.holding = 0
}

// watch notes what the inspection says of an observed stream, which goes on
// whatever it says.
func (s *stream) watch(step *detect.Step, end bool) types.Action {
	s.count(&step.Verdict)
	switch {
	case !step.Verdict.Clean():
		s.settle(step.Verdict.Failed, s.plugin.now().Sub(s.asked))
		s.events.broken = true
	case step.Finished:
		s.finish()
	}
	if end {
		s.eventsEnded()
	}
	return types.ActionContinue
}

// put has Envoy send b in the place of the piece that is at hand.
func (s *stream) put(b, piece []byte, size int) {
	s.events.seen = 0
	if len(piece) == size && bytes.Equal(b, piece) {
		return
	}
	if err := proxywasm.ReplaceHttpResponseBody(b); err != nil {
		proxywasm.LogError("safestate: a piece of a stream could not be replaced: " + err.Error())
		s.breakOff()
	}
}

// drop keeps a piece from the caller.
func (s *stream) drop(size int) {
	if size > 0 {
		s.put(nil, nil, size)
	}
}

// finish notes a stream that is all there.
func (s *stream) finish() {
	if s.events.complete {
		return
	}
	s.events.complete = true
	s.countTokens(false)
	if s.route.budget != nil {
		s.route.budget.Observe(s.plugin.now())
	}
	s.countPrimary()
}

// eventsEnded counts a stream that has ended well.
func (s *stream) eventsEnded() {
	s.bound = noTime
	if s.events.complete && s.stage == stageFlowing {
		s.settle(verdict.Finding{}, s.events.took)
	}
	s.stage = stageLeft
}

// endInTrailers ends a stream whose body has no end of its own.
func (s *stream) endInTrailers() types.Action {
	e := &s.events
	if e.complete || e.broken {
		s.eventsEnded()
		return types.ActionContinue
	}
	step := e.judge.End()
	switch {
	case !s.enforced:
		return s.watch(&step, true)
	case s.stage == stageHeld:
		return s.advance(&step, step.Pass, nil, -1, true)
	}
	s.countAll(step.Verdict.Observed)
	if f := step.Verdict.Failed; f.Found() { // there is no body left to tell of it in
		s.countCut(f)
		s.breakOff()
		return types.ActionPause
	}
	s.finish()
	s.eventsEnded()
	return types.ActionContinue
}

// watchSilence has the clock look when the model has been silent for too long.
func (s *stream) watchSilence() {
	p := s.route.policy
	if p.Stream == nil || p.Detect.Late == nil || !p.Detect.Late.Mode.Enforces() {
		return
	}
	at, longest := s.events.last.Add(p.Stream.BetweenTokens.D()), s.started.Add(p.Stream.MaxDuration.D())
	if longest.Before(at) {
		at = longest
	}
	s.until(at)
}

// ticked ends what is late.
func (s *stream) ticked(now time.Time) {
	s.bound = noTime
	switch s.stage {
	case stageHeld:
		f := verdict.Finding{Code: verdict.LateAnswer, Detail: "before the end of the body", Enforced: true}
		if s.events.judge != nil {
			f.Detail = "before the first content"
		}
		s.countFinding(f)
		s.settle(f, now.Sub(s.asked))
		s.replace(f)
	case stageFlowing:
		s.silent(now)
	case stageDropping:
		s.breakOff()
	}
}

// afterDone is how long a model may keep the connection open behind an answer that is
// complete. The caller has all of it.
const afterDone = 250 * time.Millisecond

// envoyHolds is what Envoy keeps for a caller who reads slowly before it stops
// reading from the model, which then looks as silent as one that stalled.
const envoyHolds = 1 << 20

// silent breaks a stream off that has said nothing for too long, or has gone on for
// too long: the caller's client sees a transfer that was broken, and no end.
func (s *stream) silent(now time.Time) {
	if s.events.complete {
		s.settle(verdict.Finding{}, s.events.took)
		s.breakOff()
		return
	}
	p := s.route.policy
	quiet := now.Sub(s.events.last)
	switch {
	case !now.Before(s.started.Add(p.Stream.MaxDuration.D())):
		s.countCut(verdict.Finding{Code: verdict.LateAnswer, Detail: "longer than " + p.Stream.MaxDuration.D().String(), Enforced: true})
	case quiet >= p.Stream.BetweenTokens.D():
		if s.events.size > envoyHolds {
			s.countNothing() // it may be the caller that does not read on
		}
		s.countCut(verdict.Finding{Code: verdict.StreamStalled, Detail: strconv.FormatInt(quiet.Milliseconds(), 10) + " ms", Enforced: true})
	default:
		s.watchSilence()
		return
	}
	s.breakOff()
}

// breakOff breaks an answer off whose headers have gone out: Envoy resets it.
func (s *stream) breakOff() {
	s.stage = stageAnswered
	_ = proxywasm.SendHttpResponse(statusUnavailable, nil, nil, -1) // where that fails Envoy's own idle timeout ends it
}
