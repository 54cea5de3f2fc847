package streams

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Path is where the routes of Config take completions.
const Path = "/openai/%s/v1/chat/completions"

// FaultHeader is how a request chooses the model's fault.
const FaultHeader = "X-Sample-Fault"

// Caller asks an Envoy for completions. It is safe for concurrent use.
type Caller struct {
	// Tokens of a whole completion.
	Tokens int

	base  string
	http  *http.Client
	conns atomic.Int64
}

// NewCaller makes a caller of host:port, by HTTP/2 with prior knowledge, each
// connection with as many streams as Envoy takes, or by HTTP/1.1.
func NewCaller(addr string, tokens int, http2 bool) *Caller {
	c := &Caller{Tokens: tokens, base: "http://" + addr}
	var protocols http.Protocols
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	dialer := net.Dialer{Timeout: 5 * time.Second}
	c.http = &http.Client{Transport: &http.Transport{
		Protocols: &protocols, DisableCompression: true, MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c.conns.Add(1)
			return dialer.DialContext(ctx, network, addr)
		},
	}}
	return c
}

// Close drops idle connections.
func (c *Caller) Close() { c.http.CloseIdleConnections() }

// Connections is how many were dialled.
func (c *Caller) Connections() int64 { return c.conns.Load() }

// Question is a request for a completion.
type Question struct {
	Route  string
	Stream bool
	Fault  string // the model's, by FaultHeader; empty: none
	Prompt int    // bytes of the prompt at least
}

var serial atomic.Int64

// body is different every time.
func (q *Question) body() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"model": %q, "messages": [{"role": "user", "content": "%d `, q.Route, serial.Add(1))
	const line = "All work and no play makes a long prompt. "
	for b.Len() < q.Prompt {
		b.WriteString(line)
	}
	fmt.Fprintf(&b, `"}], "stream": %t}`, q.Stream)
	return b.Bytes()
}

// Manner is how an answer ended for its caller.
type Manner string

// The manners. A stream that ends in another one, silently empty or silently
// truncated ones above all, has Outcome.Wrong set.
const (
	Complete   Manner = "complete"  // the whole text, by the model that was asked
	Fallback   Manner = "fallback"  // the whole text, by the fallback model
	Default    Manner = "default"   // the safe default, as a whole answer
	ErrorEvent Manner = "event"     // an error event
	Refused    Manner = "refused"   // an error status with an error object
	Broken     Manner = "broken"    // the transfer broke off after the answer had begun
	NoAnswer   Manner = "no answer" // the connection broke before any answer
	Cancelled  Manner = "cancelled" // by the caller
)

// Outcome is how an answer ended.
type Outcome struct {
	Manner Manner
	Code   string // of the error event or object
	Wrong  string // what a caller must never get; "": nothing
	Status int
	Source string
	Reason string
	Text   string
	First  time.Duration // until the first content
	Took   time.Duration
	Err    error // of the transport

	ended time.Time
}

// String is the manner, with the code where there is one; "wrong" for what is.
func (o Outcome) String() string {
	if o.Wrong != "" {
		return "wrong"
	}
	if o.Code != "" {
		return string(o.Manner) + " " + o.Code
	}
	return string(o.Manner)
}

// Detail is all of it, for a failed test.
func (o Outcome) Detail() string {
	return fmt.Sprintf("%s: status %d, source %q, reason %q, text …%q, first content after %s, all after %s, error %v, wrong %q",
		o, o.Status, o.Source, o.Reason, o.Text[max(0, len(o.Text)-40):], o.First, o.Took, o.Err, o.Wrong)
}

// Call is an answer under way. Its methods are safe for concurrent use.
type Call struct {
	cancel context.CancelFunc
	left   atomic.Bool
	said   atomic.Int64 // events with content
	done   chan struct{}
	out    Outcome // valid once done is closed
}

// Said is how many pieces of content have come.
func (c *Call) Said() int64 { return c.said.Load() }

// Ended reports whether the answer has ended.
func (c *Call) Ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Cancel has the caller leave.
func (c *Call) Cancel() {
	c.left.Store(true)
	c.cancel()
}

// Outcome waits for the end until a time; false: the answer hangs.
func (c *Call) Outcome(until time.Time) (Outcome, bool) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-c.done:
		return c.out, true
	case <-timer.C:
	}
	if c.Ended() {
		return c.out, true
	}
	return Outcome{}, false
}

