package filter

import (
	"strconv"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/time"
	"github.com/safestate/safestate/internal/verdict"
	"github.com/safestate/safestate/wasm/proxywasm"
	"github.com/safestate/safestate/wasm/proxywasm/types"
)

// stream is one HTTP request on its way through.
type stream struct {
	types.DefaultHttpContext
	plugin *plugin
	id     uint32

	route    *route
	version  *version
	cluster  string           // of the version, as Envoy names it
	routed   bool             // Envoy has a version to send the request to
	judge    *detect.Exchange // nil: nothing is judged
	enforced bool             // false: findings are counted, not acted on

	request, respond headers
	shape            chat.Shape // of the answer that a chat request asks for
	started, asked   time.Time
	bound            time.Time // when the clock has to look; zero: it need not

	stage   stage
	cause   verdict.Finding // why the request waits for its body, or for an answer from elsewhere
	next    int             // the rung that is tried next
	told    bool            // the policy has been brought along with a call
	holding int64           // bytes of bodies, counted at the plugin
	over    bool            // the request is over the limit, and not kept

	events  events
	permits breaker.Permits
	counted
}

// stage is how far a stream has come.
type stage int

const (
	stageLeft     stage = iota // not ours to judge, or not any more
	stageWaiting               // the request is held until all of it is here
	stageAsked                 // at the model
	stageHeld                  // the answer's headers are here and held
	stageFlowing               // the first content of a streamed answer has gone out
	stageDropping              // the caller has been told that the stream failed: the rest is dropped
	stageCalling               // another answer is asked for elsewhere
	stageAnswered              // another answer has gone out
)

// OnHttpRequestHeaders implements types.HttpContext.
func (s *stream) OnHttpRequestHeaders(_ int, end bool) types.Action {
	p := s.plugin
	s.started = p.look()
	s.route = p.route()
	if s.route == nil {
		return types.ActionContinue
	}
	if s.route.unreadable != nil {
		return s.unreadable()
	}
	list, err := proxywasm.GetHttpRequestHeaders()
	if err != nil {
		return s.lost()
	}
	s.request = list
	cluster, _ := proxywasm.GetProperty(propertyCluster) // none: Envoy has no version for it
	s.cluster = string(cluster)
	s.version, s.routed = s.route.version(s.cluster), policy.IsVersion(s.cluster)
	method, path := s.request.text(":method"), s.request.text(":path")
	if !s.route.detector.Inference(method, path) {
		if s.route.policy.Host == policy.HostBoth { // the processor counts, where it lives
			s.stage = stageLeft
			return types.ActionContinue
		}
		s.leave(causeNotInference)
		s.countAsked()
		return types.ActionContinue
	}
	s.judge = p.judge()
	s.judge.Method, s.judge.Path, s.judge.RequestHeaders, s.judge.Version = method, path, s.request, s.version.Version
	s.enforced = s.route.enforces()
	if end {
		s.judge.RequestBodySeen = true // there is none
	}
	switch {
	case end, !s.route.keeps:
		return s.beforeModel(true) // nothing of the request is waited for
	case detect.ContentLength(s.request) > s.route.policy.Limits.BodyBytes:
		s.over = true
		return s.requestOver()
	case s.route.holds:
		s.stage = stageWaiting
		return types.ActionPause
	}
	return s.ask(false)
}

// OnHttpRequestBody implements types.HttpContext. Of a request that waits size is
// all that has come, else it is one piece.
func (s *stream) OnHttpRequestBody(size int, end bool) types.Action {
	switch {
	case s.stage == stageCalling:
		return types.ActionPause
	case s.judge == nil || s.judge.RequestBodySeen || s.over || !s.route.keeps:
		return types.ActionContinue
	case s.stage == stageWaiting:
		return s.waited(size, end)
	case s.stage != stageAsked:
		return types.ActionContinue
	}
	if size > 0 {
		s.keep(0, size)
	}
	s.judge.RequestBodySeen = end && !s.over
	return types.ActionContinue
}

// OnHttpRequestTrailers implements types.HttpContext: nothing of the body follows.
func (s *stream) OnHttpRequestTrailers(int) types.Action {
	switch {
	case s.judge == nil || s.judge.RequestBodySeen || s.over || !s.route.keeps:
		return types.ActionContinue
	case s.stage == stageAsked:
		s.judge.RequestBodySeen = true
	case s.stage == stageWaiting:
		body, err := proxywasm.GetHttpRequestBody(0, int(s.route.policy.Limits.BodyBytes)+1)
		if err != nil {
			body = nil // there was none
		}
		s.judge.RequestBody = body
		return s.whole()
	}
	return types.ActionContinue
}

// waited takes in a request that is held, once all of it is here.
func (s *stream) waited(size int, end bool) types.Action {
	switch {
	case int64(size) > s.route.policy.Limits.BodyBytes:
		s.over = true
		if s.cause.Found() { // the model is not asked, whatever the body says
			return s.replace(s.cause)
		}
		return s.requestOver()
	case !end:
		return types.ActionPause
	}
	if size > 0 {
		s.keep(0, size)
	}
	return s.whole()
}

