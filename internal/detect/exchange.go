package detect

import (
	"github.com/safestate/safestate/internal/expr"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/scan"
)

// Headers reads one message's headers. Names are asked for in lower case; of
// a header that occurs more than once the first value counts.
type Headers interface {
	Get(name string) (string, bool)
}

// Exchange is one request and its answer, as far as they are known. It is
// reusable after Reset and not safe for concurrent use; it owns the documents
// that its bodies are parsed into, whose memory stays for the next exchange.
// Do not copy it once a Detector has seen it.
//
// The fields are set by the host, at any time before the call that needs them.
// The bodies of a gRPC exchange are serialized messages, without gRPC's frame
// and not compressed, and its status is what protocol.HTTPStatus makes of the
// call's.
//
// A body must not change after the first call of a Detector that reads it,
// until Reset.
type Exchange struct {
	Method, Path    string
	RequestHeaders  Headers // nil: none
	RequestBody     []byte  // as received, with its content-encoding
	RequestBodySeen bool    // RequestBody is the whole body, be it empty

	Version policy.Version // the version that was asked

	Status          int
	ResponseHeaders Headers // nil: none
	ResponseBody    []byte  // the whole body, as received, with its content-encoding
	// CodeDetails is Envoy's response.code_details; "via_upstream" or "" for
	// the model's own answers.
	CodeDetails string

	request, response, fallback side
	env                         expr.Env
	seen                        []bool // which promised outputs, or choices, were met
	content                     contentRoom
}

// Reset makes x ready for another exchange. It lets go of all bodies and keeps
// the memory of its documents, up to a few hundred kilobytes each.
func (x *Exchange) Reset() {
	x.request.reset()
	x.response.reset()
	x.fallback.reset()
	x.content.reset()
	*x = Exchange{request: x.request, response: x.response, fallback: x.fallback, seen: x.seen[:0], content: x.content}
}

// ResetAnswer makes x ready for another answer to the same request, as of a
// stream of messages.
func (x *Exchange) ResetAnswer() {
	x.response.reset()
	x.Status, x.ResponseHeaders, x.ResponseBody, x.CodeDetails = 0, nil, nil, ""
}

// keepRoom is the largest buffer of an inflated or transcoded body that is
// kept for the next exchange.
const keepRoom = 64 << 10

// side is one body: raw, inflated, parsed and read as its protocol has it,
// each once and only when something asks.
type side struct {
	read    bool
	json    []byte // the body's JSON, identity
	tail    []byte // what follows it, in the binary tensor extension
	grpc    bool   // both were made of a gRPC message
	doc     scan.Document
	message protocol.Message
	failure failure // why the body could not be read; the message is then not to be used
	room    []byte  // holds an inflated body, or the tail of a gRPC message
	head    []byte  // holds the JSON of a gRPC message

	// The JSON that expressions see of a body with binary tensors.
	transcoded     bool
	transcodedDoc  scan.Document
	transcodedRoom []byte
}

func (s *side) reset() {
	s.doc.Reset()
	s.transcodedDoc.Reset()
	*s = side{
		doc: s.doc, message: s.message, room: keep(s.room), head: keep(s.head),
		transcodedDoc: s.transcodedDoc, transcodedRoom: keep(s.transcodedRoom),
	}
	s.message.Forget()
}

func keep(b []byte) []byte {
	if cap(b) > keepRoom {
		return nil
	}
	return b[:0]
}

// root returns the body as expressions see it: its JSON, with the values of
// binary tensors written out. It does not exist where there is no JSON.
func (s *side) root() scan.Node {
	if s.tail == nil || s.failure.found() {
		return s.doc.Root()
	}
	if !s.transcoded {
		s.transcoded = true
		s.transcodedRoom = protocol.AppendJSON(s.transcodedRoom[:0], s.json, &s.message)
		// A text that passes the limits leaves the document empty, and every
		// expression over it an error.
		_ = s.transcodedDoc.Parse(s.transcodedRoom, limits)
	}
	return s.transcodedDoc.Root()
}
