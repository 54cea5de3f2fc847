package extproc

import (
	"strconv"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"

	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/inflate"
	"github.com/safestate/safestate/internal/ladder"
	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/telemetry"
	"github.com/safestate/safestate/internal/verdict"
)

// unread lets through, untagged and counted, what was not looked at: an answer
// over the limit, or a reply that is another filter's. That one is not the
// model's answer, and turning it into one could let a refused caller in.
func (e *exchange) unread(at phase, c telemetry.Cause) *reply {
	e.setAside(c)
	return e.leave(at)
}

// setAside counts an answer that is not looked at.
func (e *exchange) setAside(c telemetry.Cause) {
	switch c {
	case telemetry.CauseResponseOverLimit, telemetry.CauseMemory:
		e.permits.succeed(time.Since(e.asked))
	default:
		e.permits.Ignore()
	}
	e.route.metrics.Uninspected(c)
	e.stage = stageFinished
}

// leave ends the processor's part in the response.
func (e *exchange) leave(at phase) *reply {
	switch {
	case e.out.tells && at == responseBody:
		return seenResponseBody
	case e.out.tells:
		return seenSkipResponseBody
	case at == responseBody:
		return continueResponseBody
	}
	return skipResponseBody
}

// requestUnheld decides a request for whose body the processor has no memory
// to spare.
func (e *exchange) requestUnheld() *reply {
	if e.passesUnheld() {
		e.route.metrics.Uninspected(telemetry.CauseMemory)
		return e.ask(continueRequestBody)
	}
	return e.inPlace(e.outOfMemory())
}

// responseUnheld is requestUnheld for an answer.
func (e *exchange) responseUnheld() *reply {
	v := e.route.detector.Unread(e.judge)
	if v.Failed.Found() && v.Failed.Code != verdict.BrokenTooLarge {
		return e.decide(responseBody, &v) // an error, whatever its body says
	}
	if e.passesUnheld() {
		return e.unread(responseBody, telemetry.CauseMemory)
	}
	e.permits.Ignore()
	f := e.outOfMemory()
	return e.deliverImmediate(e.climb(f), f)
}

func (e *exchange) passesUnheld() bool {
	return e.route.policy.Limits.ResponseOver == policy.OverPass || !e.enforced
}

func (e *exchange) outOfMemory() verdict.Finding {
	f := verdict.Finding{Code: verdict.MemoryBudget, Enforced: true}
	e.countFinding(f)
	return f
}

// reject answers 400 and names the field: the caller's error, said to the
// caller.
func (e *exchange) reject(f verdict.Finding) *reply {
	e.permits.Ignore()
	e.stage = stageFinished
	e.route.metrics.Rejected()
	if e.route.grpc() {
		return immediateStatus(codes.InvalidArgument, f.Reason(), false)
	}
	tags := []ladder.Header{
		{Name: verdict.HeaderReason, Value: f.Reason()},
		{Name: "content-type", Value: "application/json"},
		{Name: "cache-control", Value: "no-store"},
	}
	return immediate(400, tags, local.Rejection(e.route.policy.Protocol, f), "safestate_rejected")
}

// count counts a verdict's findings, the observed ones included.
func (e *exchange) count(v *verdict.Verdict) {
	if v.Failed.Found() {
		e.countFinding(v.Failed)
	}
	for _, f := range v.Observed {
		e.countObserved(f)
	}
}

func (e *exchange) countObserved(f verdict.Finding) {
	f.Enforced = false
	e.observed = e.observed || !e.asked.IsZero() // else it is the request's
	e.countFinding(f)
}

func (e *exchange) countFinding(f verdict.Finding) {
	e.route.metrics.Detection(e.version.Model, e.version.Name, f.Detector(), f.Enforced && e.enforced)
}

// settle tells the breakers and the control plane how the model did.
func (e *exchange) settle(f verdict.Finding) {
	if e.asked.IsZero() || f.Code == verdict.LateAnswer && e.judge.CodeDetails == detailsMaxDuration {
		e.countNothing() // the caller's upload took the time, not the model
		return
	}
	e.settleIn(f, time.Since(e.asked))
}

// settleIn is settle of an answer that took some time.
func (e *exchange) settleIn(f verdict.Finding, took time.Duration) {
	if f.Found() && f.Enforced && !e.judged && !e.claim() {
		e.countNothing() // as the model's broken connection it counts already
		return
	}
	e.countJudged(f, took)
	if f.Found() {
		e.permits.fail(f, took)
		return
	}
	e.permits.succeed(took)
}

// detailsMaxDuration is Envoy's word for an exchange that took longer than its
// route allows in all; a model that is late has response_timeout.
const detailsMaxDuration = "max_duration_timeout"

// finish counts, logs and traces what the caller gets.
func (e *exchange) finish(a *ladder.Answer, f verdict.Finding) {
	e.stage = stageFinished
	if e.duplex == nil || !e.duplex.unended {
		e.permits.Ignore() // those that nothing has settled
	}
	now := time.Now()
	took := now.Sub(e.started)
	if !e.answered.IsZero() {
		took = e.answered.Sub(e.started)
	}
	e.route.metrics.Served(a.Model, a.Version, string(a.Source), took)
	e.countServed(a, f)
	if prompt, completion, ok := usageOf(a); ok {
		e.route.metrics.Tokens(a.Model, a.Version, prompt, completion, false)
	}
	switch {
	case f.Code == verdict.CacheFirst:
		e.route.metrics.CacheFirst()
	case f.Found():
		e.logFailure(a, f, took)
	}
	if e.server.tracer.On() {
		e.trace(a, f, now)
	}
}

