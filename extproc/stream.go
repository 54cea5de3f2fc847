package extproc

import (
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/ladder"
	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/telemetry"
	"github.com/safestate/safestate/internal/verdict"
)

// afterDone is how long a stream whose answer is complete is waited for: for
// the [DONE] that some servers never send, and for the end of the connection.
// The caller has everything by then.
const afterDone = 250 * time.Millisecond

// cut is the source of a stream that failed after its commit: the caller got
// the beginning of the model's answer and an error event.
const cut ladder.Source = telemetry.SourceCut

// feed gives the inspector a piece of a stream and sends on what it lets pass;
// ended says that nothing follows.
func (d *duplex) feed(b []byte, ended bool) error {
	err := d.inspect(b, ended)
	if ended {
		d.ended()
	}
	return err
}

func (d *duplex) inspect(b []byte, ended bool) error {
	e := d.exchange
	if d.stream == nil { // observed, and not readable any more
		return d.pass(b, ended)
	}
	step := d.stream.Feed(b)
	d.spoke = step.Spoke
	if ended && !step.Finished && step.Verdict.Clean() {
		if len(step.Pass) > 0 && e.enforced {
			if err := d.advance(&step, false); err != nil || d.state != flowing {
				return err
			}
		}
		step = d.stream.End()
	}
	if !e.enforced {
		return d.watch(b, &step, ended)
	}
	return d.advance(&step, ended)
}

// advance acts on one step of the inspection.
func (d *duplex) advance(step *detect.Step, ended bool) error {
	e := d.exchange
	for _, f := range step.Verdict.Observed {
		e.countObserved(f)
	}
	switch f := step.Verdict.Failed; {
	case f.Found() && d.state == held:
		e.countFinding(f)
		e.settle(f)
		d.tokens(true)
		return d.replace(f)
	case f.Found():
		return d.cut(f, step.Pass)
	case d.state == held && !step.Content && !step.Finished:
		return nil
	case d.state == held:
		if err := d.commit(); err != nil {
			return err
		}
	}
	last := step.Finished && e.stage != stageFinished
	if len(step.Pass) > 0 || ended || last {
		out := piece(step.Pass, ended && !d.trailed)
		if last && !ended {
			out = out.with(e.toldClean())
		}
		if err := e.out.send(out); err != nil {
			return err
		}
	}
	if step.Finished {
		d.complete()
	}
	if ended {
		return d.endCaller()
	}
	if step.Finished || d.stream.Complete() {
		d.arm(afterDone)
	}
	return nil
}

// watch sends a piece of an observed stream on, whatever the inspection says.
func (d *duplex) watch(b []byte, step *detect.Step, ended bool) error {
	e := d.exchange
	e.count(&step.Verdict)
	var word *structpb.Struct
	switch {
	case !step.Verdict.Clean():
		e.settle(step.Verdict.Failed)
		e.finish(e.primary(), verdict.Finding{})
		d.stream, word = nil, toldCounted
	case step.Finished:
		d.complete()
		d.stream, word = nil, e.toldClean()
	}
	return d.passTold(b, ended, word)
}

// pass sends a piece on as it is.
func (d *duplex) pass(b []byte, ended bool) error { return d.passTold(b, ended, nil) }

// passTold is pass with what Envoy is told of the answer; nil: nothing.
func (d *duplex) passTold(b []byte, ended bool, word *structpb.Struct) error {
	if len(b) > 0 || !d.trailed {
		out := piece(b, ended && !d.trailed)
		if word != nil && !ended {
			out = out.with(word)
		}
		if err := d.exchange.out.send(out); err != nil {
			return err
		}
	}
	if ended {
		return d.endCaller()
	}
	return nil
}

// endCaller ends the exchange after the last piece.
func (d *duplex) endCaller() error {
	d.state = echoing
	return d.releaseTrailers()
}

// commit lets the first content go: from here on the answer is the model's, and
// a failure can only be told of. The request is not needed any more, which of
// thousands of open streams with long prompts is what their memory is.
func (d *duplex) commit() error {
	e := d.exchange
	if err := d.begin(); err != nil {
		return err
	}
	e.forget()
	d.arm(e.route.policy.Stream.BetweenTokens.D())
	return nil
}

// complete notes a stream that is all there. It counts once it has ended: a model
// that breaks the connection behind the end mark may keep that from the caller.
func (d *duplex) complete() {
	e := d.exchange
	if e.stage == stageFinished {
		return
	}
	d.unended, d.took = true, time.Since(e.asked)
	d.tokens(false)
	e.route.ladder.Clean(e.judge, e.version.Version, false)
	e.finish(e.primary(), verdict.Finding{})
}

// ended counts a stream that is all there, and has ended well.
func (d *duplex) ended() {
	if d.unended {
		d.unended = false
		d.exchange.settleIn(verdict.Finding{}, d.took)
	}
}

// cut ends a committed stream with an error event, and with it the model's.
// clean is what could still be sent.
func (d *duplex) cut(f verdict.Finding, clean []byte) error {
	e := d.exchange
	e.countFinding(f)
	e.settle(f)
	d.tokens(true)
	a := e.primary()
	a.Source = cut
	e.finish(a, f)
	d.state = over
	if err := e.out.send(piece(local.AppendCut(clean, local.ErrorCode(f)), !d.trailed).with(toldCounted)); err != nil {
		return err
	}
	return d.releaseTrailers()
}

func (d *duplex) tokens(wasted bool) {
	e := d.exchange
	if d.stream == nil {
		return
	}
	if prompt, completion, ok := d.stream.Usage(); ok {
		e.route.metrics.Tokens(e.version.Model, e.version.Name, prompt, completion, wasted)
	}
}

// left notes a stream that ended between its commit and its end: the caller
// left, or the connection to the model broke and Envoy broke the caller's.
// Envoy does not say which, and five impatient callers must not take a model
// away from everybody else.
func (d *duplex) left() {
	e := d.exchange
	e.permits.Ignore()
	e.route.metrics.Uninspected(telemetry.CauseAbandoned)
	e.finish(e.primary(), verdict.Finding{})
}

// primary is the model's own answer, as it is counted.
func (e *exchange) primary() *ladder.Answer {
	return &ladder.Answer{Source: ladder.Primary, Status: e.judge.Status, Model: e.version.Model, Version: e.version.Name}
}

// countTokens counts what a whole answer says it took.
func (e *exchange) countTokens(wasted bool) {
	if prompt, completion, ok := e.route.detector.ChatUsage(e.judge); ok {
		e.route.metrics.Tokens(e.version.Model, e.version.Name, prompt, completion, wasted)
	}
}

// forget lets go of the request's body and all that was read of it, and keeps
// what logs and traces say of an exchange.
func (e *exchange) forget() {
	s := e.server
	if e.route.policy.LogPayloads {
		return // asked for, whatever it costs
	}
	kept := &detect.Exchange{
		Method: e.judge.Method, Path: e.judge.Path, RequestHeaders: e.judge.RequestHeaders,
		Version: e.judge.Version, Status: e.judge.Status, CodeDetails: e.judge.CodeDetails,
	}
	e.judge.Reset()
	s.judges.Put(e.judge)
	e.judge = kept
	s.inFlight.Add(-e.held)
	e.held = 0
}
