package faultmodel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// grpcService is the path before the method's name.
const grpcService = "/inference.GRPCInferenceService/"

// Codes of gRPC that the model answers with, as google.golang.org/grpc/codes
// has them.
const (
	codeOK              = 0
	codeInvalidArgument = 3
	codeExhausted       = 8
	codeUnimplemented   = 12
	codeInternal        = 13
	codeUnavailable     = 14
)

// frameHead is how long the head of a gRPC message is: a flag and a length.
const frameHead = 5

// call is one gRPC call on its way to a fault that is about the call. Its
// frames and trailers are made by hand.
type call struct {
	server  *Server
	w       http.ResponseWriter
	r       *http.Request
	nth     int
	message []byte // the clean answer, or the next of a stream
	started bool   // headers have been sent
	ended   bool   // a status has been sent, or the fault was the end
}

// begin sends the headers.
func (c *call) begin() {
	if c.started {
		return
	}
	c.started = true
	c.w.Header().Set("Content-Type", "application/grpc")
	c.w.WriteHeader(http.StatusOK)
	c.flush()
}

func (c *call) flush() {
	_ = http.NewResponseController(c.w).Flush() // a caller that left is seen by the context
}

// frame sends one message; length is what its head promises.
func (c *call) frame(message []byte, length int) {
	c.begin()
	head := make([]byte, frameHead, frameHead+len(message))
	binary.BigEndian.PutUint32(head[1:], uint32(length))
	_, _ = c.w.Write(append(head, message...)) // as flush
	c.flush()
}

// status ends the call. Before any header it is trailers-only: one HEADERS
// frame that ends the stream.
func (c *call) status(code int, message string) {
	c.ended = true
	prefix := http.TrailerPrefix
	if !c.started {
		prefix = ""
		c.w.Header().Set("Content-Type", "application/grpc")
		c.w.Header()["Content-Length"] = nil // none: a call has no length
		c.started = true
	}
	c.w.Header().Set(prefix+"Grpc-Status", strconv.Itoa(code))
	if message != "" {
		c.w.Header().Set(prefix+"Grpc-Message", strings.ReplaceAll(message, "%", "%25"))
	}
	if prefix == "" {
		c.w.WriteHeader(http.StatusOK)
	}
}

// hold keeps the call open until the caller leaves.
func (c *call) hold() {
	<-c.r.Context().Done()
	c.server.left()
	c.ended = true
}

// readFrame reads one message; io.EOF where the caller has sent its last.
func readFrame(r io.Reader) ([]byte, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(head[1:])
	if length > maxRequest || head[0] != 0 {
		return nil, errMessage
	}
	message := make([]byte, length)
	_, err := io.ReadFull(r, message)
	return message, err
}

// call answers a gRPC call.
func (s *Server) call(w http.ResponseWriter, r *http.Request) {
	c := &call{server: s, w: w, r: r}
	method, ours := strings.CutPrefix(r.URL.Path, grpcService)
	switch {
	case ours && method == "ModelInfer":
		s.modelInfer(c)
	case ours && method == "ModelStreamInfer":
		s.modelStreamInfer(c)
	default:
		s.about(c, r.URL.Path)
	}
}

// modelInfer answers a unary call.
func (s *Server) modelInfer(c *call) {
	message, err := readFrame(c.r.Body)
	if err != nil {
		c.status(codeInvalidArgument, errMessage.Error())
		return
	}
	t := s.next(c.r)
	if !pause(c.r, s.opts.Latency) {
		s.left()
		return
	}
	if s.reply(c, message, t, func(m []byte) []byte { return m }) && !c.ended {
		c.status(codeOK, "")
	}
}

// modelStreamInfer answers every request of a stream with one response. A fault
// strikes from the message at its place on: the first, unless SetAt says
// otherwise.
func (s *Server) modelStreamInfer(c *call) {
	s.streams(1)
	defer s.streams(-1)
	t := s.next(c.r)
	fault := t.fault
	for i := 0; ; i++ {
		message, err := readFrame(c.r.Body)
		if errors.Is(err, io.EOF) {
			c.begin()
			c.status(codeOK, "")
			return
		}
		if err != nil || !pause(c.r, s.opts.Latency) {
			s.left()
			return
		}
		t.fault = fault
		if i < t.at {
			t.fault = None
		}
		wrap := func(m []byte) []byte { return appendBytes(nil, streamResponse, m) }
		if !s.reply(c, message, t, wrap) || c.ended {
			return
		}
	}
}

// reply answers one request message, with its fault. It reports whether the
// call goes on.
func (s *Server) reply(c *call, message []byte, t turn, wrap func([]byte) []byte) bool {
	if t.canned != nil && t.fault == None {
		body := wrap(t.canned.body)
		c.frame(body, len(body))
		return true
	}
	q := readMessage(message)
	if q.failure != nil {
		c.status(codeInvalidArgument, fmt.Sprint("bad input: ", q.failure))
		return false
	}
	a := newAnswer(s.opts.Version, q.rows, true)
	a.id, a.model, a.version, a.typed = q.id, q.model, s.opts.Version, q.typed
	fault, g := t.fault, grpcRow{}
	if fault.On(G) {
		g = grpcCatalogue[fault]
		if change := catalogue[fault].answer; change != nil && !g.set() {
			change(G, a)
		}
	} else {
		fault = None
	}
	c.nth, c.message = t.nth, renderMessage(a)
	if g.message != nil {
		c.message = g.message(a, c.message)
	}
	c.message = wrap(c.message)
	if g.serve != nil {
		if g.serve(c) {
			s.served(fault)
		}
		return !c.ended
	}
	c.frame(c.message, len(c.message))
	if fault == None {
		s.cleaned()
	} else {
		s.served(fault)
	}
	return true
}
