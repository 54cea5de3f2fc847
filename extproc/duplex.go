package extproc

import (
	"sync"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/ladder"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/telemetry"
	"github.com/safestate/safestate/internal/verdict"
)

// duplex is the response half of an exchange whose answer comes piece by piece
// (chat, gRPC). Envoy sends headers, pieces and trailers as they come and waits
// for no reply, so that the reply to the headers is withheld until the answer is
// decided: until then nothing has reached the caller and any rung may answer.
//
// The flow: held, then one of
//
//	flowing   the first content has gone out; what is inspected follows, and a
//	          failure ends the stream with an error event (stream.go)
//	echoing   not ours to judge, or judged already: goes through as it is
//	supplanted another answer goes out, the model's is dropped (relay.go)
//
// Messages and timers come on different goroutines; mu makes them take turns.
type duplex struct {
	exchange *exchange

	mu    sync.Mutex
	state flow
	kind  answerKind

	stream   *detect.Stream   // of a streamed answer
	messages *messages        // of a stream of gRPC messages
	body     []byte           // of a whole answer, as far as it has come
	pieces   int              // of the model's body, that Envoy has sent
	size     int64            // of those, in bytes
	waiting  *rescue          // with state awaiting
	trailed  bool             // the answer ends in trailers, which are here
	spoiled  *verdict.Verdict // of a message that is not kept: its trailers are waited for

	timer *time.Timer // nil: none was needed yet
	bound time.Time   // when an answer that is held is late
	last  time.Time   // when the model last sent something

	// unended: a stream is clean up to its end mark, and counts once it has ended.
	// took is how long it has taken until then.
	unended bool
	took    time.Duration

	// headersOnly: the model's answer ended with its headers. closed: its body has
	// ended.
	headersOnly, closed bool
	spoke               bool          // the message at hand brought something of the answer
	relayed             chan struct{} // closed once a relay has ended; nil: there is none
	cancel              func()        // ends a relay
}

// take handles one message. A model that spoke has spoken until then: while the
// caller reads slowly a piece waits here, and that is no silence of the model's.
func (d *duplex) take(handle func(*duplex) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spoke = true
	err := handle(d)
	if d.spoke {
		d.last = time.Now()
	}
	return err
}

// flow is how far a duplex answer has come.
type flow int

const (
	unbegun flow = iota // the headers are not here
	held
	flowing
	echoing
	awaiting // another answer is here, and Envoy does not take it yet
	supplanted
	over
)

// answerKind is what an answer is judged as.
type answerKind int

const (
	wholeAnswer  answerKind = iota // one JSON body
	eventStream                    // server-sent events
	grpcMessage                    // one message and the trailers behind it
	grpcMessages                   // messages until the trailers
)

// responseHeaders decides what can be decided without the body, and else begins
// to hold the answer.
func (d *duplex) responseHeaders(m *extprocv3.ProcessingRequest, h *extprocv3.HttpHeaders) error {
	e := d.exchange
	e.respond = headersOf(h)
	if e.stage == stageFinished {
		d.state = echoing
		return e.out.send(continueResponseHeaders)
	}
	x := e.judge
	x.ResponseHeaders = e.respond
	x.Status = statusOf(e.respond)
	x.CodeDetails = attributesOf(m).text(policy.AttributeCodeDetails)
	// A reply of Envoy's own has a source too, and is none of the ladder's.
	if source := e.respond.text(verdict.HeaderSource); source != "" && detect.ViaUpstream(x.CodeDetails) {
		return d.answeredUpstream(source)
	}
	if e.stage == stageElsewhere {
		return d.unanswered()
	}
	e.stage = stageHeaders
	d.kind, d.headersOnly = e.answerKind(), h.EndOfStream
	if h.EndOfStream && e.route.grpc() {
		return d.trailersOnly()
	}
	d.state = held
	if ended, err := d.stopIfKilled(); ended {
		return err
	}
	d.state = unbegun
	v, decided := e.route.detector.Headers(x)
	if !decided && h.EndOfStream {
		v, decided = e.route.detector.Answer(x), true
	}
	if decided {
		return d.decide(&v)
	}
	return d.hold()
}

// answerKind tells by the request, and of chat by the answer's content-type,
// how the body is to be read.
func (e *exchange) answerKind() answerKind {
	switch {
	case e.route.grpc() && e.streamsMessages():
		return grpcMessages
	case e.route.grpc():
		return grpcMessage
	// Of a request that was not read nobody knows whether it asked for a stream.
	case (e.shape.Stream || !e.judge.RequestBodySeen) && chat.IsStream(e.respond.text("content-type")):
		return eventStream
	}
	return wholeAnswer
}

