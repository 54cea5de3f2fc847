package filter

import (
	"errors"
	"strings"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/inflate"
	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
	"github.com/safestate/safestate/wasm/proxywasm"
	"github.com/safestate/safestate/wasm/proxywasm/types"
)

// OnHttpResponseHeaders implements types.HttpContext. It runs for Envoy's own replies
// and for those of this filter as well.
func (s *stream) OnHttpResponseHeaders(_ int, end bool) types.Action {
	if s.stage != stageAsked && s.stage != stageWaiting {
		return types.ActionContinue
	}
	if s.judgedBefore() {
		return types.ActionContinue
	}
	list, err := proxywasm.GetHttpResponseHeaders()
	if err != nil {
		return s.lost()
	}
	s.respond = list
	x := s.judge
	x.ResponseHeaders, x.Status = s.respond, s.respond.status()
	if x.CodeDetails, err = s.details(); err != nil {
		return s.lost()
	}
	if s.route.policy.Protocol == policy.OpenAI {
		s.shape = s.route.detector.ChatRequest(x).Shape()
	}
	v, decided := s.route.detector.Headers(x)
	if !decided && end {
		v, decided = s.route.detector.Answer(x), true
	}
	if decided {
		s.plugin.look()
		return s.decide(&v)
	}
	s.stage = stageHeld
	if late := s.route.policy.Detect.Late; s.enforced && late != nil && late.Mode.Enforces() {
		s.until(s.started.Add(s.share()))
	}
	if s.streams() {
		return s.begin(s.plugin.look())
	}
	return types.ActionPause
}

// headerServiceTime is what Envoy's router writes on every answer of an upstream, and
// on no reply that it makes itself.
const headerServiceTime = "x-envoy-upstream-service-time"

// details says who made the answer. Of an upstream's the host need not be asked.
func (s *stream) details() (string, error) {
	if _, upstreams := s.respond.Get(headerServiceTime); upstreams {
		return policy.DetailsWhole, nil
	}
	text, err := proxywasm.GetProperty(propertyDetails)
	return string(text), err
}

// judgedBefore reports whether the processor has looked at the answer. Then it is
// none of the filter's.
func (s *stream) judgedBefore() bool {
	if s.route.policy.Host != policy.HostBoth {
		return false
	}
	if said, err := proxywasm.GetProperty(propertyVerdict); err == nil && len(said) > 0 {
		s.stage, s.judged = stageLeft, true
		return true
	}
	s.countAsked()
	return false
}

// OnHttpResponseBody implements types.HttpContext. Of an answer that is held size is
// all that has come, else it is one piece.
func (s *stream) OnHttpResponseBody(size int, end bool) types.Action {
	action := s.body(size, end)
	if s.stage == stageCalling {
		s.drop(size) // another answer comes; held, it would be more than Envoy holds
	}
	return action
}

func (s *stream) body(size int, end bool) types.Action {
	switch s.stage {
	case stageCalling:
		return types.ActionPause
	case stageFlowing, stageDropping:
		return s.feed(size, end)
	case stageHeld:
	default:
		return types.ActionContinue
	}
	switch {
	case s.events.judge != nil:
		return s.feed(size, end)
	case int64(size) > s.route.policy.Limits.BodyBytes:
		s.plugin.look()
		v := s.route.detector.Unread(s.judge)
		return s.decide(&v)
	case !end:
		return types.ActionPause
	}
	return s.read(size)
}

// OnHttpResponseTrailers implements types.HttpContext: nothing of the body follows.
func (s *stream) OnHttpResponseTrailers(int) types.Action {
	switch s.stage {
	case stageCalling:
		return types.ActionPause
	case stageHeld, stageFlowing:
	default:
		return types.ActionContinue
	}
	switch {
	case s.events.judge != nil:
		s.plugin.look()
		return s.endInTrailers()
	case s.stage == stageHeld:
		return s.read(int(s.route.policy.Limits.BodyBytes))
	}
	return types.ActionContinue
}

