package faultmodel

import (
	"net/http"
)

// complete answers a request for a completion, plain or as a stream.
func (s *Server) complete(w http.ResponseWriter, r *http.Request) {
	q, t, ok := s.beginChat(w, r)
	if !ok {
		return
	}
	if t.canned != nil && t.fault == None {
		t.canned.write(w)
		return
	}
	p := OA
	if q.stream {
		p = SSE
	}
	c := chatRow{}
	if t.fault.On(p) && chatCatalogue[t.fault].applies(&q) {
		c = chatCatalogue[t.fault]
	} else {
		t.fault = None
	}
	x := &exchange{server: s, w: w, r: r, nth: t.nth, completion: newCompletion(s.opts.Version, q, s.opts.Tokens)}
	x.completion.at = c.at
	if t.at >= 0 {
		x.completion.at = t.at
	}
	if c.completion != nil {
		c.completion(x.completion)
	}
	if q.stream {
		s.stream(x, c, t.fault)
		return
	}
	s.plain(x, c, t.fault)
}

// beginChat reads the request, whose body is not kept, and refuses what it
// cannot read. The small model refuses a prefilled turn as well.
func (s *Server) beginChat(w http.ResponseWriter, r *http.Request) (chatRequest, turn, bool) {
	body, t, ok := s.begin(r)
	if !ok {
		return chatRequest{}, turn{}, false // the caller left
	}
	q, err := readChat(r.URL.Path, s.opts.Version, body)
	switch {
	case err != nil:
		sendError(w, http.StatusBadRequest, `{"error":{"message":"We could not parse the JSON body of your request.","type":"invalid_request_error","param":null,"code":null}}`)
		return chatRequest{}, turn{}, false
	case q.prefill && s.opts.Version == "small":
		sendError(w, http.StatusBadRequest, prefillBody)
		return chatRequest{}, turn{}, false
	}
	return q, t, true
}

// plain sends a completion as one body.
func (s *Server) plain(x *exchange, c chatRow, fault Fault) {
	x.reply = renderCompletion(x.completion)
	if c.edit != nil {
		x.reply.body = c.edit(x.reply.body)
	}
	if c.reply != nil {
		c.reply(OA, x.reply)
	}
	s.send(x, c, fault)
}

// stream sends a completion as events.
func (s *Server) stream(x *exchange, c chatRow, fault Fault) {
	script := newScript(x.completion)
	if c.edit != nil {
		script.edit(c.edit, false)
	}
	if c.script != nil {
		c.script(script)
	}
	if c.prepare != nil {
		c.prepare(s, script)
	}
	switch {
	case c.serve != nil:
		x.script = script
		x.reply = &reply{status: http.StatusOK, header: http.Header{"Content-Type": {"text/event-stream"}}}
		s.send(x, c, fault)
	case c.reply != nil && c.script == nil:
		x.reply = &reply{status: http.StatusOK, header: http.Header{"Content-Type": {"text/event-stream"}}, body: script.bytes()}
		c.reply(SSE, x.reply)
		s.send(x, c, fault)
	default:
		s.play(x.w, x.r, script, fault)
	}
}

// send sends a reply and counts what went out.
func (s *Server) send(x *exchange, c chatRow, fault Fault) {
	if c.serve != nil {
		if c.serve(x) {
			s.served(fault)
		}
		return
	}
	x.reply.write(x.w)
	if fault == None {
		s.cleaned()
		return
	}
	s.served(fault)
}
