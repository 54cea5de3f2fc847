package envoy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/porttest"
	"github.com/safestate/safestate/internal/verdict"
)

const chatPath = "/v1/chat/completions"

const completion = `{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}`

// chatPolicy is an enforced policy of an OpenAI route.
func chatPolicy(edit func(*policy.Policy)) *policy.Policy {
	return enforced(func(p *policy.Policy) {
		p.Protocol = policy.OpenAI
		p.Stream = &policy.Stream{MaxDuration: policy.Duration(10 * time.Minute)}
		p.Needs = policy.Needs{RequestBody: true, Duplex: true}
		p.Ladder[0].SafeDefault = &policy.SafeDefault{Body: completion}
		if edit != nil {
			edit(p)
		}
	})
}

// chatSnapshot is one route under a chat policy, as package compile has it.
func chatSnapshot(t *testing.T, p *policy.Policy, versions ...compile.Cluster) *compile.Snapshot {
	t.Helper()
	s := snapshot(t, p, versions...)
	if r := &s.Routes[0]; r.MaxDuration > 0 {
		r.MaxDuration = p.Stream.MaxDuration.D() + compile.Grace
	}
	return s
}

// event is one event of a stream.
func event(i int) string {
	return fmt.Sprintf("data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"t%d\"}}]}\n\n", i)
}

// streaming is a model that sends n events, a pause before each; then it does
// what end says, or ends its answer well.
func streaming(n int, pause time.Duration, end func(net.Conn)) func(t *testing.T) string {
	return func(t *testing.T) string {
		return newModel(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("content-type", "text/event-stream")
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			for i := range n {
				select {
				case <-time.After(pause):
				case <-r.Context().Done():
					return
				}
				_, _ = io.WriteString(w, event(i))
				w.(http.Flusher).Flush()
			}
			if end != nil {
				c, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				end(c)
			}
		}).addr
	}
}

func reset(c net.Conn)  { _ = c.(*net.TCPConn).SetLinger(0); _ = c.Close() }
func cutOff(c net.Conn) { _ = c.Close() }

func (p *proxy) chat(header ...string) reply {
	return p.do("POST", chatPath, strings.NewReader(`{"model":"m","messages":[]}`), append(header, "content-type", "application/json")...)
}

