package faultmodel

import (
	"net"
	"net/http"
	"slices"
	"time"
)

// ending is how a stream's connection ends.
type ending uint8

const (
	endClean ending = iota // the last chunk
	endReset               // a TCP reset
	endFIN                 // the connection closes in the middle of the chunked body
	endHold                // nothing more, until the caller leaves
)

// resetAfter is how long a reset waits: one that comes at once takes back what
// the other side has not read yet.
const resetAfter = 50 * time.Millisecond

// script is a stream before it is sent: its events in order and how it ends. A
// fault is a change of it.
type script struct {
	c      *completion
	events []event
	end    ending
	delay  time.Duration // before the first event
	// mark is how many events have gone out when the fault has been served;
	// len(events) or more: just before the end.
	mark int
}

// newScript makes the whole clean stream: the roles, the choices token by token
// in turn, their ends, the usage where asked for, and [DONE].
func newScript(c *completion) *script {
	s := &script{c: c}
	longest := 0
	for i, ch := range c.choices {
		longest = max(longest, len(ch.tokens))
		if !c.legacy {
			s.events = append(s.events, event{kind: eventRole, choice: i})
		}
	}
	for token := range longest {
		for i, ch := range c.choices {
			if token < len(ch.tokens) {
				s.events = append(s.events, event{kind: eventToken, choice: i, token: token})
			}
		}
	}
	for i := range c.choices {
		s.events = append(s.events, event{kind: eventFinish, choice: i})
	}
	if c.usage {
		s.events = append(s.events, event{kind: eventUsage})
	}
	s.events = append(s.events, event{kind: eventDone})
	s.mark = s.index(c.at) + 1
	if c.shows == showsAtEnd {
		s.mark = s.lastFinish() + 1
	}
	return s
}

// lastFinish is the place of the last finish_reason; -1 where there is none.
// Whoever reads it may leave without a [DONE].
func (s *script) lastFinish() int {
	for i, e := range slices.Backward(s.events) {
		if e.kind == eventFinish {
			return i
		}
	}
	return -1
}

// index is the place of a token of the first choice; of the first finish_reason
// where it has fewer.
func (s *script) index(token int) int {
	return slices.IndexFunc(s.events, func(e event) bool {
		return e.kind == eventFinish || e.kind == eventToken && e.choice == 0 && e.token == token
	})
}

// cut ends the stream before the token that the fault is at.
func (s *script) cut(end ending) {
	s.events, s.end = s.events[:s.index(s.c.at)], end
	s.mark = len(s.events)
}

// edit changes the event at which the fault is, and with rest every one after
// it.
func (s *script) edit(f func([]byte) []byte, rest bool) {
	i := s.index(s.c.at)
	s.mark = i + 1
	s.events[i].edit = f
	for i++; rest && i < len(s.events); i++ {
		s.events[i].edit = f
	}
}

// raw replaces the whole stream by bytes.
func (s *script) raw(text ...string) {
	s.events = nil
	for _, t := range text {
		s.events = append(s.events, event{kind: eventRaw, raw: t})
	}
	s.mark = len(s.events)
}

// bytes is the whole stream at once.
func (s *script) bytes() []byte {
	var b []byte
	for _, e := range s.events {
		b = e.append(b, s.c)
	}
	return b
}

// connKey is the context key of a request's connection.
type connKey struct{}

// abort ends the exchange without its end: over HTTP/1.1 the connection closes,
// by a reset where asked for; over HTTP/2 the stream is reset.
func abort(r *http.Request, reset bool) {
	if tcp, ok := r.Context().Value(connKey{}).(*net.TCPConn); ok && reset {
		if tcp.SetLinger(0) == nil {
			_ = tcp.Close() // closed either way: see below
		}
	}
	panic(http.ErrAbortHandler) // net/http's own way to end it
}

// play sends a stream event by event and counts the fault when it has gone out.
// It ends early, and says so, when the caller leaves.
func (s *Server) play(w http.ResponseWriter, r *http.Request, sc *script, fault Fault) {
	s.streams(1)
	defer s.streams(-1)
	counted := fault == None
	count := func() {
		if !counted {
			counted = true
			s.served(fault)
		}
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w).Flush
	if flush() != nil {
		s.left()
		return
	}
	pace := s.pace()
	var buf []byte
	for i, e := range sc.events {
		if i == sc.mark {
			count()
		}
		wait := pace
		if i == 0 {
			wait = sc.delay
		}
		if !pause(r, wait) {
			s.left()
			return
		}
		buf = e.append(buf[:0], sc.c)
		if _, err := w.Write(buf); err != nil || flush() != nil {
			if i+1 == sc.mark && len(buf) > 1<<16 {
				count() // as much of it as the caller would take
			}
			s.left()
			return
		}
	}
	s.finish(r, sc.end, count)
	if fault == None {
		s.cleaned()
	}
}

// finish ends a stream after its last event.
func (s *Server) finish(r *http.Request, end ending, count func()) {
	switch end {
	case endReset:
		gone := !pause(r, resetAfter)
		count()
		if gone {
			s.left()
		}
		abort(r, true)
	case endFIN:
		count()
		abort(r, false)
	case endHold:
		count()
		<-r.Context().Done()
		s.left()
	case endClean:
		count()
	}
}

// pause waits; false says that the caller left.
func pause(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return r.Context().Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}
