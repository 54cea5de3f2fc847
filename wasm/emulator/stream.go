package emulator

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// Stream is one request and its response.
type Stream struct {
	vm       *machine
	id       uint32
	request  side
	response side

	route      Route
	properties map[string]string
	details    string // response.code_details, once there is a response
	flags      uint64
	answered   bool // there are details
	isGRPC     bool
	isHEAD     bool

	asked   Message
	caller  Response
	done    bool // the stream is gone
	passing bool // the VM has failed: no callbacks
}

// Message is what came out at one end.
type Message struct {
	Headers  [][2]string
	Body     []byte
	Trailers [][2]string
	End      bool // it is complete
}

// Header is the first value of a header, or "".
func (m Message) Header(name string) string { return first(m.Headers, name) }

// Response is what the caller got.
type Response struct {
	Message
	Status int
	// Broken is an answer that has no end, or whose length is not that of its
	// content-length: a caller takes it for a failed connection.
	Broken bool
	// EndWithHeaders is an answer without a body, also none that is empty.
	EndWithHeaders bool
	Details        string // as the access log has it
}

// Open begins a stream with its request headers, :method, :path and :authority
// among them.
func (h *Host) Open(headers [][2]string, end bool) *Stream {
	m := h.ready()
	s := &Stream{vm: m, id: m.nextID, route: h.options.Route, properties: map[string]string{}}
	m.nextID++
	m.streams[s.id] = s
	s.isGRPC = strings.HasPrefix(first(headers, "content-type"), "application/grpc")
	s.isHEAD = first(headers, ":method") == "HEAD"
	s.request = side{out: (*upstream)(s), callbacks: callbacks{
		"proxy_on_request_headers", "proxy_on_request_body", "proxy_on_request_trailers"}}
	s.response = side{out: (*downstream)(s), callbacks: callbacks{
		"proxy_on_response_headers", "proxy_on_response_body", "proxy_on_response_trailers"}}
	s.headersSeen(&s.request, headers, end)
	h.settle()
	return s
}

// SetRoute replaces what Envoy says of the route of streams that begin from now on.
func (h *Host) SetRoute(r Route) { h.options.Route = r }

// SetRoute replaces what Envoy says of the stream's route.
func (s *Stream) SetRoute(r Route) { s.route = r }

// Set sets a property, by its path.
func (s *Stream) Set(value string, path ...string) { s.properties[strings.Join(path, "\x00")] = value }

// SendBody is a piece of the request's body.
func (s *Stream) SendBody(piece string, end bool) {
	s.bodySeen(&s.request, []byte(piece), end)
	s.vm.host.settle()
}

// SendTrailers are the request's trailers, which end it.
func (s *Stream) SendTrailers(trailers [][2]string) {
	s.trailersSeen(&s.request, trailers)
	s.vm.host.settle()
}

// Headers are the model's response headers, with :status.
func (s *Stream) Headers(headers [][2]string, end bool) {
	if s.done || s.response.seen {
		return
	}
	s.details, s.answered = "via_upstream", true
	s.headersSeen(&s.response, headers, end)
	s.vm.host.settle()
}

// Body is a piece of the model's response body.
func (s *Stream) Body(piece string, end bool) {
	s.bodySeen(&s.response, []byte(piece), end)
	s.vm.host.settle()
}

// Trailers are the model's response trailers.
func (s *Stream) Trailers(trailers [][2]string) {
	s.trailersSeen(&s.response, trailers)
	s.vm.host.settle()
}

// Reply is a reply of Envoy's own, as the router makes them for a model that is
// refused, reset or late. flags is the property response.flags.
func (s *Stream) Reply(status int, body, details string, flags uint64) {
	s.flags = flags
	s.local(local{status: status, body: body, details: details, grpc: -1})
	s.vm.host.settle()
}

// Cut ends the model's response in the middle. What was held becomes Envoy's
// own 502; a response that has begun has no end.
func (s *Stream) Cut() {
	s.local(local{status: 502, body: textCut, details: "upstream_reset_after_response_started{protocol_error}", grpc: -1})
	s.vm.host.settle()
}

// Leave is the caller going away.
func (s *Stream) Leave() {
	if !s.done {
		s.finish(true)
	}
	s.vm.host.settle()
}

// Done reports whether the stream has ended, for the filter too.
func (s *Stream) Done() bool { return s.done }