// read judges a whole answer.
func (s *stream) read(size int) types.Action {
	s.plugin.look()
	var body []byte
	if size > 0 {
		var err error
		if body, err = proxywasm.GetHttpResponseBody(0, size); err != nil && !errors.Is(err, types.ErrorStatusNotFound) {
			return s.lost() // not found: there is none
		}
	}
	if !s.room(len(body)) {
		return s.unheld()
	}
	s.judge.ResponseBody = body
	v := s.route.detector.Answer(s.judge)
	return s.decide(&v)
}

// room counts a body, and what it may inflate to, against what the worker may keep.
func (s *stream) room(n int) bool {
	if encoding, ok := s.respond.Get("content-encoding"); ok && !inflate.Identity(encoding) {
		n += inflate.MaxBytes
	}
	return s.hold(n)
}

// unheld decides an answer for which the worker has no memory to spare.
func (s *stream) unheld() types.Action {
	if s.route.policy.Limits.ResponseOver == policy.OverPass || !s.enforced {
		s.permits.Ignore()
		s.judged = true
		return s.leave(causeMemory)
	}
	s.countNothing()
	f := verdict.Finding{Code: verdict.MemoryBudget, Enforced: true}
	s.countFinding(f)
	return s.replace(f)
}

// decide acts on a verdict: the model's answer goes out with its tags, or another
// one takes its place.
func (s *stream) decide(v *verdict.Verdict) types.Action {
	s.bound = noTime
	if cause, left := causeOf(v.Pass); left {
		s.setAside(cause)
		return types.ActionContinue
	}
	events := s.restream(v)
	s.count(v)
	acts := s.enforced && !v.Clean()
	if !acts && v.TooLarge() {
		s.setAside(causeResponseOverLimit)
		return types.ActionContinue
	}
	if v.Pass == verdict.CallerError {
		s.countCallerError()
	} else {
		s.settle(v.Failed, s.plugin.now().Sub(s.asked))
	}
	s.countWholeTokens(!v.Clean())
	if acts {
		return s.replace(v.Failed)
	}
	if s.route.budget != nil {
		s.route.budget.Observe(s.plugin.now())
	}
	s.tag()
	s.countPrimary()
	s.stage = stageLeft
	if events != nil {
		return s.sendRestreamed(events)
	}
	s.release()
	return types.ActionContinue
}

// tag writes on the model's own answer what it is, and drops what the model claims of
// itself in our words.
func (s *stream) tag() {
	for i := range s.respond {
		name := s.respond[i][0]
		if strings.HasPrefix(name, verdict.HeaderPrefix) {
			_ = proxywasm.RemoveHttpResponseHeader(name) // it was there a moment ago
		}
	}
	for _, t := range s.version.tags {
		_ = proxywasm.AddHttpResponseHeader(t.Name, t.Value) // untagged is what is not judged: no harm
	}
}

// restream makes the stream that was asked for of a whole completion, which clients
// take for a stream without a single event. It is nil where the answer may stay as
// it is; a completion that cannot be told as a stream fails.
func (s *stream) restream(v *verdict.Verdict) []byte {
	if !s.enforced {
		return nil
	}
	return local.Restream(s.route.policy, s.shape, s.judge.Status, s.respond.text("content-encoding"), s.judge.ResponseBody, v)
}

// sendRestreamed lets the model's answer go as the stream that it is now.
func (s *stream) sendRestreamed(body []byte) types.Action {
	for _, name := range local.BodyHeaders {
		if _, there := s.respond.Get(name); there {
			_ = proxywasm.RemoveHttpResponseHeader(name) // it was there a moment ago
		}
	}
	if proxywasm.ReplaceHttpResponseHeader("content-type", chat.TypeStream) != nil || proxywasm.ReplaceHttpResponseBody(body) != nil {
		tags := [][2]string{{"content-type", chat.TypeStream}}
		for _, t := range append(s.version.tags, local.Header{Name: "cache-control", Value: "no-store"}) {
			tags = append(tags, [2]string{t.Name, t.Value})
		}
		return s.send(uint32(s.judge.Status), tags, body)
	}
	return types.ActionContinue
}
