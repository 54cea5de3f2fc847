package faultmodel

import (
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// grpcRow is what a fault is on G where it is more than a changed answer: that
// one is in the catalogue, with G among its protocols. One of the two is set.
type grpcRow struct {
	message func(a *answer, clean []byte) []byte // changes what is framed
	serve   func(*call) bool                     // sends it; reports whether the fault went out and is not counted yet
}

func (g grpcRow) set() bool { return g.message != nil || g.serve != nil }

const crash = "CUDA error: out of memory at /opt/models/fraud/model.py:31"

var grpcCatalogue = [numFaults]grpcRow{
	S01RateLimitedRetryAfter:    {serve: failed(codeExhausted, 1, trailersOnly)},
	S01AfterHeaders:             {serve: failed(codeExhausted, 1, afterHeaders)},
	S02RateLimitedForEver:       {serve: failed(codeExhausted, 0, trailersOnly)},
	S02AfterHeaders:             {serve: failed(codeExhausted, 0, afterHeaders)},
	S03ErrorOnce:                {serve: failed(codeInternal, 1, trailersOnly)},
	S03AfterHeaders:             {serve: failed(codeInternal, 1, afterHeaders)},
	S04UnavailableForEver:       {serve: failed(codeUnavailable, 0, trailersOnly)},
	S04AfterHeaders:             {serve: failed(codeUnavailable, 0, afterHeaders)},
	S04HTTPStatus:               {serve: httpStatus},
	S05ResetBeforeHeaders:       {serve: connectionReset},
	S05StreamReset:              {serve: streamReset},
	S06NeverAnswers:             {serve: grpcNeverAnswers},
	S07SlowBody:                 {serve: slowFrame},
	S08BodyCut:                  {serve: frameThenReset},
	S08FrameShort:               {serve: frameShort},
	S08NoTrailers:               {serve: noTrailers},
	S09BodyStalls:               {serve: frameStalls},
	S16UnavailableFallbackNamed: {serve: failed(codeUnavailable, 0, trailersOnly)},
	S16AfterHeaders:             {serve: failed(codeUnavailable, 0, afterHeaders)},

	C12EmptyBody:   {serve: noMessage},
	C12EmptyObject: {message: func(*answer, []byte) []byte { return nil }},
	C12EmptyArray: {message: func(a *answer, _ []byte) []byte {
		return renderMessage(&answer{id: a.id, model: a.model, version: a.version})
	}},
	C12HeaderOnly: {message: withoutContents},

	C13TruncatedJSON: {message: func(_ *answer, m []byte) []byte { return m[:len(m)-9] }},
	C13TrailingBytes: {message: func(_ *answer, m []byte) []byte { return append(m, "\x07trailing"...) }}, // no message has a wire type 7
	C13SecondMessage: {serve: secondMessage},

	C15Huge: {message: hugeMessage},
}

// Forms of a failed call.
const (
	trailersOnly = false
	afterHeaders = true
)

// failed ends a call with a status: the first n calls only, or every one where
// n is 0; trailers-only, or with headers sent before it. A rate limit of n
// calls says when to come back.
func failed(code, n int, headersFirst bool) func(*call) bool {
	return func(c *call) bool {
		if n > 0 && c.nth >= n {
			c.frame(c.message, len(c.message))
			return false
		}
		if headersFirst {
			c.begin()
		}
		if n > 0 && code == codeExhausted {
			key := "Grpc-Retry-Pushback-Ms"
			if c.started {
				key = http.TrailerPrefix + key
			}
			c.w.Header().Set(key, "1000")
		}
		c.status(code, crash)
		return true
	}
}

// httpStatus is what a proxy in between answers that knows no gRPC.
func httpStatus(c *call) bool {
	c.started, c.ended = true, true
	c.w.Header().Set("Content-Type", "text/plain")
	c.w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = c.w.Write([]byte("no healthy upstream at /opt/models")) // as flush
	return true
}

func connectionReset(c *call) bool {
	c.server.served(S05ResetBeforeHeaders)
	abort(c.r, true)
	return false
}

func streamReset(c *call) bool {
	c.server.served(S05StreamReset)
	abort(c.r, false)
	return false
}

func grpcNeverAnswers(c *call) bool {
	c.server.served(S06NeverAnswers)
	c.hold()
	return false
}

// framed is the whole frame of the clean message.
func (c *call) framed() []byte {
	n := len(c.message)
	return append([]byte{0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, c.message...)
}

// part sends headers and the first half of the frame.
func (c *call) part() {
	c.begin()
	f := c.framed()
	_, _ = c.w.Write(f[:len(f)/2]) // as flush
	c.flush()
}

// slowFrame sends the headers at once and then a byte every 50 ms.
func slowFrame(c *call) bool {
	c.begin()
	c.server.served(S07SlowBody)
	for _, b := range c.framed() {
		if !pause(c.r, 50*time.Millisecond) {
			c.server.left()
			c.ended = true
			return false
		}
		_, _ = c.w.Write([]byte{b}) // as flush
		c.flush()
	}
	return false
}

func frameThenReset(c *call) bool {
	c.part()
	c.server.served(S08BodyCut)
	abort(c.r, false)
	return false
}

// frameShort ends with status OK in the middle of a message.
func frameShort(c *call) bool {
	c.part()
	c.status(codeOK, "")
	return true
}

// noTrailers ends the stream after a whole message without saying how it went.
func noTrailers(c *call) bool {
	c.frame(c.message, len(c.message))
	c.ended = true
	return true
}

func frameStalls(c *call) bool {
	c.part()
	c.server.served(S09BodyStalls)
	c.hold()
	return false
}

// noMessage ends a call with status OK and no message.
func noMessage(c *call) bool {
	c.begin()
	c.status(codeOK, "")
	return true
}

func secondMessage(c *call) bool {
	c.frame(c.message, len(c.message))
	c.frame(c.message, len(c.message))
	return true
}

// withoutContents declares the outputs and leaves their elements out.
func withoutContents(a *answer, _ []byte) []byte {
	bare := *a
	bare.typed = true
	bare.outputs = nil
	for _, t := range a.outputs {
		t.raw, t.text = nil, nil
		bare.outputs = append(bare.outputs, t)
	}
	return renderMessage(&bare)
}

// hugeMessage has a 16 MiB parameter.
func hugeMessage(_ *answer, m []byte) []byte {
	const parameters, stringParam = 4, 3
	entry := appendString(nil, 1, "padding")
	entry = appendBytes(entry, 2, appendString(nil, stringParam, strings.Repeat("x", hugeBytes)))
	m = protowire.AppendTag(m, parameters, protowire.BytesType)
	return protowire.AppendBytes(m, entry)
}
