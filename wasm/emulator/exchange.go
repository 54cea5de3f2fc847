package emulator

import "strconv"

// Request is a caller's request.
type Request struct {
	Method  string // "": POST with a body, else GET
	Path    string // "": /
	Headers [][2]string
	Body    string
	// Trailers end it, in place of an empty end.
	Trailers [][2]string
}

// Fault is what a model does wrong on the wire.
type Fault string

// The faults of a model on the wire.
const (
	Refused Fault = "refused" // its host is down
	Reset   Fault = "reset"   // the connection ends before response headers
	Late    Fault = "late"    // the route's timeout comes first
	Silent  Fault = "silent"  // nothing comes, and nothing has timed out yet
	Cut     Fault = "cut"     // the connection ends after the first chunk
)

// Answer is a model's answer.
type Answer struct {
	Status   int // 0: 200
	Headers  [][2]string
	Body     string   // with a content-length, in one piece
	Chunks   []string // in place of Body, without one unless Headers has it
	Trailers [][2]string
	Fault    Fault
}

// Do sends a request and, if it reaches the model, has the model answer, in the
// pieces that Envoy makes of HTTP/1: what there is, then an empty end.
func (h *Host) Do(q Request, a Answer) *Stream {
	s := h.Ask(q)
	s.Answer(a)
	return s
}

// Ask sends a request.
func (h *Host) Ask(q Request) *Stream {
	if q.Path == "" {
		q.Path = "/"
	}
	if q.Method == "" {
		q.Method = "GET"
		if q.Body != "" {
			q.Method = "POST"
		}
	}
	headers := [][2]string{{":authority", "model.example"}, {":path", q.Path}, {":method", q.Method}, {":scheme", "http"}}
	headers = append(headers, q.Headers...)
	if q.Body != "" && q.Trailers == nil && first(headers, "content-length") == "" {
		headers = append(headers, [2]string{"content-length", strconv.Itoa(len(q.Body))})
	}
	s := h.Open(headers, q.Body == "")
	if q.Body != "" {
		s.SendBody(q.Body, false)
		if q.Trailers != nil {
			s.SendTrailers(q.Trailers)
		} else {
			s.SendBody("", true)
		}
	}
	return s
}

// Flags of responses that Envoy makes itself (CoreResponseFlag), as bits.
const (
	flagTimeout = 1 << 2
	flagReset   = 1 << 6
	flagRefused = 1 << 5
)

// Answer has the model answer, if it was asked.
func (s *Stream) Answer(a Answer) {
	if s.done || s.response.seen || !s.request.left {
		return
	}
	switch a.Fault {
	case Silent:
		return
	case Refused:
		s.Reply(503, textRefused, "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}", flagRefused)
		return
	case Reset:
		s.Reply(503, textReset, "upstream_reset_before_response_started{connection_termination}", flagReset)
		return
	case Late:
		s.Reply(504, textTimeout, "response_timeout", flagTimeout)
		return
	}
	if a.Status == 0 {
		a.Status = 200
	}
	chunks := a.Chunks
	headers := append([][2]string{{":status", strconv.Itoa(a.Status)}}, a.Headers...)
	if chunks == nil {
		if first(headers, "content-length") == "" {
			headers = append(headers, [2]string{"content-length", strconv.Itoa(len(a.Body))})
		}
		if a.Body != "" {
			chunks = []string{a.Body}
		}
	}
	s.Headers(headers, len(chunks) == 0 && len(a.Trailers) == 0)
	for i, c := range chunks {
		s.Body(c, false)
		if i == 0 && a.Fault == Cut {
			s.Cut()
			return
		}
	}
	switch {
	case len(a.Trailers) > 0:
		s.Trailers(a.Trailers)
	case len(chunks) > 0:
		s.Body("", true)
	}
}
