package extproc

import (
	"context"
	"strconv"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/ladder"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/telemetry"
	"github.com/safestate/safestate/internal/verdict"
)

// exchange is one HTTP request on its way through: the four messages that
// Envoy sends of it, in order, each answered before the next comes. It is used
// by one goroutine.
//
// The flow: requestHeaders and requestBody check the request, ask a cache that
// comes first, and ask the guards (breaker, bulkhead) before the model, and may
// answer in its place; responseHeaders and responseBody detect, and answer from
// the ladder what failed.
type exchange struct {
	server *Server
	out    *sender
	ctx    context.Context //nolint:containedctx // the gRPC stream's own: an exchange is that stream

	route    *route
	duplex   *duplex // the response half of a duplex route; nil elsewhere
	version  *version
	cluster  string           // of the version, as Envoy names it
	routed   bool             // Envoy has a version to send the request to
	node     string           // the Envoy
	judge    *detect.Exchange // from the server's pool
	enforced bool             // false: findings are counted, not acted on

	started time.Time // the request's headers
	asked   time.Time // the last message before the model was asked; zero: it was not
	respond headers   // the response's headers
	// sized: the answer declares its length, so that one of another length can
	// be put in its place.
	sized bool

	at    phase           // of the message at hand
	shape chat.Shape      // of the answer that a chat request asks for
	cause verdict.Finding // why the request went to the ladder's own upstream
	// answered is when the first content of a streamed answer went out; zero:
	// the answer is not a stream.
	answered time.Time
	trailers headers // the response's

	permits permits
	counted
	// busy is the time spent on messages, climbing the part of it in which the
	// ladder ran.
	busy, climbing time.Duration

	held  int64 // bytes of bodies counted against the server's budget
	stage stage
}

// stage is how far an exchange has come.
type stage int

const (
	stageRequest   stage = iota // the model has not been asked
	stageAsked                  // waiting for its answer
	stageElsewhere              // sent to the ladder's own upstream instead
	stageHeaders                // its headers are here, its body is not
	stageFinished               // answered, passed or left alone
)

// handle takes one message and returns its reply; nil: what there is to say has
// been said, or will be. An error ends the gRPC
// stream, upon which Envoy does what the route says for a processor that is
// away.
func (e *exchange) handle(m *extprocv3.ProcessingRequest) (*reply, error) {
	switch r := m.Request.(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		e.server.metrics.Message(telemetry.PhaseRequestHeaders)
		return e.requestHeaders(m, r.RequestHeaders)
	case *extprocv3.ProcessingRequest_RequestBody:
		e.server.metrics.Message(telemetry.PhaseRequestBody)
		e.at = requestBody
		return e.requestBody(r.RequestBody)
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		e.server.metrics.Message(telemetry.PhaseResponseHeaders)
		if e.duplex != nil {
			return nil, e.duplex.take(func(d *duplex) error { return d.responseHeaders(m, r.ResponseHeaders) })
		}
		return e.responseHeaders(m, r.ResponseHeaders)
	case *extprocv3.ProcessingRequest_ResponseBody:
		e.server.metrics.Message(telemetry.PhaseResponseBody)
		if e.duplex != nil {
			return nil, e.duplex.take(func(d *duplex) error { return d.responseBody(r.ResponseBody) })
		}
		return e.responseBody(r.ResponseBody)
	case *extprocv3.ProcessingRequest_RequestTrailers:
		return continueRequestTrailers, nil
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		if e.duplex != nil {
			return nil, e.duplex.take(func(d *duplex) error { return d.responseTrailers(r.ResponseTrailers) })
		}
		return continueResponseTrailers, nil
	}
	return nil, errUnknownMessage
}