// TestChatLastRung: Envoy alone answers a chat with a 503 and an error object,
// in the bytes that clients raise, whatever of processor and model is dead,
// hung or cut.
func TestChatLastRung(t *testing.T) {
	with := func(script func(*dialogue)) func(*testing.T, string) {
		return func(t *testing.T, addr string) { startDialogue(t, addr, script) }
	}
	alive, holding := with(passing), with(withholding)
	dead := func(*testing.T, string) {}
	hung := func(t *testing.T, addr string) { silent(t, addr) }
	good := func(t *testing.T) string {
		return newModel(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, completion) }).addr
	}
	failing := func(t *testing.T) string {
		return newModel(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }).addr
	}
	refusing := func(t *testing.T) string { return porttest.Address(t) }
	stalled := func(t *testing.T) string { return silent(t, "127.0.0.1:0") }
	resetting := func(t *testing.T) string { return breaking(t, "") }
	for name, c := range map[string]struct {
		processor func(*testing.T, string)
		model     func(*testing.T) string
		edit      func(*policy.Policy)
		code      verdict.Code // empty: the model's own answer
	}{
		"processor dead":                     {dead, good, nil, verdict.ProcessorAway},
		"processor hung":                     {hung, good, nil, verdict.ProcessorAway},
		"processor fails before the headers": {with(func(d *dialogue) { d.ask(); d.next(); d.fail = errors.New("died") }), good, nil, verdict.ProcessorAway},
		"both dead":                          {dead, refusing, nil, verdict.ProcessorAway},
		"model refuses":                      {alive, refusing, nil, verdict.BrokenRefused},
		"model silent":                       {alive, stalled, nil, verdict.LateAnswer},
		"model resets":                       {alive, resetting, nil, verdict.BrokenReset},
		"reset before anything is out":       {holding, streaming(0, 0, reset), nil, verdict.BrokenReset},
		"reset in the stream, nothing out":   {holding, streaming(3, 0, reset), nil, verdict.BrokenReset},
		"cut in the stream, nothing out":     {holding, streaming(3, 0, cutOff), nil, verdict.BrokenReset},
		"pass, processor dead, model good":   {dead, good, pass, ""},
		"pass, processor hung, model good":   {hung, good, pass, ""},
		"pass, both dead":                    {dead, refusing, pass, verdict.BrokenRefused},
		"pass, dead, model answers 500":      {dead, failing, pass, verdict.BrokenStatus},
		"observe, processor dead":            {dead, good, observe, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			if strings.Contains(name, "processor hung") {
				o.MessageTimeout = briefly
			}
			c.processor(t, o.Processor)
			pol := chatPolicy(c.edit)
			if name == "model silent" {
				hurried(pol)
			}
			r := startStatic(t, chatSnapshot(t, pol, version("v1", c.model(t))), o).chat()
			if r.took > inTime {
				t.Errorf("took %s, want at most %s", r.took, inTime)
			}
			if c.code == "" {
				if r.status != 200 || r.body != completion || r.source() != "" {
					t.Errorf("got %d %q from %q", r.status, r.body, r.source())
				}
				return
			}
			want := `{"error":{"message":"` + errorMessage + `","type":"server_error","param":null,"code":"safestate_` + string(c.code) + `"}}`
			reason, _, _ := strings.Cut(r.reason(), " ")
			if r.status != 503 || r.body != want || r.err != nil || r.source() != "safe_default" || reason != string(c.code) {
				t.Errorf("got %d %q (%v) from %q because %q; want 503 %q", r.status, r.body, r.err, r.source(), r.reason(), want)
			}
			if r.header.Get("content-type") != "application/json" || r.header.Get("cache-control") != "no-store" || r.header.Get("content-length") != strconv.Itoa(len(want)) {
				t.Errorf("headers %v", r.header)
			}
		})
	}
}

// TestStoppedProcessor: a processor that is stopped while it holds an answer is
// found out, and the caller gets the last rung.
func TestStoppedProcessor(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	behind := porttest.Address(t)
	holds := make(chan struct{})
	startDialogue(t, behind, func(d *dialogue) {
		d.ask()
		d.next()
		close(holds)
	})
	stop := freezable(t, o.Processor, behind)
	p := startStatic(t, chatSnapshot(t, chatPolicy(nil), version("v1", streaming(1000, 50*time.Millisecond, nil)(t))), o)
	go func() {
		<-holds
		stop()
	}()
	r := p.chat()
	if r.status != 503 || r.reason() != ReasonProcessorAway {
		t.Errorf("got %d %q because %q", r.status, r.body, r.reason())
	}
	if limit := serviceAsked + servicePatience + inTime; r.took > limit {
		t.Errorf("took %s, want at most %s", r.took, limit)
	}
}

