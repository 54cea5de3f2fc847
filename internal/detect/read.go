package detect

import (
	"errors"
	"strconv"

	"github.com/safestate/safestate/internal/inflate"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/verdict"
)

// limits bounds a body's JSON. A number's length is no matter of parsing here:
// a 400-digit integer in a place that nobody looks at is the model's business,
// and one in an inspected place is found by overlong. The number of values is
// what 1 MiB of nested arrays can hold; a tape record is 32 bytes.
var limits = scan.Limits{Depth: 64, NumberChars: 16 << 20, Nodes: 1 << 19}

// failure is why a body could not be read: a code of the answer's, to be
// translated for requests. The zero value is none.
type failure struct {
	code   verdict.Code
	detail string
	// ambiguous failures are no damage: two readers could read two answers.
	ambiguous bool
	// wellFormed says that the body is JSON with one meaning, though not what
	// the protocol wants: a check of a request names the field better.
	wellFormed bool
}

func (f failure) found() bool { return f.code != "" }

func at(code verdict.Code, offset int) failure {
	return failure{code: code, detail: strconv.Itoa(offset)}
}

// header returns a header's value, "" where it is missing.
func header(h Headers, name string) string {
	if h == nil {
		return ""
	}
	v, _ := h.Get(name)
	return v
}

// answerSide reads an answer's body once.
func answerSide(s *side, p policy.Protocol, h Headers, body []byte) *side {
	if !s.read {
		s.open(p, h, body, false)
		if !s.failure.found() {
			s.problem(s.message.ReadAnswer(p, s.doc.Root(), s.tail))
		}
	}
	return s
}

// requestSide reads a request's body once. A body that the host has not seen
// is no failure: there is then no document.
func requestSide(x *Exchange, p policy.Protocol) *side {
	s := &x.request
	if !s.read && x.RequestBodySeen {
		s.open(p, x.RequestHeaders, x.RequestBody, true)
		if !s.failure.found() {
			s.problem(s.message.ReadRequest(p, s.doc.Root(), s.tail))
		}
	}
	return s
}

// open inflates, splits and parses a body.
func (s *side) open(p policy.Protocol, h Headers, body []byte, request bool) {
	s.read = true
	encoding := header(h, "content-encoding")
	if p == policy.OpenInferenceGRPC {
		s.openGRPC(encoding, body, request)
		return
	}
	if !inflate.Identity(encoding) {
		inflated, err := inflate.Body(s.room[:0], encoding, body)
		if err != nil {
			s.failure = failure{code: verdict.BrokenInflate, detail: err.Error()}
			if errors.Is(err, inflate.ErrUnknown) {
				s.failure = failure{code: verdict.BrokenEncoding, detail: encoding}
			}
			return
		}
		s.room, body = inflated, inflated
	}
	s.json = body
	if length := header(h, protocol.HeaderLength); length != "" {
		var p protocol.Problem
		if s.json, s.tail, p = protocol.SplitBinary(length, body); p.Found() {
			s.problem(p)
			return
		}
	}
	if err := s.doc.Parse(s.json, limits); err != nil {
		s.failure = parseFailure(err)
	}
}

// openGRPC transcodes a message to the JSON and tail that REST would have. gRPC
// compresses messages, not bodies: with a content-encoding nobody knows what the
// caller reads.
func (s *side) openGRPC(encoding string, message []byte, request bool) {
	if !inflate.Identity(encoding) {
		s.failure = failure{code: verdict.BrokenEncoding, detail: quoted([]byte(encoding))}
		return
	}
	s.grpc = true
	var p protocol.Problem
	s.head, s.room, p = protocol.FromGRPC(s.head[:0], s.room[:0], message, request)
	if p.Found() {
		s.problem(p)
		return
	}
	s.json, s.tail = s.head, s.room
	if err := s.doc.Parse(s.json, limits); err != nil {
		s.failure = parseFailure(err)
	}
}

func parseFailure(err error) failure {
	e, ok := err.(*scan.Error)
	if !ok {
		return at(verdict.BrokenSyntax, 0)
	}
	switch e.Code {
	case scan.Truncated:
		return at(verdict.BrokenTruncated, e.Offset)
	case scan.Trailing:
		return at(verdict.BrokenTrailing, e.Offset)
	case scan.Empty:
		return failure{code: verdict.BrokenEmpty, detail: "body"}
	case scan.UTF8:
		return at(verdict.BrokenUTF8, e.Offset)
	case scan.Depth, scan.TooManyNodes:
		return at(verdict.BrokenDepth, e.Offset)
	case scan.NumberLength:
		return at(verdict.BrokenNumber, e.Offset)
	default: // Syntax, BOM, TooLarge
		return at(verdict.BrokenSyntax, e.Offset)
	}
}

// problem turns a protocol's objection into a failure.
func (s *side) problem(p protocol.Problem) {
	switch p.Kind {
	case protocol.OK:
	case protocol.Empty:
		s.failure = failure{code: verdict.BrokenEmpty, detail: p.Where(), wellFormed: true}
	case protocol.Duplicate:
		s.failure = failure{code: verdict.BrokenDuplicate, detail: p.Where(), ambiguous: true}
	case protocol.ErrorObject:
		s.failure = failure{code: verdict.BrokenErrorObject, detail: p.Where()}
	case protocol.Truncated:
		s.failure = at(verdict.BrokenTruncated, len(s.json)+p.Offset)
	case protocol.Trailing:
		s.failure = at(verdict.BrokenTrailing, len(s.json)+p.Offset)
	case protocol.UTF8:
		s.failure = at(verdict.BrokenUTF8, p.Offset)
	case protocol.Malformed:
		s.failure = at(verdict.BrokenGRPCMessage, p.Offset)
	case protocol.Form:
		s.failure = failure{code: verdict.BrokenForm, detail: p.Where(), wellFormed: s.tail == nil && s.doc.Root().Exists()}
		if s.grpc {
			s.failure.code = verdict.BrokenGRPCMessage
		}
	}
}