// whole goes on with a request all of which is here.
func (s *stream) whole() types.Action {
	s.judge.RequestBodySeen = !s.over
	if s.cause.Found() {
		return s.replace(s.cause)
	}
	return s.beforeModel(true)
}

// keep adds a piece to the request's body that is kept. Where the worker has no
// memory to spare, or the body is over the limit, the request was not seen.
func (s *stream) keep(start, size int) {
	limit := s.route.policy.Limits.BodyBytes
	if int64(len(s.judge.RequestBody)+size) > limit || !s.hold(size) {
		s.over, s.judge.RequestBody = true, nil
		return
	}
	piece, err := proxywasm.GetHttpRequestBody(start, size)
	if err != nil {
		s.over, s.judge.RequestBody = true, nil
		return
	}
	if s.judge.RequestBody == nil {
		s.judge.RequestBody = piece
		return
	}
	s.judge.RequestBody = append(s.judge.RequestBody, piece...)
}

// hold counts bytes of a body against what the worker may keep, until the end.
func (s *stream) hold(n int) bool {
	if !s.plugin.hold(n) {
		return false
	}
	s.holding += int64(n)
	return true
}

// beforeModel is the last look at a request: its checks.
func (s *stream) beforeModel(whole bool) types.Action {
	if s.route.holds {
		v := s.route.detector.Request(s.judge)
		s.count(&v)
		switch {
		case v.Clean() || !s.enforced || v.Failed.Act == policy.ActPass:
		case v.Failed.Act == policy.ActReject:
			return s.reject(v.Failed)
		default:
			return s.replace(v.Failed)
		}
	}
	return s.ask(whole)
}

// requestOver decides a request over the limit: it was not read, so only what
// needs no request can answer it.
func (s *stream) requestOver() types.Action {
	act := s.route.policy.Limits.RequestOver
	if act == policy.ActPass || !s.enforced {
		s.uninspected(causeRequestOverLimit)
		return s.ask(true)
	}
	f := verdict.Finding{
		Code: verdict.RequestTooLarge, Detail: "limit " + strconv.FormatInt(s.route.policy.Limits.BodyBytes, 10), Enforced: true,
	}
	s.countFinding(f)
	if act == policy.ActReject {
		return s.reject(f)
	}
	return s.replace(f)
}

// ask lets the request go to the model, unless a guard says that it is not to be
// asked. whole: nothing of the request is waited for.
func (s *stream) ask(whole bool) types.Action {
	if f := s.guard(); f.Found() {
		if whole {
			return s.replace(f)
		}
		s.stage, s.cause = stageWaiting, f
		return types.ActionPause
	}
	now := s.plugin.now()
	if s.stage == stageWaiting {
		s.shorten(now)
	}
	s.stage, s.asked = stageAsked, now
	if s.route.policy.Host != policy.HostBoth { // the processor counts, where it lives
		s.countAsked()
	}
	return types.ActionContinue
}

// headerUpstreamTimeout is how Envoy's router is told how long the model may take.
const headerUpstreamTimeout = "x-envoy-upstream-rq-timeout-ms"

// shorten takes from the model's time what the request's upload took, where that
// matters: Envoy counts from the end of the request.
func (s *stream) shorten(now time.Time) {
	late := s.route.policy.Detect.Late
	if !s.enforced || late == nil || !late.Mode.Enforces() {
		return
	}
	given, err := strconv.ParseInt(s.request.text(headerUpstreamTimeout), 10, 64)
	if err != nil {
		return // the route bounds it in another way
	}
	left := max(s.share()-now.Sub(s.started), time.Millisecond)
	if left < time.Duration(given)*time.Millisecond-s.share()/20 {
		// A header that cannot be written leaves the model more time, and the clock
		// still ends what is late.
		_ = proxywasm.ReplaceHttpRequestHeader(headerUpstreamTimeout, strconv.FormatInt(left.Milliseconds(), 10))
	}
}

// share is the model's part of the deadline; of a stream the time that it has
// for its first content.
func (s *stream) share() time.Duration {
	return s.route.policy.Share(s.shape.Stream)
}

// leave lets an answer go that is not ours to judge.
func (s *stream) leave(cause string) types.Action {
	s.stage = stageLeft
	s.uninspected(cause)
	return types.ActionContinue
}

// until has the clock look at the stream at a time.
func (s *stream) until(at time.Time) {
	s.bound = at
	s.plugin.wake(at)
}

// OnHttpStreamDone implements types.HttpContext.
func (s *stream) OnHttpStreamDone() {
	p := s.plugin
	delete(p.streams, s.id)
	s.ended()
	s.release()
}

// release lets go of the bodies, once nothing is judged any more: a caller may take
// long to read an answer.
func (s *stream) release() {
	s.plugin.held -= s.holding
	s.holding = 0
	if s.judge != nil {
		s.plugin.done(s.judge)
		s.judge = nil
	}
}