func (e *exchange) requestHeaders(m *extprocv3.ProcessingRequest, h *extprocv3.HttpHeaders) (*reply, error) {
	if e.route != nil {
		return nil, errOutOfOrder
	}
	e.started = time.Now()
	from := attributesOf(m)
	brought := carriedBy(from)
	r, err := e.server.routes.get(&brought)
	if err != nil {
		e.server.metrics.Uninspected("", unusedFor(err))
		return nil, err
	}
	e.route, e.out.tells = r, r.policy.Host == policy.HostBoth
	req := headersOf(h)
	e.judge.Method, e.judge.Path = req.text(":method"), req.text(":path")
	e.judge.RequestHeaders = req
	e.cluster = from.text(policy.AttributeCluster)
	e.version, e.routed = r.version(e.cluster), policy.IsVersion(e.cluster)
	e.node = from.text(policy.AttributeNode)
	e.countFor(from)
	if !r.detector.Inference(e.judge.Method, e.judge.Path) {
		return e.notInference(), nil
	}
	e.judge.Version = e.version.Version
	e.enforced = r.enforces()
	if r.policy.Needs.Duplex {
		e.duplex = &duplex{exchange: e}
	}

	switch {
	case r.grpc() && e.streamsMessages():
		return e.ask(continueRequestHeaders), nil // its messages come while the model answers
	case h.EndOfStream:
		e.judge.RequestBodySeen = true // there is none
		return e.beforeModel(continueRequestHeaders), nil
	case !r.policy.Needs.RequestBody:
		return e.ask(continueRequestHeaders), nil
	case e.duplex == nil && detect.ContentLength(e.judge.RequestHeaders) > r.policy.Limits.BodyBytes:
		return e.requestOver(skipRequestBody), nil
	}
	if e.duplex != nil {
		return awaitBody, nil
	}
	return continueRequestHeaders, nil
}

// notInference lets a request go to the version uninspected. It counts as asked:
// nobody asks a version that was withdrawn, for whatever it is.
func (e *exchange) notInference() *reply {
	e.fly()
	if k, f := e.stopped(); f.Found() {
		e.land()
		return e.stop(kill.Effect{Killed: true, Mode: kill.Blackhole, Target: k.Target}, f)
	}
	e.route.metrics.Uninspected(telemetry.CauseNotInference)
	e.stage = stageFinished
	if e.routed {
		e.row.Asked(e.started)
	}
	if e.route.policy.Needs.Duplex {
		e.duplex = &duplex{exchange: e}
		return leaveStreamed
	}
	return leaveAlone
}

func (e *exchange) requestBody(b *extprocv3.HttpBody) (*reply, error) {
	if e.route == nil {
		return nil, errOutOfOrder
	}
	if e.stage != stageRequest {
		return continueRequestBody, nil
	}
	if !whole(b, e.route.policy.Limits.BodyBytes) {
		return e.requestOver(continueRequestBody), nil
	}
	if !e.hold(len(b.Body), e.judge.RequestHeaders) {
		return e.requestUnheld(), nil
	}
	e.judge.RequestBody, e.judge.RequestBodySeen = b.Body, true
	if e.route.grpc() {
		e.readMessage(b.Body)
	}
	e.shape = e.route.detector.ChatRequest(e.judge).Shape()
	return e.beforeModel(continueRequestBody), nil
}

// beforeModel is the last look at a whole request: its checks, and a cache
// that is asked first.
func (e *exchange) beforeModel(next *reply) *reply {
	if len(e.route.policy.Detect.Request) > 0 {
		if rep := e.checkRequest(); rep != nil {
			return rep
		}
	}
	if e.enforced && !e.route.grpc() { // a gRPC message is no immediate response
		first := verdict.Finding{Code: verdict.CacheFirst}
		if a, ok := e.route.ladder.First(e.ctx, e.question(first)); ok {
			return e.deliverImmediate(a, first)
		}
	}
	return e.ask(next)
}

