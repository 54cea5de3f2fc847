package extproc

import (
	"strconv"
	"time"

	"github.com/safestate/safestate/internal/ladder"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/verdict"
)

// What the control plane is told of a version. A request that went to it by way of
// the processor counts as asked, and once at the most as an answer: clean, bad, or
// the caller's own error. The exchange counts most answers, and evidence those whose
// end only Envoy saw. What was not judged is no answer: bodies over a limit, replies
// of other filters, callers that left, requests that are no inference. Whether a finding acted (the policy's mode, this
// request's lot) makes no difference: the mode of its detector does.

// counted is an exchange's part in that.
type counted struct {
	row      *signals.Row  // nil: nobody is told
	source   string        // who asks
	observed bool          // a detector that observes found something in the answer
	judged   bool          // the answer has been counted, or is not to be
	flying   *signals.Rows // where it counts as open; nil: it does not
}

// fly counts the request as open at the version that it is about to be let go to,
// before it is looked whether that is killed: see signals.Rows.Open.
func (e *exchange) fly() {
	if e.routed && e.flying == nil {
		e.flying = e.version.rows
		e.flying.Open()
	}
}

// land ends that: it was not let go, or the version is done with it.
func (e *exchange) land() {
	e.flying.Done()
	e.flying = nil
}

// countFor finds where the exchange counts.
func (e *exchange) countFor(from envoyAttributes) {
	if !e.server.speaksFor(e.server.peerOf(e.ctx), e.node) {
		return // judged, and counted for nobody
	}
	if e.row = e.version.rows.Of(e.node); e.row == nil {
		return
	}
	e.source = from.text(policy.AttributeSource)
	e.row.SeenMarks(e.route.head, policy.KillMark(from.text(policy.AttributeKillGeneration)), e.started)
	if text := from.text(policy.AttributeGeneration); text != "" {
		generation, err := strconv.ParseUint(text, 10, 64)
		if err == nil { // else it is not the control plane's, and says nothing
			e.row.Seen(generation)
		}
	}
}

// countJudged counts an answer that took some time, by what failed it.
func (e *exchange) countJudged(f verdict.Finding, took time.Duration) {
	if e.judged || e.row == nil {
		return
	}
	e.judged = true
	if !e.answered.IsZero() {
		took = e.answered.Sub(e.asked) // of a stream, the time until its first content
	}
	caller := signals.PlaceOf(e.source)
	switch {
	case f.Found() && f.Enforced:
		e.row.Bad(f.Detector(), took, caller)
	case f.Found() || e.observed:
		e.row.Observed(took, caller)
	default:
		e.row.Clean(took, caller)
	}
}

// countCallerError counts an answer that blames the caller: it says nothing about
// the model.
func (e *exchange) countCallerError() {
	e.permits.Ignore()
	if !e.judged && !e.asked.IsZero() && e.claim() {
		e.row.CallerError()
	}
	e.judged = true
}

// claim reports whether nothing has counted that was logged of the answer, and keeps
// it from counting from now on.
func (e *exchange) claim() bool {
	return e.server.lately.claim(e.requestHeader("x-request-id"), time.Now())
}

// countNothing keeps what comes of the answer from being held against the model.
func (e *exchange) countNothing() {
	e.permits.Ignore()
	e.judged = true
}

// countServed counts an answer of the ladder in the place of the model's.
func (e *exchange) countServed(a *ladder.Answer, f verdict.Finding) {
	switch a.Source {
	case ladder.Primary, ladder.Refused, cut:
	default:
		if f.Code != verdict.CacheFirst { // that is how the policy wants it
			e.row.Fallback()
		}
	}
}

// countMessages counts a stream of messages, and tells the breakers: by a message
// that failed, or else by the status that it ended with. To the breakers such a
// status is nothing, since it tells the caller itself.
func (d *duplex) countMessages() {
	e := d.exchange
	f, status := d.messages.found, statusGRPC(e.trailers)
	if status > 0 {
		e.permits.Ignore()
	}
	if status > 0 && !f.Found() {
		v := d.judgeEnd(status)
		switch {
		case v.Pass == verdict.CallerError:
			e.countCallerError()
		case v.Failed.Found():
			f = v.Failed
		default:
			e.observed = e.observed || len(v.Observed) > 0
		}
	}
	e.settle(f)
}