// usageOf returns the tokens that a fallback model says its answer took.
func usageOf(a *ladder.Answer) (prompt, completion int64, ok bool) {
	if a.Stream != nil {
		return a.Stream.Usage()
	}
	return a.UsagePrompt, a.UsageCompletion, a.UsagePrompt > 0 || a.UsageCompletion > 0
}

func (e *exchange) logFailure(a *ladder.Answer, f verdict.Finding, took time.Duration) {
	line := telemetry.Failure{
		Route: e.route.policy.Route, Model: e.version.Model, Version: e.version.Name,
		Reason: f.Reason(), Detector: string(f.Detector()),
		Source: string(a.Source), AnswerModel: a.Model, AnswerVersion: a.Version,
		Status: e.judge.Status, Node: e.node, RequestID: e.requestHeader("x-request-id"), Took: took,
	}
	if e.route.policy.LogPayloads {
		line.Request, line.Response = e.judge.RequestBody, e.judge.ResponseBody
	}
	e.server.log.FailedAnswer(line)
}

func (e *exchange) trace(a *ladder.Answer, f verdict.Finding, now time.Time) {
	span := telemetry.Span{
		Traceparent: e.requestHeader("traceparent"), Tracestate: e.requestHeader("tracestate"),
		Start: e.started, End: now,
		Route: e.route.policy.Route, Model: a.Model, Version: a.Version,
		Source: string(a.Source), Status: a.Status,
	}
	if f.Found() {
		span.Reason = f.Reason()
	}
	e.server.tracer.Answer(&span)
}

func (e *exchange) requestHeader(name string) string {
	v, _ := e.judge.RequestHeaders.Get(name)
	return v
}

// abandoned is called when the stream ends before the exchange was finished:
// the caller left, or Envoy answered by itself. Envoy does not say which. Once
// the model's time is used up it is the model that stalled; before that, five
// impatient callers must not take it away from everybody else.
func (e *exchange) abandoned() {
	if e.route == nil || e.stage == stageFinished {
		return
	}
	e.route.metrics.Uninspected(telemetry.CauseAbandoned)
	p := e.route.policy
	late := p.Detect.Late
	if e.stage != stageHeaders || late == nil || time.Since(e.asked) < p.Deadline.D()-p.Reserve.D() {
		e.permits.Ignore()
		return
	}
	f := verdict.Finding{Code: verdict.LateAnswer, Detail: "before the end of the body", Enforced: late.Mode.Enforces()}
	e.countFinding(f)
	e.settle(f)
}

// hold counts a body against the server's budget and reports whether there is
// room for it. A compressed one is counted with all that it may inflate to.
func (e *exchange) hold(n int, h detect.Headers) bool {
	size := int64(n)
	if encoding, ok := h.Get("content-encoding"); ok && !inflate.Identity(encoding) {
		size += inflate.MaxBytes
	}
	if e.server.inFlight.Add(size) > e.server.maxInFlight {
		e.server.inFlight.Add(-size)
		return false
	}
	e.held += size
	return true
}

// tagsOf makes the headers of an answer of the ladder.
func tagsOf(a *ladder.Answer, f verdict.Finding) []ladder.Header {
	source := a.Source
	switch source {
	case ladder.Refused:
		source = ""
	case cut: // the beginning, which the caller gets, is another model's
		source = ladder.Fallback
	}
	tags := local.AppendTags(make([]ladder.Header, 0, 6+len(a.Extra)), a.ContentType, f, source)
	if a.Model != "" {
		tags = append(tags, ladder.Header{Name: verdict.HeaderModel, Value: a.Model})
	}
	if a.Version != "" {
		tags = append(tags, ladder.Header{Name: verdict.HeaderVersion, Value: a.Version})
	}
	return append(tags, a.Extra...)
}

// whole reports whether a body is all there and not over the limit. Envoy cuts
// a body that passes its own limit, which is never under the policy's; one
// that is shorter and not the end of its stream has trailers after it.
func whole(b *extprocv3.HttpBody, limit int64) bool {
	size := int64(len(b.Body))
	return size < limit || size == limit && b.EndOfStream
}

func overDetail(limit int64) string { return "limit " + strconv.FormatInt(limit, 10) }

// statusOf reads :status; 0, which is a failure, where it is none.
func statusOf(h headers) int {
	n, err := strconv.Atoi(h.text(":status"))
	if err != nil {
		return 0
	}
	return n
}

// tell lets the request through with headers for Envoy's router.
func tell(at phase, told []ladder.Header) *reply {
	return continued(at, &extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{SetHeaders: setHeaders(told)}})
}

// continued makes the reply that goes on with a request.
func continued(at phase, common *extprocv3.CommonResponse) *reply {
	if at == requestHeaders {
		return dynamic(&message{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{Response: common}}})
	}
	return dynamic(&message{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{Response: common}}})
}
