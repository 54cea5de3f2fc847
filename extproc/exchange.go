package extproc

import (
	"context"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/ladder"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/telemetry"
	"github.com/safestate/safestate/internal/verdict"
)

// exchange is one HTTP request on its way through: the four messages that
// Envoy sends of it, in order, each answered before the next comes. It is used
// by one goroutine.
//
// The flow: requestHeaders and requestBody guard (breaker, bulkhead, request
// checks, cache) and may answer in the model's place; responseHeaders and
// responseBody detect, and answer from the ladder what failed.
type exchange struct {
	server *Server
	out    *sender
	ctx    context.Context //nolint:containedctx // the gRPC stream's own: an exchange is that stream

	route    *route
	version  *version
	node     string           // the Envoy
	judge    *detect.Exchange // reused by the next exchange
	enforced bool             // false: findings are counted, not acted on

	started time.Time // the request's headers
	asked   time.Time // the last message before the model was asked; zero: it was not
	respond headers   // the response's headers
	// sized: the answer declares its length, so that one of another length can
	// be put in its place.
	sized bool

	pending verdict.Finding // a guard that spoke before the request's body was there
	permits permits
	// busy is the time spent on messages, climbing the part of it in which the
	// ladder ran.
	busy, climbing time.Duration

	held  int64 // bytes of bodies counted against the server's budget
	stage stage
}

// stage is how far an exchange has come.
type stage int

const (
	stageRequest  stage = iota // the model has not been asked
	stageAsked                 // waiting for its answer
	stageHeaders               // its headers are here, its body is not
	stageFinished              // answered, passed or left alone
)

// handle takes one message and returns its reply. An error ends the gRPC
// stream, upon which Envoy does what the route says for a processor that is
// away.
func (e *exchange) handle(m *extprocv3.ProcessingRequest) (*reply, error) {
	switch r := m.Request.(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		e.server.metrics.Message(telemetry.PhaseRequestHeaders)
		return e.requestHeaders(m, r.RequestHeaders)
	case *extprocv3.ProcessingRequest_RequestBody:
		e.server.metrics.Message(telemetry.PhaseRequestBody)
		return e.requestBody(r.RequestBody)
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		e.server.metrics.Message(telemetry.PhaseResponseHeaders)
		return e.responseHeaders(m, r.ResponseHeaders)
	case *extprocv3.ProcessingRequest_ResponseBody:
		e.server.metrics.Message(telemetry.PhaseResponseBody)
		return e.responseBody(r.ResponseBody)
	case *extprocv3.ProcessingRequest_RequestTrailers:
		return continueRequestTrailers, nil
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		return continueResponseTrailers, nil
	}
	return nil, errUnknownMessage
}

func (e *exchange) requestHeaders(m *extprocv3.ProcessingRequest, h *extprocv3.HttpHeaders) (*reply, error) {
	e.started = time.Now()
	r, err := e.server.routes.get(attribute(m, AttributePolicy))
	if err != nil {
		e.server.metrics.Uninspected("", telemetry.CausePolicyUnreadable)
		return nil, err
	}
	e.route = r
	req := headersOf(h)
	e.judge.Method, e.judge.Path = req.text(":method"), req.text(":path")
	e.judge.RequestHeaders = req
	if !r.detector.Inference(e.judge.Method, e.judge.Path) {
		r.metrics.Uninspected(telemetry.CauseNotInference)
		e.stage = stageFinished
		return leaveAlone, nil
	}
	cluster := attribute(m, AttributeCluster)
	e.version = r.version(cluster)
	e.node = attribute(m, AttributeNode)
	e.judge.Version = e.version.Version
	e.enforced = r.enforces()

	if f := e.guard(cluster != ""); f.Found() {
		if r.policy.Needs.RequestBody && !h.EndOfStream {
			e.pending = f
			return continueRequestHeaders, nil
		}
		return e.inPlace(f), nil
	}
	if h.EndOfStream {
		return e.beforeModel(requestHeaders)
	}
	if !r.policy.Needs.RequestBody {
		e.ask()
		return continueRequestHeaders, nil
	}
	if declared(req) > r.policy.Limits.BodyBytes {
		return e.requestOver(requestHeaders)
	}
	return continueRequestHeaders, nil
}

