package extproc

import (
	"net/http"
	"strconv"
	"strings"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"

	"github.com/safestate/safestate/internal/inflate"
	"github.com/safestate/safestate/internal/ladder"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/telemetry"
	"github.com/safestate/safestate/internal/verdict"
)

// Names of gRPC over HTTP/2 (PROTOCOL-HTTP2.md of grpc/grpc).
const (
	headerGRPCStatus   = "grpc-status"
	headerGRPCMessage  = "grpc-message"
	headerGRPCDetails  = "grpc-status-details-bin"
	headerGRPCEncoding = "grpc-encoding"
)

// streamsMessages reports whether the request is a stream of messages rather
// than one.
func (e *exchange) streamsMessages() bool {
	return e.route.grpc() && protocol.Streams(e.judge.Path)
}

// readMessage takes a gRPC request's one message out of its frame. What is no
// frame stays as it is, and is no message to whoever reads it.
func (e *exchange) readMessage(body []byte) {
	if m, ok := unframed(body, e.requestHeader(headerGRPCEncoding)); ok {
		e.judge.RequestBody = m
	}
}

// unframed returns the one message that a body holds, inflated.
func unframed(body []byte, encoding string) ([]byte, bool) {
	m, compressed, rest, ok := protocol.Unframe(body)
	if !ok || len(rest) > 0 {
		return nil, false
	}
	if !compressed {
		return m, true
	}
	out, err := inflate.Body(nil, encoding, m)
	return out, err == nil
}

// statusGRPC reads grpc-status from trailers, or from headers where the answer
// has no others; -1 where it is missing or no number.
func statusGRPC(h ...headers) int {
	for _, from := range h {
		if text, ok := from.Get(headerGRPCStatus); ok {
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 {
				return -1
			}
			return n
		}
	}
	return -1
}

// trailersOnly decides a call that failed without a message. Nothing can be put
// in the place of that here: Envoy sends such a call on to the ladder's own
// upstream, and this is what came of it, or the caller's own error.
func (d *duplex) trailersOnly() error {
	e := d.exchange
	v := e.judgeStatus(statusGRPC(e.respond))
	if v.Clean() || !e.enforced {
		return d.decide(&v)
	}
	e.count(&v)
	e.settle(v.Failed)
	// The ladder itself refused: a version's copy of the header is stripped.
	if e.respond.text(verdict.HeaderReason) == string(verdict.BudgetExhausted) {
		return d.unavailable(verdict.Finding{Code: verdict.BudgetExhausted, Detail: string(v.Failed.Code), Enforced: true})
	}
	return d.unavailable(v.Failed)
}

// judgeStatus judges an answer by the status that its call ended with.
func (e *exchange) judgeStatus(status int) verdict.Verdict {
	e.judge.Status = protocol.HTTPStatus(status)
	v, decided := e.route.detector.Headers(e.judge)
	if !decided {
		v = e.route.detector.Answer(e.judge)
	}
	return v
}

// judgeMessage judges the one message of a call, or the status without one.
func (d *duplex) judgeMessage() error {
	e := d.exchange
	x := e.judge
	status := statusGRPC(e.trailers)
	if status != int(codes.OK) {
		v := e.judgeStatus(status)
		return d.decide(&v)
	}
	x.ResponseBody = d.body
	if m, ok := unframed(d.body, e.respond.text(headerGRPCEncoding)); ok {
		x.ResponseBody = m
	}
	v := e.route.detector.Answer(x)
	return d.decide(&v)
}

// replaceMessage puts the ladder's message in the place of the model's, whose
// trailers it needs: where they are missing Envoy can be told an error only.
func (d *duplex) replaceMessage(f verdict.Finding) error {
	e := d.exchange
	if d.state == flowing || !d.trailed {
		return d.unavailable(f)
	}
	a := e.climb(f)
	if a.Source == ladder.Refused {
		return d.unavailable(verdict.Finding{Code: verdict.BudgetExhausted, Detail: string(f.Code), Enforced: true})
	}
	m, err := e.route.messageOf(&a, e.judge.RequestBody)
	if err != nil {
		e.server.log.Error().Err(err).Str("route", e.route.policy.Route).Str("source", string(a.Source)).
			Msg("an answer of the ladder is no message")
		return d.unavailable(f)
	}
	d.state = over
	a.ContentType, a.Extra = protocol.TypeGRPC, nil
	e.finish(&a, f)
	tags := tagsOf(&a, f)
	strip := append(dropped(e.respond, tags), "content-length")
	replies := []*reply{
		dynamic(done(beginning(http.StatusOK, tags, strip).message)),
		piece(protocol.Frame(nil, m), false),
		ending([]ladder.Header{{Name: headerGRPCStatus, Value: "0"}}, []string{headerGRPCMessage, headerGRPCDetails}),
	}
	if d.pieces == 0 {
		tags = append(tags,
			ladder.Header{Name: policy.HeaderGRPCStatus, Value: "0"},
			ladder.Header{Name: policy.HeaderGRPCMessage, Value: "answered by safestate"})
		replies = []*reply{messageBehindHeaders(tags, strip, protocol.Frame(nil, m))}
	}
	for _, r := range replies {
		if err := e.out.send(r); err != nil {
			return err
		}
	}
	return nil
}