// Open asks, and reads the answer on a goroutine of its own until ctx ends.
func (c *Caller) Open(ctx context.Context, q Question) *Call {
	ctx, cancel := context.WithCancel(ctx)
	call := &Call{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(call.done)
		defer cancel()
		call.out = c.ask(ctx, call, &q)
		call.out.ended = time.Now()
		if call.left.Load() && call.out.Err != nil {
			call.out.Manner, call.out.Wrong = Cancelled, ""
		}
	}()
	return call
}

// Ask asks and waits for the end.
func (c *Caller) Ask(ctx context.Context, q Question) Outcome {
	call := c.Open(ctx, q)
	<-call.done
	return call.out
}

// All opens n calls of a question, together at a time, and returns when each has
// its first content or has ended.
func (c *Caller) All(ctx context.Context, n, together int, q Question) []*Call {
	calls := make([]*Call, n)
	next := atomic.Int64{}
	var wg sync.WaitGroup
	for range together {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				calls[i] = c.Open(ctx, q)
				waitBegun(ctx, calls[i])
			}
		})
	}
	wg.Wait()
	return calls
}

// askTogether opens n calls at once.
func (c *Caller) askTogether(ctx context.Context, n int, q Question) []*Call {
	calls := make([]*Call, n)
	for i := range calls {
		calls[i] = c.Open(ctx, q)
	}
	return calls
}

func waitBegun(ctx context.Context, call *Call) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for call.Said() == 0 {
		select {
		case <-call.done:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (c *Caller) ask(ctx context.Context, call *Call, q *Question) Outcome {
	begun := time.Now()
	o := Outcome{Manner: NoAnswer}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+fmt.Sprintf(Path, q.Route), bytes.NewReader(q.body()))
	if err != nil {
		o.Err, o.Wrong = err, err.Error()
		return o
	}
	r.Header.Set("Content-Type", "application/json")
	if q.Fault != "" {
		r.Header.Set(FaultHeader, q.Fault)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		o.Err, o.Took, o.Wrong = err, time.Since(begun), "no answer at all"
		return o
	}
	defer func() { _ = resp.Body.Close() }()
	o.Status, o.Source, o.Reason = resp.StatusCode, resp.Header.Get("X-Safestate-Source"), resp.Header.Get("X-Safestate-Reason")
	in := reader{call: call, begun: begun, tokens: c.Tokens, out: &o}
	if q.Stream && resp.StatusCode == http.StatusOK {
		in.stream(resp)
	} else {
		in.whole(resp)
	}
	o.Took = time.Since(begun)
	return o
}

// completion is what is read of a completion, a chunk and an error.
type completion struct {
	Choices []struct {
		Delta   *struct{ Content string } `json:"delta"`
		Message *struct{ Content string } `json:"message"`
	} `json:"choices"`
	Error *struct {
		Message string `json:"message"`
		Code    string `json:"code"`
	} `json:"error"`
}

func parse(b []byte) (text string, code string, failed bool, err error) {
	var c completion
	if err := json.Unmarshal(b, &c); err != nil {
		return "", "", false, err
	}
	if c.Error != nil {
		return "", c.Error.Code, true, nil
	}
	for _, ch := range c.Choices {
		if ch.Delta != nil {
			text += ch.Delta.Content
		}
		if ch.Message != nil {
			text += ch.Message.Content
		}
	}
	return text, "", false, nil
}