// hold begins to judge the body. Of an answer that is only observed nothing is
// held: it goes out as it comes, and is judged on the side.
func (d *duplex) hold() error {
	e := d.exchange
	d.state = held
	e.server.streams.add(d)
	if ended, err := d.stopIfKilled(); ended { // by a kill that did not find it there
		return err
	}
	switch d.kind {
	case eventStream:
		d.stream = e.route.detector.Stream(e.judge)
	case grpcMessages:
		d.messages = &messages{}
		return d.begin()
	}
	if !e.enforced {
		if d.kind == eventStream {
			defer e.forget()
		}
		return d.begin()
	}
	if late := e.route.policy.Detect.Late; late != nil && late.Mode.Enforces() {
		d.bound = e.started.Add(e.share())
		d.arm(time.Until(d.bound))
	}
	return nil
}

// begin lets the model's headers go out, tagged; the body follows as it comes.
func (d *duplex) begin() error {
	e := d.exchange
	d.state = flowing
	e.answered = time.Now()
	return e.out.send(e.version.begin(e.respond, e.enforced))
}

// responseBody takes one piece of the answer.
func (d *duplex) responseBody(b *extprocv3.HttpBody) error {
	e := d.exchange
	d.pieces++
	d.size += int64(len(b.Body))
	d.closed = d.closed || b.EndOfStream
	switch {
	case d.state == awaiting:
		return d.relay(d.waiting.answer, d.waiting.cause)
	case d.state == supplanted && d.closed:
		e.permits.release() // the model is done, whatever goes on in its place
		e.land()
		return nil
	case d.state == echoing:
		return e.out.send(piece(b.Body, b.EndOfStream))
	case d.state != held && d.state != flowing:
		return nil // another answer has taken its place
	}
	if ended, err := d.stopIfKilled(); ended {
		return err
	}
	switch d.kind {
	case eventStream:
		return d.feed(b.Body, b.EndOfStream)
	case grpcMessages:
		return d.feedMessages(b.Body, b.EndOfStream)
	}
	return d.collect(b)
}

// collect keeps the pieces of a whole answer until its end.
func (d *duplex) collect(b *extprocv3.HttpBody) error {
	e := d.exchange
	if d.state == flowing { // observed: the caller has it already
		if err := e.out.send(piece(b.Body, b.EndOfStream)); err != nil {
			return err
		}
	}
	if d.spoiled != nil {
		return nil
	}
	if int64(len(d.body)+len(b.Body)) > e.route.policy.Limits.BodyBytes {
		return d.overLimit(b)
	}
	if !e.hold(len(b.Body), e.respond) {
		return d.unheld(b)
	}
	d.body = append(d.body, b.Body...)
	if !b.EndOfStream {
		return nil
	}
	return d.judge()
}

// judge judges a whole answer.
func (d *duplex) judge() error {
	e := d.exchange
	switch {
	case d.spoiled != nil:
		return d.decide(d.spoiled)
	case d.kind == grpcMessage:
		return d.judgeMessage()
	}
	e.judge.ResponseBody = d.body
	v := e.route.detector.Answer(e.judge)
	return d.decide(&v)
}

// overLimit decides an answer that is not read to its end.
func (d *duplex) overLimit(b *extprocv3.HttpBody) error {
	v := d.exchange.route.detector.Unread(d.exchange.judge)
	if d.kind == grpcMessage && d.exchange.enforced && !v.Clean() {
		d.spoiled, d.body = &v, nil // another can only be put before the trailers
		return nil
	}
	if d.state == held {
		d.body = append(d.body, b.Body...)
	}
	return d.decide(&v)
}

// unheld decides an answer for which the processor has no memory to spare.
func (d *duplex) unheld(b *extprocv3.HttpBody) error {
	e := d.exchange
	if e.passesUnheld() {
		if d.state == held {
			d.body = append(d.body, b.Body...)
		}
		e.setAside(telemetry.CauseMemory)
		return d.release(nil, nil)
	}
	e.permits.Ignore()
	return d.replace(e.outOfMemory())
}