// messageOf makes the message of an answer: the fallback model's own, or the
// Open Inference JSON of the other rungs in the form that the request uses.
func (r *route) messageOf(a *ladder.Answer, request []byte) ([]byte, error) {
	if strings.HasPrefix(a.ContentType, protocol.TypeGRPC) {
		return a.Body, nil
	}
	text, tail := a.Body, []byte(nil)
	for _, h := range a.Extra {
		if h.Name != protocol.HeaderLength {
			continue
		}
		var p protocol.Problem
		if text, tail, p = protocol.SplitBinary(h.Value, a.Body); p.Found() {
			return nil, errBinary
		}
	}
	// Of a request that was not seen: every client reads raw values, some read
	// no others.
	raw := request == nil || protocol.AskedRaw(request)
	return protocol.ToGRPC(nil, text, tail, protocol.Options{Raw: raw})
}

// unavailable ends a call with UNAVAILABLE and a text of our own: the model's
// may hold paths and stack traces.
func (d *duplex) unavailable(f verdict.Finding) error {
	e := d.exchange
	d.state = over
	e.setAside(telemetry.CauseUnanswered)
	return e.out.send(immediateStatus(codes.Unavailable, f.Reason(), e.lastRungAnswers() && f.Code != verdict.BudgetExhausted))
}

// lastRungAnswers reports whether Envoy alone has a message for what nothing
// else answers.
func (e *exchange) lastRungAnswers() bool {
	return e.route.policy.GRPCLastRung == policy.LastRungAnswer
}

// immediateStatus ends a gRPC call with a status, before or in the place of the
// model's answer; lastRung: Envoy is to put its own message in the place of that.
func immediateStatus(code codes.Code, reason string, lastRung bool) *reply {
	tags := []ladder.Header{{Name: verdict.HeaderReason, Value: reason}}
	if lastRung {
		tags = append(tags, ladder.Header{Name: policy.HeaderUnanswered, Value: reason})
	}
	return dynamic(&message{Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
		Status:     &typev3.HttpStatus{Code: typev3.StatusCode_OK},
		GrpcStatus: &extprocv3.GrpcStatus{Status: uint32(code)},
		Headers:    &extprocv3.HeaderMutation{SetHeaders: setHeaders(tags)},
		Body:       []byte("safestate: " + reason),
		Details:    "safestate_" + strings.ToLower(code.String()),
	}}})
}

// messages is the state of a stream of messages.
type messages struct {
	tail   []byte          // of a message, as far as it has come
	skip   int64           // bytes of a message over the limit that are still to come
	pass   bool            // those bytes go to the caller
	failed verdict.Finding // the last one that was replaced; zero: none
	found  verdict.Finding // the last one that failed, replaced or not
}

// feedMessages judges each message of a stream by itself as it comes; one that
// fails is replaced by an error in the protocol's own form, and the stream goes
// on.
func (d *duplex) feedMessages(b []byte, ended bool) error {
	e := d.exchange
	in := b
	if len(d.messages.tail) > 0 {
		in = append(d.messages.tail, b...)
	}
	var out []byte
	for {
		if in, out = d.messages.over(in, out); d.messages.skip > 0 {
			break
		}
		size, ok := protocol.FrameSize(in)
		if ok && size > e.route.policy.Limits.BodyBytes {
			out = append(out, d.tooLarge(size)...)
			continue
		}
		if !ok || ended && size > int64(len(in)) {
			return d.endUnreadable(out, in, ended)
		}
		if size == 0 || size > int64(len(in)) {
			break
		}
		out = append(out, d.judgeOne(in[:size])...)
		in = in[size:]
	}
	if ended && (len(in) > 0 || d.messages.skip > 0) {
		return d.endUnreadable(out, in, true)
	}
	d.messages.tail = append(d.messages.tail[:0], in...)
	if len(out) > 0 || ended && !d.trailed {
		if err := e.out.send(piece(out, ended && !d.trailed)); err != nil {
			return err
		}
	}
	if !ended {
		return nil
	}
	d.endMessages()
	if f := d.failedStatus(); f.Found() {
		d.state = echoing
		return e.out.send(ending([]ladder.Header{{Name: headerGRPCMessage, Value: "safestate: " + f.Reason()}}, []string{headerGRPCDetails}))
	}
	return d.endCaller()
}

