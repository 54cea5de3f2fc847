package emulator

import (
	"slices"
	"strconv"
	"time"

	"github.com/safestate/safestate/wasm/proxywasm/abi"
)

// Call is an HTTP call of the filter.
type Call struct {
	Cluster  string
	Headers  [][2]string
	Body     string
	Trailers [][2]string
	Timeout  time.Duration // 0: none
}

// Header is the first value of a header, or "".
func (c Call) Header(name string) string { return first(c.Headers, name) }

// Reply is what becomes of a call.
type Reply struct {
	Status   int // 0: 200
	Headers  [][2]string
	Body     string
	Trailers [][2]string
	After    time.Duration // past the call's timeout it is Envoy's 504

	Unknown bool // there is no such cluster: the call itself fails
	Refused bool // the cluster's host is down: Envoy's 503
	Reset   bool // the connection ends before headers: Envoy's 503
	Broken  bool // it ends after them: the callback gets nothing
	Never   bool // nothing comes back, and there was no timeout
}

type pending struct {
	token uint32
	due   time.Time
	never bool
	reply Reply
}

// What Envoy answers in a host's place.
const (
	textRefused = "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure"
	textReset   = "upstream connect error or disconnect/reset before headers. reset reason: connection termination"
	textCut     = "upstream connect error or disconnect/reset before headers. reset reason: protocol error"
	textTimeout = "upstream request timeout"
)

// HTTPCall starts a call. Its answer comes when time says so.
func (m *machine) HTTPCall(cluster string, headers, body, trailers []byte, milliseconds uint32) (uint32, abi.Status) {
	m.host.crossed["proxy_http_call"]++
	c := Call{Cluster: cluster, Body: string(body), Timeout: time.Duration(milliseconds) * time.Millisecond}
	var errHeaders, errTrailers error
	c.Headers, errHeaders = pairs(headers)
	c.Trailers, errTrailers = pairs(trailers)
	if errHeaders != nil || errTrailers != nil || int32(milliseconds) < 0 {
		return 0, abi.BadArgument
	}
	for _, name := range []string{":method", ":path", ":authority"} {
		if c.Header(name) == "" {
			return 0, abi.BadArgument
		}
	}
	if m.host.options.Call == nil {
		return 0, abi.BadArgument
	}
	r := m.host.options.Call(c)
	if r.Unknown {
		return 0, abi.BadArgument
	}
	m.host.calls = append(m.host.calls, c)
	m.nextCall += 4
	p := &pending{token: m.nextCall, reply: r.asSeen()}
	switch after := r.After; {
	case c.Timeout > 0 && (r.Never || after > c.Timeout):
		p.reply = Reply{Status: 504, Body: textTimeout}.asSeen()
		p.due = time.Now().Add(c.Timeout)
	case r.Never:
		p.never = true
	default:
		p.due = time.Now().Add(after)
	}
	m.pending = append(m.pending, p)
	return p.token, abi.OK
}

// asSeen is the reply with the headers that the filter sees.
func (r Reply) asSeen() Reply {
	switch {
	case r.Broken:
		return Reply{Broken: true}
	case r.Refused:
		r = Reply{Status: 503, Body: textRefused, Headers: [][2]string{{"content-type", "text/plain"}}}
	case r.Reset:
		r = Reply{Status: 503, Body: textReset, Headers: [][2]string{{"content-type", "text/plain"}}}
	case r.Status == 0:
		r.Status = 200
	}
	r.Headers = append([][2]string{{":status", strconv.Itoa(r.Status)}}, r.Headers...)
	if first(r.Headers, "content-length") == "" {
		r.Headers = append(r.Headers, [2]string{"content-length", strconv.Itoa(len(r.Body))})
	}
	return r
}

// answerCall delivers one answer that is due, and reports whether there was one.
func (m *machine) answerCall() bool {
	i := slices.IndexFunc(m.pending, func(p *pending) bool { return !p.never && !p.due.After(time.Now()) })
	if i < 0 || m.failed {
		return false
	}
	p := m.pending[i]
	m.pending = slices.Delete(m.pending, i, i+1)
	if p.reply.Broken {
		m.call(rootID, "proxy_on_http_call_response", rootID, p.token, 0, 0, 0)
	} else {
		m.reply = &p.reply
		m.call(rootID, "proxy_on_http_call_response", rootID, p.token,
			uint32(len(p.reply.Headers)), uint32(len(p.reply.Body)), uint32(len(p.reply.Trailers)))
		m.reply = nil
	}
	m.after()
	return true
}

// first is the first value of a header, or "".
func first(headers [][2]string, name string) string {
	for _, h := range headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}