// responseTrailers takes the trailers, behind which nothing comes.
func (d *duplex) responseTrailers(t *extprocv3.HttpTrailers) error {
	e := d.exchange
	d.trailed = true
	switch {
	case d.state == echoing:
		return e.out.send(continueResponseTrailers)
	case d.state != held && d.state != flowing:
		return nil
	}
	e.trailers = trailersOf(t)
	if ended, err := d.stopIfKilled(); ended {
		return err
	}
	switch d.kind {
	case eventStream:
		return d.feed(nil, true)
	case grpcMessages:
		return d.feedMessages(nil, true)
	}
	return d.judge()
}

// decide acts on a verdict. It is exchange.decide for an answer of which nothing,
// or (observed) everything so far, has gone out.
func (d *duplex) decide(v *verdict.Verdict) error {
	e := d.exchange
	if cause, left := telemetry.CauseOf(v.Pass); left {
		e.setAside(cause)
		return d.release(nil, nil)
	}
	events := d.restream(v)
	e.count(v)
	acts := e.enforced && !v.Clean()
	if !acts && v.TooLarge() {
		e.setAside(telemetry.CauseResponseOverLimit)
		return d.release(nil, nil)
	}
	if v.Pass == verdict.CallerError {
		e.countCallerError()
	} else {
		e.settle(v.Failed)
	}
	e.countTokens(!v.Clean())
	if acts {
		return d.replace(v.Failed)
	}
	spotless := len(v.Observed) == 0 && v.Clean()
	e.route.ladder.Clean(e.judge, e.version.Version, spotless && e.judge.Status == 200)
	e.finish(e.primary(), verdict.Finding{})
	if events != nil {
		return d.releaseStream(events)
	}
	tags, strip := e.version.tagsOn(e.respond)
	return d.release(tags, strip)
}

// release lets the model's answer go: its headers, and what has been kept of
// its body. What has gone out already does not go again.
func (d *duplex) release(tags []ladder.Header, strip []string) error {
	if d.state == flowing {
		d.state = echoing
		return d.releaseTrailers()
	}
	if err := d.echo(tags, strip); err != nil {
		return err
	}
	body := d.body
	d.body = nil
	last := d.closed && !d.trailed
	if len(body) > 0 || last {
		if err := d.exchange.out.send(piece(body, last)); err != nil {
			return err
		}
	}
	return d.releaseTrailers()
}

func (d *duplex) releaseTrailers() error {
	if !d.trailed {
		return nil
	}
	return d.exchange.out.send(continueResponseTrailers)
}

// echo lets the headers go, and all that follows as it comes. With tags it is an
// answer that was judged.
func (d *duplex) echo(tags []ladder.Header, strip []string) error {
	d.state = echoing
	e := d.exchange
	if len(tags) == 0 && len(strip) == 0 {
		if e.out.tells {
			return e.out.send(seenResponseHeaders)
		}
		return e.out.send(continueResponseHeaders)
	}
	return e.out.send(dynamic(done(beginning(0, tags, strip).message)))
}

// answeredUpstream takes an answer of the ladder's own upstream: Envoy sent the
// request there because the version failed, or because this exchange did.
func (d *duplex) answeredUpstream(source string) error {
	e := d.exchange
	f := e.cause
	if !f.Found() {
		f = versionFailed
		e.countFinding(f)
		e.settle(f)
	}
	e.finish(&ladder.Answer{
		Source: ladder.Source(source), Status: statusOf(e.respond),
		Model: e.respond.text(verdict.HeaderModel), Version: e.respond.text(verdict.HeaderVersion),
	}, f)
	e.forget()
	return d.echo([]ladder.Header{{Name: verdict.HeaderReason, Value: f.Reason()}}, nil)
}

// unanswered lets an error go out that nothing could put an answer in place of.
func (d *duplex) unanswered() error {
	d.exchange.setAside(telemetry.CauseUnanswered)
	return d.echo(nil, nil)
}

// end is called once the gRPC stream is over. Nothing of the exchange is used
// by a timer or a relay afterwards.
func (d *duplex) end() {
	d.mu.Lock()
	last := d.state
	d.state = over
	if d.timer != nil {
		d.timer.Stop()
	}
	cancel, relayed := d.cancel, d.relayed
	if last == awaiting {
		d.waiting.answer.Stream.Close()
	}
	d.unended = false // Envoy says how it ended
	d.mu.Unlock()
	d.exchange.server.streams.remove(d)
	if cancel != nil {
		cancel()
		<-relayed
	}
	if last == flowing && d.exchange.stage != stageFinished {
		d.left()
	}
}