func (e *exchange) requestBody(b *extprocv3.HttpBody) (*reply, error) {
	if e.stage != stageRequest {
		return continueRequestBody, nil
	}
	if !whole(b, e.route.policy.Limits.BodyBytes) {
		return e.requestOver(requestBody)
	}
	if !e.hold(len(b.Body)) {
		return e.overBudget(requestBody)
	}
	e.judge.RequestBody, e.judge.RequestBodySeen = b.Body, true
	if e.pending.Found() {
		return e.inPlace(e.pending), nil
	}
	return e.beforeModel(requestBody)
}

// beforeModel is the last look at a whole request: its checks, and a cache
// that is asked first.
func (e *exchange) beforeModel(at phase) (*reply, error) {
	r := e.route
	if len(r.policy.Detect.Request) > 0 {
		if rep := e.checkRequest(); rep != nil {
			return rep, nil
		}
	}
	if e.enforced {
		if a, ok := r.ladder.First(e.ctx, e.question(verdict.Finding{Code: verdict.CacheFirst})); ok {
			return e.deliverImmediate(a, verdict.Finding{Code: verdict.CacheFirst}), nil
		}
	}
	e.ask()
	if left := e.modelTime(); left > 0 {
		return upstreamTimeout(at, left), nil
	}
	if at == requestHeaders {
		return continueRequestHeaders, nil
	}
	return continueRequestBody, nil
}

// checkRequest returns the reply where a request check answers or rejects.
func (e *exchange) checkRequest() *reply {
	v := e.route.detector.Request(e.judge)
	e.count(&v)
	switch {
	case v.Clean() || !e.enforced || v.Failed.Act == policy.ActPass:
		return nil
	case v.Failed.Act == policy.ActReject:
		return e.reject(v.Failed)
	}
	return e.inPlace(v.Failed)
}

// requestOver decides a request over the limit: it was not read, so only what
// needs no request can answer it.
func (e *exchange) requestOver(at phase) (*reply, error) {
	f := verdict.Finding{Code: verdict.RequestTooLarge, Detail: overDetail(e.route.policy.Limits.BodyBytes), Enforced: true}
	act := e.route.policy.Limits.RequestOver
	if act == policy.ActPass || !e.enforced {
		e.route.metrics.Uninspected(telemetry.CauseRequestOverLimit)
		e.ask()
		if at == requestBody {
			return continueRequestBody, nil
		}
		return skipRequestBody, nil
	}
	e.countFinding(f)
	if act == policy.ActReject {
		return e.reject(f), nil
	}
	return e.inPlace(f), nil
}

func (e *exchange) responseHeaders(m *extprocv3.ProcessingRequest, h *extprocv3.HttpHeaders) (*reply, error) {
	if e.stage == stageFinished || e.route == nil {
		return continueResponseHeaders, nil
	}
	e.stage = stageHeaders
	e.respond = headersOf(h)
	x := e.judge
	x.ResponseHeaders = e.respond
	x.Status = statusOf(e.respond)
	x.CodeDetails = attribute(m, AttributeCodeDetails)

	v, decided := e.route.detector.Headers(x)
	switch {
	case decided:
		return e.decide(responseHeaders, &v), nil
	case h.EndOfStream:
		v := e.route.detector.Answer(x)
		return e.decide(responseHeaders, &v), nil
	}
	n := declared(e.respond)
	if n > e.route.policy.Limits.BodyBytes {
		return e.responseOver(responseHeaders), nil
	}
	e.sized = n >= 0
	return continueResponseHeaders, nil
}

