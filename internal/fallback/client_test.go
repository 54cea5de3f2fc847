package fallback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/safestate/safestate/internal/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const v2Path = "/v2/models/small/infer"

// endpointOf is where a listener or server listens.
func endpointOf(t *testing.T, addr string) policy.Endpoint {
	t.Helper()
	host, port, err := net.SplitHostPort(strings.TrimPrefix(strings.TrimPrefix(addr, "http://"), "https://"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return policy.Endpoint{Address: host, Port: n}
}

// serve runs a model server for one test.
func serve(t *testing.T, h http.HandlerFunc) policy.Endpoint {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return endpointOf(t, s.URL)
}

func v2(e ...policy.Endpoint) policy.Fallback {
	return policy.Fallback{
		Model: "default/small", ServedName: "small", Protocol: policy.OpenInferenceV2,
		Endpoints: e, Deadline: policy.Duration(10 * time.Second), MaxBytes: 1000,
	}
}

func client(t *testing.T, cfg policy.Fallback, opt Options) *Client {
	t.Helper()
	c, err := New(cfg, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

type headers map[string]string

func (h headers) Get(name string) (string, bool) { v, ok := h[name]; return v, ok }

func TestDo(t *testing.T) {
	var got *http.Request
	var body []byte
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"outputs":[]}`)
	})
	c := client(t, v2(e), Options{})
	a, err := c.Do(t.Context(), Request{
		Path: "/v2/models/fraud/infer",
		Headers: headers{
			"content-type": "application/octet-stream", "inference-header-content-length": "7", "accept": "application/json",
			"traceparent": "00-1-2-03", "tracestate": "a=b", "x-request-id": "r1",
			"authorization": "Bearer caller", "cookie": "c=1", "x-tenant": "t", "accept-encoding": "gzip", "host": "elsewhere",
		},
		Body: []byte("{\"a\":1}\x00\x01"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if ct, _ := a.Headers.Get("content-type"); a.Status != 200 || string(a.Body) != `{"outputs":[]}` || ct != "application/json" {
		t.Errorf("answer %d %q %q", a.Status, a.Body, ct)
	}
	if got.Method != http.MethodPost || got.URL.Path != v2Path || string(body) != "{\"a\":1}\x00\x01" || got.ContentLength != 9 {
		t.Errorf("asked %s %s with %q, content-length %d", got.Method, got.URL, body, got.ContentLength)
	}
	want := map[string]string{
		"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": "7", "Accept": "application/json",
		"Traceparent": "00-1-2-03", "Tracestate": "a=b", "X-Request-Id": "r1", "Accept-Encoding": "identity",
		"User-Agent": "safestate", "Content-Length": "9",
	}
	for name, v := range want {
		if got.Header.Get(name) != v {
			t.Errorf("%s is %q, want %q", name, got.Header.Get(name), v)
		}
	}
	for name := range got.Header {
		if _, ok := want[name]; !ok {
			t.Errorf("%s was passed on", name)
		}
	}
}

// raw runs a server that writes bytes of its own making.
func raw(t *testing.T, answer func(net.Conn)) policy.Endpoint {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 64<<10)
			_, _ = conn.Read(buf)
			answer(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return endpointOf(t, l.Addr().String())
}

func write(s string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, s) }
}

func reset(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }

func refused(t *testing.T) policy.Endpoint {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return endpointOf(t, l.Addr().String())
}

// never answers until the request is given up.
func never(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.ReadAll(r.Body)
	<-r.Context().Done()
}

func TestErrors(t *testing.T) {
	var elsewhere atomic.Int64
	other := serve(t, func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
	short := policy.Duration(100 * time.Millisecond)
	cases := []struct {
		name     string
		endpoint policy.Endpoint
		deadline policy.Duration
		kind     Kind
		status   int
	}{
		{"refused", refused(t), 0, Refused, 0},
		{"no such name", policy.Endpoint{Address: "model.invalid", Port: 80}, 0, Refused, 0},
		{"reset", raw(t, reset), 0, Reset, 0},
		{"closed", raw(t, func(net.Conn) {}), 0, Reset, 0},
		{"not HTTP", raw(t, write("SSH-2.0-x\r\n")), 0, Broken, 0},
		{"hangs", serve(t, never), short, Timeout, 0},
		{"stalls after its headers", serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10")
			w.(http.Flusher).Flush()
			never(w, r)
		}), short, Timeout, 0},
		{"stalls in its body", serve(t, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "{")
			w.(http.Flusher).Flush()
			never(w, r)
		}), short, Timeout, 0},
		{"stalls in the body of a 500", serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			w.(http.Flusher).Flush()
			never(w, r)
		}), 0, Status, 500},
		{"cut short of its length", raw(t, write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}")), 0, Cut, 0},
		{"cut in a chunk", raw(t, write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n{}")), 0, Cut, 0},
		{"cut between chunks", raw(t, write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")), 0, Cut, 0},
		{"cut by a reset", raw(t, func(c net.Conn) {
			write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}")(c)
			reset(c)
		}), 0, "", 0}, // a reset may overtake what was written: see below
		{"announces too much", raw(t, write("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n")), 0, TooLarge, 0},
		{"too much in chunks", serve(t, func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				_, _ = w.Write(bytes.Repeat([]byte("x"), 100))
				w.(http.Flusher).Flush()
			}
		}), 0, TooLarge, 0},
		{"a body without end", serve(t, func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write(bytes.Repeat([]byte("x"), 100))
			}
		}), 0, TooLarge, 0},
		{"headers without end", raw(t, func(c net.Conn) {
			write("HTTP/1.1 200 OK\r\n")(c)
			for range 10_000 {
				if _, err := io.WriteString(c, "X-A: "+strings.Repeat("x", 100)+"\r\n"); err != nil {
					return
				}
			}
		}), 0, Broken, 0},
		{"500", serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }), 0, Status, 500},
		{"404", serve(t, http.NotFound), 0, Status, 404},
		{"204", serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }), 0, Status, 204},
		{"redirect", serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", fmt.Sprintf("http://%s:%d/", other.Address, other.Port))
			w.WriteHeader(http.StatusTemporaryRedirect)
		}), 0, Status, 307},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg := v2(c.endpoint)
			if c.deadline > 0 {
				cfg.Deadline = c.deadline
			}
			_, err := client(t, cfg, Options{}).Do(t.Context(), Request{Path: "/"})
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if c.kind == "" {
				if e.Kind != Cut && e.Kind != Reset {
					t.Errorf("got %v, want cut or reset", e)
				}
				return
			}
			if e.Kind != c.kind || e.Status != c.status {
				t.Errorf("got %v, want %s %d", e, c.kind, c.status)
			}
		})
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("the redirect was followed %d times", n)
	}
}

func TestExactlyTheLimit(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		e := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if chunked {
				w.(http.Flusher).Flush()
			}
			_, _ = w.Write(bytes.Repeat([]byte("x"), 1000))
		})
		a, err := client(t, v2(e), Options{}).Do(t.Context(), Request{Path: "/"})
		if err != nil || len(a.Body) != 1000 {
			t.Errorf("chunked %v: %v", chunked, err)
		}
	}
}

func TestWhoseDeadline(t *testing.T) {
	e := serve(t, never)
	c := client(t, v2(e), Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := c.Do(ctx, Request{Path: "/"})
	var failed *Error
	if !errors.As(err, &failed) || failed.Kind != Timeout {
		t.Errorf("the ladder's deadline: %v", err)
	}
	if n := c.endpoints.list[0].failures.Load(); n != 0 {
		t.Error("an endpoint was blamed for a deadline far under its own")
	}
	ctx, leave := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, leave)
	if _, err = c.Do(ctx, Request{Path: "/"}); !errors.As(err, &failed) || failed.Kind != Canceled {
		t.Errorf("a caller who left: %v", err)
	}
}

func TestNextEndpoint(t *testing.T) {
	var asked [2]atomic.Int64
	good := func(i int) policy.Endpoint {
		return serve(t, func(w http.ResponseWriter, _ *http.Request) { asked[i].Add(1); fmt.Fprint(w, "{}") })
	}
	var bad atomic.Int64
	broken := serve(t, func(w http.ResponseWriter, _ *http.Request) { bad.Add(1); w.WriteHeader(http.StatusServiceUnavailable) })
	c := client(t, v2(refused(t), good(0), good(1)), Options{})
	for range 20 {
		if _, err := c.Do(t.Context(), Request{Path: "/"}); err != nil {
			t.Fatalf("a refused endpoint was not passed over: %v", err)
		}
	}
	if a, b := asked[0].Load(), asked[1].Load(); a+b != 20 || a < 8 || b < 8 {
		t.Errorf("asked %d and %d of 20", a, b)
	}
	// What may have reached a model is not sent again to another.
	c = client(t, v2(broken, good(0)), Options{})
	failed := 0
	for range 10 {
		if _, err := c.Do(t.Context(), Request{Path: "/"}); err != nil {
			failed++
		}
	}
	if failed != int(bad.Load()) || failed == 0 || failed > 3 {
		t.Errorf("%d requests failed and the broken endpoint was asked %d times", failed, bad.Load())
	}
}

// TestClosedWhileIdle has a server that answers one request on a connection
// and hangs up on the second, as one does whose keep-alive time is over while
// the request is on its way: it is sent again on a new connection.
func TestClosedWhileIdle(t *testing.T) {
	var hungUp atomic.Int64
	e := raw(t, func(c net.Conn) {
		write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")(c)
		if n, _ := c.Read(make([]byte, 64<<10)); n > 0 {
			hungUp.Add(1)
		}
	})
	c := client(t, v2(e), Options{})
	for i := range 20 {
		if _, err := c.Do(t.Context(), Request{Path: "/", Body: []byte("{}")}); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if hungUp.Load() == 0 {
		t.Error("the server never hung up on a request: the test looked at nothing")
	}
	c.Close()
}

func TestProbesKeepWarm(t *testing.T) {
	var opened, probed atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Path == "/v2/health/ready" {
			probed.Add(1)
		}
		fmt.Fprint(w, "{}")
	}))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	cfg := v2(endpointOf(t, s.URL))
	cfg.Probe = &policy.Probe{Path: "/v2/health/ready", Interval: policy.Duration(time.Millisecond)}
	c := client(t, cfg, Options{})
	until(t, func() bool { return probed.Load() >= 3 })
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections for %d probes", n, probed.Load())
	}
	if _, err := c.Do(t.Context(), Request{Path: "/"}); err != nil {
		t.Error(err)
	}
}

func TestProbeFindsTheFailing(t *testing.T) {
	var down atomic.Bool
	e := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	cfg := v2(e)
	cfg.Probe = &policy.Probe{Path: "/ready", Interval: policy.Duration(time.Millisecond)}
	c := client(t, cfg, Options{})
	down.Store(true)
	until(t, func() bool { return c.endpoints.list[0].skipUntil.Load() != 0 })
	down.Store(false)
	until(t, func() bool { return c.endpoints.list[0].skipUntil.Load() == 0 })
}

// until waits for a condition that other goroutines bring about.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.After(time.Minute); !ok(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("waited a minute in vain")
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, cfg := range map[string]policy.Fallback{
		"no endpoint":    v2(),
		"no served name": {Protocol: policy.OpenInferenceV2, Endpoints: []policy.Endpoint{{Address: "a", Port: 1}}},
		"a bad path":     {Protocol: policy.JSON, Path: "x", Endpoints: []policy.Endpoint{{Address: "a", Port: 1}}},
	} {
		if c, err := New(cfg, Options{}); err == nil {
			c.Close()
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestNoProxyNoCompression(t *testing.T) {
	tr := newTransport(nil, false)
	if tr.Proxy != nil || !tr.DisableCompression {
		t.Error("a proxy or compression is on")
	}
}
