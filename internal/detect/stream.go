package detect

import (
	"bytes"
	"sync"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/verdict"
)

// Stream judges one streamed answer of the OpenAI API as it comes, event by
// event, and says which bytes of it may go to the caller. What can be judged
// early is: a token that is no probability fails the stream at once, a mean
// when its choice is complete, the form of the content then too.
//
// A Stream is not safe for concurrent use. It keeps nothing of the exchange
// that it was made for. Between calls it holds some five hundred bytes, of an
// event that has begun its bytes, before the first content the preamble (each
// up to the policy's HoldBytes, and beyond that no more than a kilobyte of
// room), and the content where the policy holds it to the request's format, up
// to the policy's limit of an answer.
//
// Conditions in CEL are over whole answers, and are not evaluated on streams;
// the policy's dependencies are, on an event that is an error.
type Stream struct {
	plan *plan
	// What the request asked for.
	want         int    // choices; 0: not known
	asked        string // the model, where its name is held to that
	includeUsage bool
	logprobs     bool // their absence is a failure
	noLogprobs   bool // they were not asked for: those that come are no confidence
	legacy       bool
	echo         bool
	format       *contentFormat // nil: the content is not held to any

	split    chat.Splitter
	hold     int64
	event    int64  // the most bytes of one event
	preamble int64  // bytes of whole events before the first content
	held     []byte // events that are inspected and have not been passed on
	passed   bool   // held was given out, and is free
	total    int64  // bytes fed
	events   int    // with data
	spoke    bool   // the bytes fed last had content, or an end

	choices    []choice
	id, model  uint64 // hashes of the first that were given; 0: none yet
	named      bool   // the model's name has been judged
	prompt     int64
	completion int64
	usage      bool // there was one
	lastUsage  bool // there was one with or after the last finish_reason

	content, finished bool
	unread            bool // an event over the limit has passed, which may have held anything
	verdict           verdict.Verdict
	noted             []verdict.Code // what has been observed: each is told once
}

// Step is what a piece of a stream led to.
type Step struct {
	// Pass is what may go to the caller: whole events that have been judged, of
	// which the held preamble is the first. It is empty before the first content,
	// and may be the very bytes that were fed. It is valid until the next call,
	// and as long as those bytes do not change.
	Pass []byte
	// Content tells that the first content has been seen, or that nothing is held
	// back any longer: the caller may be told that there is an answer. It stays.
	Content bool
	// Spoke tells that the answer went on: there was content, or a choice's end.
	// Comments, empty pieces and counts of tokens, by which servers keep a
	// connection alive, say nothing.
	Spoke bool
	// Finished tells that the answer is over and all of it has been passed on:
	// [DONE] has been seen (what follows it is dropped), or the body has ended. Of
	// a body that ended without [DONE] though all choices are complete, Pass ends
	// with the [DONE] that it lacks.
	Finished bool
	// Verdict is failed from the first enforced finding on: nothing of the event
	// that failed, or of those behind it, is in Pass; whole events before it are.
	// Where that is the call in which the first content came, Content is set all
	// the same, and a host that has told the caller nothing yet may drop Pass and
	// answer in another way. Observed holds what this call has found, of each code
	// the first of the stream.
	Verdict verdict.Verdict
}

// defaultHold bounds the preamble of a stream whose policy says nothing.
const defaultHold = 64 << 10

// smallRoom is the largest buffer that an idle Stream keeps.
const smallRoom = 1 << 10

// Stream begins the inspection of a streamed answer of the version that was
// asked. Its status and headers have been judged, by Headers.
func (d *Detector) Stream(x *Exchange) *Stream { return d.stream(x, d.own) }

// FallbackStream begins the inspection of the streamed answer that a fallback
// model gives to x's request, as Fallback judges a whole one. fb must be one of
// the policy's own rungs, and its status has been judged.
func (d *Detector) FallbackStream(x *Exchange, fb *policy.Fallback) *Stream {
	t, err := d.planOf(fb)
	if err != nil {
		s := d.stream(x, d.own)
		s.verdict.Failed = found(policy.Enforce, verdict.BrokenForm, "protocol")
		return s
	}
	return d.stream(x, t)
}

// planOf returns how the answers of a fallback are judged.
func (d *Detector) planOf(fb *policy.Fallback) (*plan, error) {
	for i := range d.fallbacks {
		if f := &d.fallbacks[i]; f.of == fb || f.of.Model == fb.Model && f.of.Version == fb.Version {
			return f.plan, nil
		}
	}
	return newFallbackPlan(d.policy, fb)
}

