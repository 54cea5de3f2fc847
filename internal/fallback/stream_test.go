package fallback

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/safestate/safestate/internal/policy"
)

const chatPath = "/v1/chat/completions"

func gpt(e ...policy.Endpoint) policy.Fallback {
	return policy.Fallback{
		Model: "default/small", ServedName: "small", Protocol: policy.OpenAI,
		Endpoints: e, Deadline: policy.Duration(10 * time.Second), MaxBytes: 1000,
	}
}

// events answers with pieces of a stream, each flushed, and then does what end
// does.
func events(end http.HandlerFunc, pieces ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		w.(http.Flusher).Flush()
		for _, p := range pieces {
			_, _ = io.WriteString(w, p)
			w.(http.Flusher).Flush()
		}
		if end != nil {
			end(w, r)
		}
	}
}

func cuts(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func stalls(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func streamRequest() Request { return Request{Path: chatPath, Body: []byte(`{"stream":true}`)} }

func TestTheQuestionOfAChat(t *testing.T) {
	type seen struct {
		path, body string
		header     http.Header
	}
	asked := make(chan seen, 1)
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.ContentLength != int64(len(b)) {
			t.Errorf("content-length %d of %d bytes", r.ContentLength, len(b))
		}
		asked <- seen{r.URL.RequestURI(), string(b), r.Header}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{}`)
	})
	c := client(t, gpt(e), Options{})
	caller := headers{
		"content-type": "application/json; charset=utf-16", "content-encoding": "gzip", "inference-header-content-length": "1",
		"accept": "text/event-stream", "traceparent": "00-1-2-03", "authorization": "Bearer caller", "openai-organization": "o",
	}
	req := Request{Path: "/team/v1/chat/completions?x=1", Headers: caller, Body: []byte(`{"model":"big","stream":true}`)}
	if _, err := c.Do(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	got := <-asked
	if got.path != chatPath || got.body != `{"model":"small","stream":false}` {
		t.Errorf("asked %s with %s", got.path, got.body)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Accept": "text/event-stream", "Traceparent": "00-1-2-03",
		"Content-Encoding": "", "Inference-Header-Content-Length": "", "Authorization": "", "Openai-Organization": "",
	} {
		if got.header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.header.Get(name), want)
		}
	}
	s, whole, err := c.Stream(t.Context(), req)
	if err != nil || s != nil || string(whole.Body) != `{}` {
		t.Fatalf("a whole answer to a stream request: %v %v %v", s, whole, err)
	}
	if got = <-asked; got.body != `{"model":"small","stream":true}` {
		t.Errorf("asked for a stream with %s", got.body)
	}
	_, err = c.Do(t.Context(), Request{Path: chatPath, Body: []byte(`{"model":1,"model":2}`)})
	if failed := new(Error); !errors.As(err, &failed) || failed.Kind != Invalid {
		t.Errorf("a request with two models: %v", err)
	}
}

func TestAStream(t *testing.T) {
	var opened atomic.Int64
	s := httptest.NewUnstartedServer(events(nil, "data: a\n\n", "data: [DONE]\n\n"))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	cfg := gpt(endpointOf(t, s.URL))
	cfg.MaxBytes = 5 // bounds what is held, and of a stream nothing is
	c := client(t, cfg, Options{})
	for range 3 {
		c.endpoints.list[0].failures.Store(1)
		ctx, cancel := context.WithCancel(t.Context())
		got, whole, err := c.Stream(ctx, streamRequest())
		if err != nil || whole != nil {
			t.Fatal(whole, err)
		}
		first := make([]byte, 9)
		if _, err := io.ReadFull(got, first); err != nil {
			t.Fatal(err)
		}
		if !got.Commit() {
			t.Fatal("not committed")
		}
		if c.endpoints.list[0].failures.Load() != 0 {
			t.Error("the endpoint is not well again")
		}
		cancel() // of those who opened it
		rest, err := io.ReadAll(got)
		if err != nil || string(first)+string(rest) != "data: a\n\ndata: [DONE]\n\n" || got.ContentType != "text/event-stream; charset=utf-8" {
			t.Errorf("%q%q of %q, %v", first, rest, got.ContentType, err)
		}
		got.Close()
		got.Close()
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections for three streams, one after the other", n)
	}
}

func TestStreamsThatDoNotBegin(t *testing.T) {
	short := policy.Duration(100 * time.Millisecond)
	for name, c := range map[string]struct {
		model    http.HandlerFunc
		deadline policy.Duration
		kind     Kind
		status   int
		read     bool // fails in its body
	}{
		"400":                    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400) }, 0, Status, 400, false},
		"503":                    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, 0, Status, 503, false},
		"hangs":                  {never, short, Timeout, 0, false},
		"stalls after headers":   {events(stalls), short, Timeout, 0, true},
		"stalls in its preamble": {events(stalls, ": hello\n\n"), short, Timeout, 0, true},
		"cut":                    {events(cuts, ": hello\n\n"), 0, Cut, 0, true},
		"whole, over MaxBytes":   {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 1001)) }, 0, TooLarge, 0, false},
		"whole, and stalls": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "{")
			w.(http.Flusher).Flush()
			never(w, r)
		}, short, Timeout, 0, false},
		"compressed": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			events(nil, "data: a\n\n")(w, r)
		}, 0, Broken, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := gpt(serve(t, c.model))
			if c.deadline > 0 {
				cfg.Deadline = c.deadline
			}
			if c.read && c.deadline > 0 {
				cfg.Deadline = policy.Duration(3 * time.Second) // it has to open in it
			}
			cl := client(t, cfg, Options{})
			s, whole, err := cl.Stream(t.Context(), streamRequest())
			if c.read {
				if err != nil || whole != nil {
					t.Fatalf("did not open: %v %v", whole, err)
				}
				defer s.Close()
				_, err = io.Copy(io.Discard, s)
			}
			var failed *Error
			if !errors.As(err, &failed) || failed.Kind != c.kind || failed.Status != c.status {
				t.Errorf("got %v, want %s", err, c.kind)
			}
			if blamed := cl.endpoints.list[0].failures.Load() != 0; blamed != (c.status != 400 && c.kind != TooLarge) {
				t.Errorf("the endpoint was blamed: %v", blamed)
			}
			if c.kind == Timeout && c.read && s.Commit() {
				t.Error("committed after its deadline")
			}
		})
	}
}

func TestAStreamGoesOnToTheNextEndpoint(t *testing.T) {
	e := serve(t, events(nil, "data: a\n\n"))
	c := client(t, gpt(refused(t), e), Options{})
	for range 4 {
		s, _, err := c.Stream(t.Context(), streamRequest())
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(s); err != nil || string(b) != "data: a\n\n" {
			t.Errorf("%q %v", b, err)
		}
		s.Close()
	}
}

// Until it is committed a stream is bounded by whoever asked for it, and after
// that by its Close alone.
func TestWhoEndsAStream(t *testing.T) {
	left := make(chan struct{}, 2)
	e := serve(t, events(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done(); left <- struct{}{} }, "data: a\n\n"))
	cfg := gpt(e)
	cfg.Deadline = policy.Duration(3 * time.Second)
	c := client(t, cfg, Options{})
	open := func(ctx context.Context) *Stream {
		t.Helper()
		s, _, err := c.Stream(ctx, streamRequest())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, make([]byte, 9)); err != nil {
			t.Fatal(err)
		}
		return s
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := open(ctx)
	cancel()
	_, err := s.Read(make([]byte, 1))
	if failed := new(Error); !errors.As(err, &failed) || failed.Kind != Canceled || s.Commit() {
		t.Errorf("the asker left before the commit: %v", err)
	}
	<-left
	s.Close()

	ctx, cancel = context.WithCancel(t.Context())
	s = open(ctx)
	if !s.Commit() {
		t.Fatal("not committed")
	}
	cancel()
	got := make(chan error, 1)
	go func() {
		_, err := s.Read(make([]byte, 1))
		got <- err
	}()
	select { // the deadline's time and more
	case err := <-got:
		t.Fatalf("a committed stream was ended: %v", err)
	case <-time.After(3500 * time.Millisecond):
	}
	s.Close()
	if failed := new(Error); !errors.As(<-got, &failed) || failed.Kind != Canceled {
		t.Errorf("closed while it was read: %v", failed)
	}
	<-left // the model saw it
	if n := c.endpoints.list[0].failures.Load(); n != 0 {
		t.Error("the endpoint was blamed for a caller who left")
	}
	s.Stalled()
	if n := c.endpoints.list[0].failures.Load(); n != 1 {
		t.Error("the endpoint was not blamed for its silence")
	}
}

// Thousands of open streams must not hold their prompts.
func TestACommittedStreamLetsGoOfItsRequest(t *testing.T) {
	e := serve(t, events(stalls, "data: a\n\n"))
	c := client(t, gpt(e), Options{})
	prompt, err := json.Marshal(map[string]any{"stream": true, "messages": strings.Repeat("x", 1<<18)})
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := c.Stream(t.Context(), Request{Path: chatPath, Body: prompt})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := io.ReadFull(s, make([]byte, 9)); err != nil {
		t.Fatal(err)
	}
	sent := weak.Make(&s.upload.body[0])
	runtime.GC()
	if sent.Value() == nil {
		t.Fatal("the request was not held before the commit: the test looks at nothing")
	}
	if !s.Commit() {
		t.Fatal("not committed")
	}
	until(t, func() bool {
		runtime.GC()
		return sent.Value() == nil
	})
	runtime.KeepAlive(s)
}

// hangsUp runs a server that answers one request on a connection and hangs up
// in the midst of the second, as one does whose keep-alive time is over while
// the request is on its way. hung counts the latter.
func hangsUp(t *testing.T, hung *atomic.Int64) policy.Endpoint {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\ndata: a\n\n")(conn)
				if _, err := in.ReadByte(); err == nil {
					hung.Add(1)
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	return endpointOf(t, l.Addr().String())
}

// A request is sent again on a new connection, however long it is.
func TestAKeptConnectionThatWasClosed(t *testing.T) {
	var hung atomic.Int64
	c := client(t, gpt(hangsUp(t, &hung)), Options{})
	short, long := streamRequest(), streamRequest()
	long.Body = []byte(`{"stream":true,"messages":"` + strings.Repeat("x", 1<<20) + `"}`)
	for i := range 200 {
		req := short
		if i%2 == 0 {
			req = long
		}
		if i%4 > 1 {
			if _, err := c.Do(t.Context(), req); err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
			continue
		}
		s, _, err := c.Stream(t.Context(), req)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		if b, err := io.ReadAll(s); err != nil || string(b) != "data: a\n\n" {
			t.Fatalf("%q %v", b, err)
		}
		s.Close()
	}
	if hung.Load() == 0 {
		t.Error("the server never hung up on a request: the test looked at nothing")
	}
	c.Close()
}