// TestWithheld: while the reply to its headers is withheld an answer's pieces
// arrive, and the answer goes out in the framing that it came in, or is replaced
// whole.
func TestWithheld(t *testing.T) {
	large := `{"x":"` + strings.Repeat("a", 3<<20) + `"}`
	for name, c := range map[string]struct {
		body    string
		chunked bool
		script  func(d *dialogue, h *extprocv3.HttpHeaders, body string)
		want    string
		length  bool // the caller sees a content-length
	}{
		"clean":          {completion, false, func(d *dialogue, _ *extprocv3.HttpHeaders, b string) { d.begin(); d.piece(b, true) }, completion, true},
		"clean, chunked": {completion, true, func(d *dialogue, _ *extprocv3.HttpHeaders, b string) { d.begin(); d.piece(b, true) }, completion, false},
		"clean, 3 MiB":   {large, false, func(d *dialogue, _ *extprocv3.HttpHeaders, b string) { d.begin(); d.piece(b, true) }, large, true},
		"replaced": {completion, false, func(d *dialogue, _ *extprocv3.HttpHeaders, _ string) {
			d.send(answer(200, "other", "fallback"))
		}, "other", true},
		"replaced, 3 MiB": {large, true, func(d *dialogue, _ *extprocv3.HttpHeaders, _ string) {
			d.send(answer(200, "other", "fallback"))
		}, "other", true},
		"rewritten": {completion, false, func(d *dialogue, _ *extprocv3.HttpHeaders, _ string) {
			d.begin("content-length", "5")
			d.piece("other", true)
		}, "other", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			startDialogue(t, o.Processor, func(d *dialogue) {
				d.ask()
				if h, body, ok := d.whole(); ok && body == c.body {
					c.script(d, h, body)
				}
			})
			m := newModel(t, func(w http.ResponseWriter, _ *http.Request) {
				if !c.chunked {
					w.Header().Set("content-length", strconv.Itoa(len(c.body)))
				}
				_, _ = io.WriteString(w, c.body[:10])
				w.(http.Flusher).Flush()
				_, _ = io.WriteString(w, c.body[10:])
			})
			r := startStatic(t, chatSnapshot(t, chatPolicy(nil), version("v1", m.addr)), o).chat()
			if r.status != 200 || r.body != c.want || r.err != nil {
				t.Fatalf("got %d, %d bytes %.80q (%v)", r.status, len(r.body), r.body, r.err)
			}
			if got := r.header.Get("content-length"); (got != "") != c.length {
				t.Errorf("content-length %q", got)
			}
		})
	}
}

// TestStreams: once begun a stream flows piece by piece past the policy's
// deadline, which bounds only its headers; the processor ends it when it likes,
// and the model is left at once.
func TestStreams(t *testing.T) {
	t.Parallel()
	const events = 12
	o := testOptions(t)
	gone := make(chan struct{})
	m := newModel(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("content-type", "text/event-stream")
		for i := range events {
			_, _ = io.WriteString(w, event(i))
			w.(http.Flusher).Flush()
			select {
			case <-time.After(400 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
		<-r.Context().Done() // a stall
		close(gone)
	})
	const last = "data: {\"error\":{}}\n\n"
	startDialogue(t, o.Processor, func(d *dialogue) {
		d.ask()
		d.next()
		d.begin(verdict.HeaderSource, "primary")
		for got := ""; !strings.Contains(got, event(events-1)); {
			b := string(d.next().GetResponseBody().GetBody())
			got += b
			d.piece(b, false)
		}
		d.piece(last, true)
	})
	pol := chatPolicy(func(p *policy.Policy) {
		p.Deadline, p.Reserve = policy.Duration(4*time.Second), policy.Duration(time.Second)
	})
	p := startStatic(t, chatSnapshot(t, pol, version("v1", m.addr)), o)
	r := p.chat()
	want := last
	for i := range events {
		want = strings.Replace(want, last, event(i)+last, 1)
	}
	if r.status != 200 || r.err != nil || r.body != want {
		t.Fatalf("got %d %q (%v)", r.status, r.body, r.err)
	}
	if r.took < pol.Deadline.D() {
		t.Errorf("took %s: shorter than the stream", r.took)
	}
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Error("the model was not left")
	}
}

// TestCallerLeaves: a caller that leaves in the middle of a stream ends the
// model's work and the exchange with the processor.
func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	left, ended := make(chan struct{}), make(chan struct{})
	startDialogue(t, o.Processor, func(d *dialogue) {
		passing(d)
		close(ended)
	})
	m := newModel(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("content-type", "text/event-stream")
		_, _ = io.WriteString(w, event(0))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(left)
	})
	p := startStatic(t, chatSnapshot(t, chatPolicy(nil), version("v1", m.addr)), o)
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "POST", "http://"+p.listen+chatPath, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := patient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line == "" {
		t.Fatal(err)
	}
	cancel()
	_ = resp.Body.Close()
	for what, c := range map[string]chan struct{}{"the model": left, "the processor": ended} {
		select {
		case <-c:
		case <-time.After(time.Minute):
			t.Errorf("%s does not know that the caller left", what)
		}
	}
}