func (d *Detector) stream(x *Exchange, t *plan) *Stream {
	r := d.ChatRequest(x)
	s := &Stream{
		plan: t, hold: defaultHold, includeUsage: r.IncludeUsage, legacy: r.Legacy, echo: mayEcho(r),
		logprobs: r.Known && r.Logprobs, noLogprobs: r.Known && !r.Logprobs,
	}
	if r.Known {
		s.want = r.N
	}
	if t.contract != nil && t.contract.ModelName && (t.own || t.servedName == "") {
		s.asked = string(r.Model.Text(nil))
	}
	if p := d.policy.Stream; p != nil && p.HoldBytes > 0 {
		s.hold = p.HoldBytes
	}
	// An event is bounded as a whole answer is; what is held in all before the
	// first content, by hold.
	s.event = max(s.hold, t.bodyBytes)
	s.split.Limit = int(min(s.event, 1<<30))
	if t.chat.Format != "" && chat.Formatted(r.Format) {
		s.format = &contentFormat{text: bytes.Clone(r.Format.Raw()), room: t.bodyBytes}
	}
	return s
}

// documents are what events are parsed into. A Stream has one only while it
// works: of thousands that are open, few do.
var documents = sync.Pool{New: func() any { return new(scan.Document) }}

// Feed takes more bytes of the body, cut anywhere. b may change once Pass has
// been used. After a failure or the end it says the same again.
func (s *Stream) Feed(b []byte) Step {
	s.begin()
	if s.over() {
		return s.step(nil)
	}
	s.total += int64(len(b))
	doc := documents.Get().(*scan.Document)
	defer func() {
		doc.Reset()
		documents.Put(doc)
	}()
	var e chat.Event
	var clean []byte // the events in b that have been judged
	s.spoke = false
	for rest := b; !s.over(); {
		var ok bool
		if rest, ok = s.split.Next(rest, &e); !ok {
			break
		}
		if !s.take(doc, &e) {
			break
		}
		if !e.InPlace {
			s.held = append(s.held, e.Raw...)
			continue
		}
		end := len(b) - len(rest)
		begin := end - len(e.Raw) - len(clean)
		clean = b[begin:end:end]
	}
	return s.step(clean)
}

// End tells that the body has ended, cleanly: with its last chunk, or the end of
// the connection where that is how it ends.
func (s *Stream) End() Step {
	s.begin()
	if s.over() {
		return s.step(nil)
	}
	doc := documents.Get().(*scan.Document)
	defer func() {
		doc.Reset()
		documents.Put(doc)
	}()
	var e chat.Event
	var cut []byte // of an event that will never be whole
	switch whole, left := s.split.End(&e); {
	case !left:
	case !whole && !readable(doc, &e):
		cut = e.Raw
	case s.take(doc, &e):
		s.held = append(s.held, e.Raw...)
		if !whole {
			s.held = append(s.held, "\n\n"...) // or its readers drop it
		}
	}
	if !s.over() {
		s.close(cut)
	}
	return s.step(nil)
}

// readable reports whether an event that lost its blank line is whole.
func readable(doc *scan.Document, e *chat.Event) bool {
	return e.HasData && !e.Stray && (e.IsDone() || doc.Parse(e.Data, eventLimits) == nil)
}

// begin makes room for another step.
func (s *Stream) begin() {
	s.verdict.Observed = nil
	if s.passed {
		s.passed = false
		if s.held = s.held[:0]; cap(s.held) > smallRoom {
			s.held = nil
		}
	}
}

// over reports whether nothing more can come of the stream.
func (s *Stream) over() bool { return s.finished || !s.verdict.Clean() }

// step closes a call: clean are the judged events that are not in held.
func (s *Stream) step(clean []byte) Step {
	step := Step{Spoke: s.spoke, Content: s.content, Finished: s.finished && s.verdict.Clean(), Verdict: s.verdict}
	switch {
	case !s.content:
		s.held = append(s.held, clean...)
	case len(s.held) == 0:
		step.Pass = clean
	default:
		s.held = append(s.held, clean...)
		step.Pass, s.passed = s.held, true
	}
	return step
}

// Complete reports whether only [DONE] is missing, if that: every choice that
// was asked for has its finish_reason, and the usage that was asked for is
// there. Where the request was not seen nobody knows how many choices are to
// come, and only [DONE] tells.
func (s *Stream) Complete() bool {
	return s.finished && s.verdict.Clean() || s.want > 0 && s.complete() && (s.lastUsage || !s.includeUsage)
}

// Usage returns what the model says that it has used, in tokens: of the prompt,
// and of the answer so far. ok is false where it has not said.
func (s *Stream) Usage() (prompt, completion int64, ok bool) {
	return s.prompt, s.completion, s.usage
}

// note records a finding. What is observed is told once for each code.
func (s *Stream) note(f verdict.Finding) {
	if !f.Found() {
		return
	}
	if !f.Enforced || !s.verdict.Clean() {
		for _, code := range s.noted {
			if code == f.Code {
				return
			}
		}
		s.noted = append(s.noted, f.Code)
	}
	s.verdict.Add(f)
}