// ID is the stream's context.
func (s *Stream) ID() uint32 { return s.id }

// Asked is what has reached the model.
func (s *Stream) Asked() Message { return s.asked }

// Response is what has reached the caller.
func (s *Stream) Response() Response {
	r := s.caller
	r.Details = s.details
	if length, ok := contentLength(r.Headers); ok && r.End && !s.isHEAD && length != len(r.Body) {
		r.Broken = true
	}
	return r
}

func contentLength(headers [][2]string) (int, bool) {
	n, err := strconv.Atoi(first(headers, "content-length"))
	return n, err == nil
}

// result is what a callback returned.
type result struct {
	value uint32
	stop  bool // the stream was answered in the callback
}

// callback runs one of a direction's callbacks, and what it asked for. ok is
// false where nothing is left to do for this direction.
func (s *Stream) callback(d *side, name string, args ...uint32) (r result, ok bool) {
	if s.vm.failed && !s.passing {
		s.fail()
		return r, false
	}
	if s.passing {
		return r, true
	}
	r.value = s.vm.call(s.id, name, append([]uint32{s.id}, args...)...)
	r.stop = s.vm.stop
	if s.vm.failed {
		s.fail()
		return r, false
	}
	s.vm.after()
	return r, !s.done && !d.aborted
}

// fail answers for a VM that has failed.
func (s *Stream) fail() {
	if s.passing {
		return
	}
	s.passing = true
	s.local(local{status: 503, details: "wasm_fail_stream", grpc: 14})
}

func (s *Stream) resumeRequest() {
	if s.request.seen && !s.done && !s.request.aborted {
		s.goOn(&s.request)
	}
}

func (s *Stream) resumeResponse() {
	if s.response.seen && !s.done {
		s.goOn(&s.response)
	}
}

// finish ends the stream, and tells the filter.
func (s *Stream) finish(broken bool) {
	if s.done {
		return
	}
	s.done = true
	s.caller.Broken = broken
	for _, d := range []*side{&s.request, &s.response} {
		d.readable, d.trailersReadable = false, false
	}
	s.vm.call(s.id, "proxy_on_delete", s.id)
	s.vm.after()
	delete(s.vm.streams, s.id)
}

// upstream is a stream as the sink of its request.
type upstream Stream

func (u *upstream) sendHeaders(headers [][2]string, end bool) {
	u.asked.Headers, u.asked.End = headers, end
}

func (u *upstream) sendBody(piece []byte, end bool) {
	u.asked.Body, u.asked.End = append(u.asked.Body, piece...), end
}

func (u *upstream) sendTrailers(trailers [][2]string) { u.asked.Trailers, u.asked.End = trailers, true }

// downstream is a stream as the sink of its response.
type downstream Stream

func (u *downstream) sendHeaders(headers [][2]string, end bool) {
	u.caller.Status, _ = strconv.Atoi(first(headers, ":status"))
	u.caller.EndWithHeaders = end
	u.caller.Headers = slices.DeleteFunc(headers, func(h [2]string) bool { return h[0] == ":status" })
	u.ended(end)
}

func (u *downstream) sendBody(piece []byte, end bool) {
	u.caller.Body = append(u.caller.Body, piece...)
	u.ended(end)
}

func (u *downstream) sendTrailers(trailers [][2]string) {
	u.caller.Trailers = trailers
	u.ended(true)
}

func (u *downstream) ended(end bool) {
	if end {
		u.caller.End = true
		(*Stream)(u).finish(false)
	}
}

// property is what Envoy has under a path.
func (s *Stream) property(path string) (string, bool) {
	if value, ok := s.properties[path]; ok {
		return value, true
	}
	switch path {
	case "xds\x00route_name":
		return s.route.Name, s.route.Name != ""
	case "source\x00address":
		return s.vm.host.options.Source, true
	case "xds\x00cluster_name":
		return s.route.Cluster, s.route.Cluster != ""
	case "response\x00code_details":
		return s.details, s.answered
	case "response\x00flags":
		return string(binary.LittleEndian.AppendUint64(nil, s.flags)), true
	}
	if rest, ok := strings.CutPrefix(path, "xds\x00route_metadata\x00filter_metadata\x00"); ok {
		namespace, key, _ := strings.Cut(rest, "\x00")
		value, ok := s.route.Metadata[namespace][key]
		return value, ok
	}
	return "", false
}