func (e *exchange) responseBody(b *extprocv3.HttpBody) (*reply, error) {
	if e.stage != stageHeaders {
		return continueResponseBody, nil
	}
	if !whole(b, e.route.policy.Limits.BodyBytes) {
		return e.responseOver(responseBody), nil
	}
	if !e.hold(len(b.Body)) {
		return e.overBudget(responseBody)
	}
	e.judge.ResponseBody = b.Body
	v := e.route.detector.Answer(e.judge)
	return e.decide(responseBody, &v), nil
}

// decide acts on a verdict: the model's answer goes out with its tags, or the
// ladder answers.
func (e *exchange) decide(at phase, v *verdict.Verdict) *reply {
	switch v.Pass {
	case verdict.Foreign, verdict.NotInference:
		return e.foreign(at)
	case verdict.ResponseOverLimit:
		return e.unread(at, telemetry.CauseResponseOverLimit)
	case verdict.Judged, verdict.CallerError, verdict.RequestOverLimit:
	}
	e.count(v)
	e.settle(v.Failed)
	if v.Clean() || !e.enforced {
		return e.pass(at, len(v.Observed) == 0 && v.Clean())
	}
	return e.replace(at, v.Failed)
}

// pass lets the model's answer through, tagged.
func (e *exchange) pass(at phase, spotless bool) *reply {
	r := e.route
	remember := spotless && e.judge.Status == 200
	r.ladder.Clean(e.judge, e.version.Version, remember)
	e.finish(&ladder.Answer{
		Source: ladder.Primary, Status: e.judge.Status, Model: e.version.Model, Version: e.version.Name,
	}, verdict.Finding{})
	return e.version.primary(at, e.respond)
}

// replace answers from the ladder in the place of an answer that failed. Where
// Envoy holds the whole answer its body is exchanged, and the filters between
// it and the caller (CORS, for one) see the new one; elsewhere an immediate
// response ends the exchange with the model at once, however it stalls.
func (e *exchange) replace(at phase, f verdict.Finding) *reply {
	a := e.climb(f)
	if at != responseBody || !e.sized {
		return e.deliverImmediate(a, f)
	}
	e.finish(&a, f)
	return replaced(a.Status, tagsOf(&a, f), a.Body, e.respond)
}

// inPlace answers from the ladder without asking the model.
func (e *exchange) inPlace(f verdict.Finding) *reply {
	return e.deliverImmediate(e.climb(f), f)
}

func (e *exchange) deliverImmediate(a ladder.Answer, f verdict.Finding) *reply {
	e.finish(&a, f)
	return immediate(a.Status, tagsOf(&a, f), a.Body, "safestate_"+string(a.Source))
}

// climb runs the ladder, asking Envoy for time where a rung takes it.
func (e *exchange) climb(f verdict.Finding) ladder.Answer {
	q := e.question(f)
	started := time.Now()
	if e.route.ladder.Networked() {
		out := e.out
		late := time.AfterFunc(e.route.patience, func() { out.askForTime(q.Deadline) })
		defer func() {
			late.Stop()
			out.answered()
		}()
	}
	a := e.route.ladder.Answer(e.ctx, q)
	e.climbing += time.Since(started)
	return a
}

func (e *exchange) question(f verdict.Finding) *ladder.Ask {
	return &ladder.Ask{Exchange: e.judge, Version: e.version.Version, Cause: f, Deadline: e.deadline()}
}

func (e *exchange) deadline() time.Time { return e.started.Add(e.route.policy.Deadline.D()) }

// ask notes that the model is asked from here on.
func (e *exchange) ask() {
	e.stage = stageAsked
	e.asked = time.Now()
}

// modelTime is what is left for the model, where the request's upload took a
// part of its time that matters; 0: the route's own timeout is right.
func (e *exchange) modelTime() time.Duration {
	p := e.route.policy
	model := p.Deadline.D() - p.Reserve.D()
	spent := e.asked.Sub(e.started)
	if spent < model/20 {
		return 0
	}
	return max(model-spent, time.Millisecond)
}