// ask lets the request go to the model, by next, unless a guard says that it
// is not to be asked. Every way to the model leads through here, and only a
// request that is on it takes a permit: an upload that never ends holds none.
func (e *exchange) ask(next *reply) *reply {
	e.fly()
	if rep := e.stopRequest(); rep != nil {
		e.land()
		return rep
	}
	if f := e.guard(); f.Found() {
		e.land()
		return e.inPlace(f)
	}
	e.stage = stageAsked
	e.asked = time.Now()
	e.row.Asked(e.asked)
	told := e.upstreamHeaders()
	switch {
	case len(told) == 0:
		return next
	case next == continueRequestHeaders:
		return tell(requestHeaders, told)
	case next == continueRequestBody:
		return tell(requestBody, told)
	}
	return next
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
// needs no request can answer it. next lets it pass.
func (e *exchange) requestOver(next *reply) *reply {
	act := e.route.policy.Limits.RequestOver
	if act == policy.ActPass || !e.enforced {
		e.route.metrics.Uninspected(telemetry.CauseRequestOverLimit)
		return e.ask(next)
	}
	f := verdict.Finding{Code: verdict.RequestTooLarge, Detail: overDetail(e.route.policy.Limits.BodyBytes), Enforced: true}
	e.countFinding(f)
	if act == policy.ActReject {
		return e.reject(f)
	}
	return e.inPlace(f)
}

func (e *exchange) responseHeaders(m *extprocv3.ProcessingRequest, h *extprocv3.HttpHeaders) (*reply, error) {
	if e.route == nil {
		return nil, errOutOfOrder
	}
	if e.stage == stageFinished {
		return continueResponseHeaders, nil
	}
	e.stage = stageHeaders
	e.respond = headersOf(h)
	if rep := e.stopAnswer(responseHeaders); rep != nil {
		return rep, nil
	}
	x := e.judge
	x.ResponseHeaders = e.respond
	x.Status = statusOf(e.respond)
	x.CodeDetails = attributesOf(m).text(policy.AttributeCodeDetails)

	v, decided := e.route.detector.Headers(x)
	if !decided && h.EndOfStream {
		v, decided = e.route.detector.Answer(x), true
	}
	if decided {
		return e.decide(responseHeaders, &v), nil
	}
	e.sized = detect.ContentLength(x.ResponseHeaders) >= 0
	return continueResponseHeaders, nil
}

func (e *exchange) responseBody(b *extprocv3.HttpBody) (*reply, error) {
	if e.route == nil {
		return nil, errOutOfOrder
	}
	if e.stage != stageHeaders {
		return continueResponseBody, nil
	}
	if rep := e.stopAnswer(responseBody); rep != nil {
		return rep, nil
	}
	if !whole(b, e.route.policy.Limits.BodyBytes) {
		v := e.route.detector.Unread(e.judge)
		return e.decide(responseBody, &v), nil
	}
	if !e.hold(len(b.Body), e.respond) {
		return e.responseUnheld(), nil
	}
	e.judge.ResponseBody = b.Body
	v := e.route.detector.Answer(e.judge)
	return e.decide(responseBody, &v), nil
}

// decide acts on a verdict: the model's answer goes out with its tags, or the
// ladder answers.
func (e *exchange) decide(at phase, v *verdict.Verdict) *reply {
	if cause, left := telemetry.CauseOf(v.Pass); left {
		return e.unread(at, cause)
	}
	e.count(v)
	if acts := e.enforced && !v.Clean(); !acts && v.TooLarge() {
		return e.unread(at, telemetry.CauseResponseOverLimit)
	}
	if v.Pass == verdict.CallerError {
		e.countCallerError()
	} else {
		e.settle(v.Failed)
	}
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
	e.finish(e.primary(), verdict.Finding{})
	return e.version.primary(at, e.respond)
}

// replace answers from the ladder in the place of an answer that failed. Where
// Envoy holds the whole answer its body is exchanged, and the filters between
// it and the caller (CORS, for one) see the new one; elsewhere an immediate
// response ends the exchange with the model at once, however it stalls.
func (e *exchange) replace(at phase, f verdict.Finding) *reply {
	a := e.climb(f)
	if at != responseBody || !e.sized || a.Source == ladder.Refused {
		return e.deliverImmediate(a, f)
	}
	e.finish(&a, f)
	return replaced(a.Status, tagsOf(&a, f), a.Body, e.respond)
}

// inPlace answers from the ladder without asking the model. What cannot be said
// in one immediate response, Envoy asks of the ladder's own upstream.
func (e *exchange) inPlace(f verdict.Finding) *reply {
	if e.streamsMessages() { // no rung answers a conversation
		e.setAside(telemetry.CauseUnanswered)
		return immediateStatus(codes.Unavailable, f.Reason(), false)
	}
	if e.route.grpc() || e.shape.Stream && e.route.ladder.Networked() {
		e.permits.Ignore()
		e.cause, e.stage = f, stageElsewhere
		return e.elsewhere(f)
	}
	return e.deliverImmediate(e.climb(f), f)
}

func (e *exchange) deliverImmediate(a ladder.Answer, f verdict.Finding) *reply {
	if a.Source == ladder.Refused {
		f = verdict.Finding{Code: verdict.BudgetExhausted, Detail: string(f.Code), Enforced: true}
		e.countFinding(f)
	}
	e.finish(&a, f)
	return immediate(a.Status, tagsOf(&a, f), a.Body, "safestate_"+string(a.Source))
}

// climb runs the ladder, asking Envoy for time where a rung takes it.
func (e *exchange) climb(f verdict.Finding) ladder.Answer {
	q := e.question(f)
	started := time.Now()
	if e.route.ladder.Networked() && e.duplex == nil {
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

// upstreamHeaders are what Envoy's router is told for this request: timeouts
// where those of the route are not right, and that a gRPC call which fails may
// be answered by the ladder's own upstream.
func (e *exchange) upstreamHeaders() []ladder.Header {
	if e.duplex == nil {
		left := e.modelTime()
		if left <= 0 {
			return nil
		}
		return []ladder.Header{{Name: headerUpstreamTimeout, Value: milliseconds(left)}}
	}
	if !e.enforced || e.streamsMessages() {
		return nil
	}
	var out []ladder.Header
	if e.route.grpc() {
		out = append(out, ladder.Header{Name: policy.HeaderCluster, Value: e.cluster})
	}
	p := e.route.policy
	if late := p.Detect.Late; late == nil || !late.Mode.Enforces() {
		return out
	}
	whole := p.Deadline.D()
	// Of a request that was not read nobody knows whether it asked for a stream.
	if p.Stream != nil && (e.shape.Stream || !e.judge.RequestBodySeen) {
		whole = p.Stream.MaxDuration.D() + time.Second // the processor's own clock is first
	}
	spent := e.asked.Sub(e.started)
	return append(out,
		ladder.Header{Name: headerTryTimeout, Value: milliseconds(e.share() - spent)},
		ladder.Header{Name: headerUpstreamTimeout, Value: milliseconds(whole - spent)})
}

// elsewhere sends the request to the ladder's own upstream, with what is left of
// the deadline.
func (e *exchange) elsewhere(f verdict.Finding) *reply {
	left := max(time.Until(e.deadline()), time.Millisecond)
	whole := left
	if e.shape.Stream {
		whole += e.route.policy.Stream.MaxDuration.D()
	}
	return reroute(e.at, []ladder.Header{
		{Name: policy.HeaderAnswer, Value: f.Reason()},
		{Name: policy.HeaderDigest, Value: policy.Digest(e.route.text)},
		{Name: policy.HeaderCluster, Value: e.cluster},
		{Name: headerTryTimeout, Value: milliseconds(left)},
		{Name: headerUpstreamTimeout, Value: milliseconds(whole)},
	})
}

// share is the model's part of the deadline; of a stream the time that it has
// for its first content.
func (e *exchange) share() time.Duration {
	return e.route.policy.Share(e.shape.Stream)
}

func milliseconds(d time.Duration) string {
	return strconv.FormatInt(max(d.Milliseconds(), 1), 10)
}

// modelTime is what is left for the model where that is less than Envoy gives
// it, because the request's upload took a part of its time that matters, or
// because Envoy does not know which requests are enforced; 0: what Envoy gives
// is right. Where lateness is not enforced nothing is cut short.
func (e *exchange) modelTime() time.Duration {
	p := e.route.policy
	if late := p.Detect.Late; !e.enforced || late == nil || !late.Mode.Enforces() {
		return 0
	}
	model := p.Deadline.D() - p.Reserve.D()
	left := max(model-e.asked.Sub(e.started), time.Millisecond)
	given, err := strconv.ParseInt(e.requestHeader(headerUpstreamTimeout), 10, 64)
	if err == nil && left > time.Duration(given)*time.Millisecond-model/20 {
		return 0
	}
	return left
}

// How Envoy's router is told a request's timeouts: for the whole answer, and for
// the headers of one try's.
const (
	headerUpstreamTimeout = "x-envoy-upstream-rq-timeout-ms"
	headerTryTimeout      = "x-envoy-upstream-rq-per-try-timeout-ms"
)