// failedStatus is why a stream of messages ended by an error that is not the
// caller's: its status stays, the model's text may hold paths and stack traces.
func (d *duplex) failedStatus() verdict.Finding {
	e := d.exchange
	status := statusGRPC(e.trailers)
	if status <= 0 || !e.enforced {
		return verdict.Finding{}
	}
	return d.judgeEnd(status).Failed
}

// judgeEnd judges a stream of messages by the status that it ended with.
func (d *duplex) judgeEnd(status int) verdict.Verdict {
	x := d.exchange.judge
	x.ResetAnswer()
	x.ResponseHeaders, x.Status = d.exchange.respond, protocol.HTTPStatus(status)
	v, _ := d.exchange.route.detector.Headers(x)
	return v
}

// over takes the bytes of a message over the limit off in, and gives them to out
// where they may pass.
func (m *messages) over(in, out []byte) (restIn, restOut []byte) {
	n := min(m.skip, int64(len(in)))
	m.skip -= n
	if m.pass {
		out = append(out, in[:n]...)
	}
	return in[n:], out
}

// tooLarge begins a message over the limit, which is not read: it passes, or its
// place is taken by the error that is returned.
func (d *duplex) tooLarge(size int64) []byte {
	e := d.exchange
	d.messages.skip = size
	d.messages.pass = !e.enforced || e.route.policy.Limits.ResponseOver == policy.OverPass
	if d.messages.pass {
		e.route.metrics.Uninspected(telemetry.CauseResponseOverLimit)
		return nil
	}
	d.messages.failed = verdict.Finding{Code: verdict.BrokenTooLarge, Detail: overDetail(e.route.policy.Limits.BodyBytes), Enforced: true}
	d.messages.found = d.messages.failed
	e.countFinding(d.messages.failed)
	return errorFrame(d.messages.failed)
}

// errorFrame is the message that takes the place of one that failed.
func errorFrame(f verdict.Finding) []byte {
	return protocol.Frame(nil, protocol.AppendStreamed(nil, nil, "safestate: "+f.Reason()))
}

// endUnreadable ends a stream of messages in which the next one cannot be found:
// Envoy resets it, which every client raises. One that is only observed goes on
// unread. out is what has been judged, rest what has not.
func (d *duplex) endUnreadable(out, rest []byte, ended bool) error {
	e := d.exchange
	if !e.enforced {
		e.setAside(telemetry.CauseResponseOverLimit)
		if err := e.out.send(piece(append(out, rest...), ended && !d.trailed)); err != nil {
			return err
		}
		return d.endCaller()
	}
	if len(out) > 0 {
		if err := e.out.send(piece(out, false)); err != nil {
			return err
		}
	}
	f := verdict.Finding{Code: verdict.BrokenGRPCMessage, Enforced: true}
	d.state = over
	e.countFinding(f)
	e.settle(f)
	a := e.primary()
	a.Source = cut
	e.finish(a, f)
	return e.out.send(immediateStatus(codes.Unavailable, f.Reason(), false))
}

// judgeOne returns a frame as it is, or the frame of the error that takes its
// place.
func (d *duplex) judgeOne(frame []byte) []byte {
	e := d.exchange
	x := e.judge
	x.ResetAnswer()
	x.Status, x.ResponseHeaders, x.ResponseBody = 200, e.respond, frame
	if m, ok := unframed(frame, e.respond.text(headerGRPCEncoding)); ok {
		failure, answer, p := protocol.ReadStreamed(m)
		switch {
		case p.Found():
			x.ResponseBody = m // no message to the detector either
		case len(failure) > 0:
			return frame // the model says itself that it has no answer to this one
		default:
			x.ResponseBody = answer
		}
	}
	v := e.route.detector.Answer(x)
	e.count(&v)
	if !v.Clean() {
		d.messages.found = v.Failed
	}
	if v.Clean() || !e.enforced {
		return frame
	}
	d.messages.failed = v.Failed
	return errorFrame(v.Failed)
}

// endMessages counts a stream of messages as one answer.
func (d *duplex) endMessages() {
	e := d.exchange
	d.countMessages()
	e.finish(e.primary(), d.messages.failed)
}
