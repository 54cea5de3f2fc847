package envoy

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/porttest"
	"github.com/safestate/safestate/internal/verdict"
)

// answering is the ladder as an upstream: it answers with the request that it
// got, as events.
func answering(t *testing.T, addr string) chan *http.Request {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan *http.Request, 100)
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		seen <- r
		w.Header().Set("content-type", "text/event-stream")
		w.Header().Set(verdict.HeaderSource, "fallback")
		_, _ = io.WriteString(w, event(len(b)))
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	})}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return seen
}

// TestAnswerRoute: where the processor says so a request goes to the ladder
// instead of to the model, as the processor saw it and with the policy's digest;
// a caller that says so goes to the model.
func TestAnswerRoute(t *testing.T) {
	reroute := func(atBody bool) func(*dialogue) {
		return func(d *dialogue) {
			d.next()
			headers, body := proceed("request headers"), proceed("request body")
			// Chosen anew at the headers always: of a body that comes in pieces
			// Envoy may have gone on before it looks at the reply to the body.
			headers.GetRequestHeaders().Response = &extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{}, ClearRouteCache: true}
			common := headers.GetRequestHeaders().Response
			if atBody {
				body.GetRequestBody().Response = &extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{}, ClearRouteCache: true}
				common = body.GetRequestBody().Response
			}
			common.HeaderMutation = &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{
				raw(policy.HeaderAnswer, "breaker_open"), raw(policy.HeaderCluster, "default/fraud/v1"),
			}}
			d.send(headers)
			d.next()
			d.send(body)
			if h, b, ok := d.whole(); ok {
				for _, v := range h.GetHeaders().GetHeaders() {
					if v.Key == verdict.HeaderSource {
						d.begin("x-seen", string(v.RawValue))
					}
				}
				d.piece(b, true)
			}
		}
	}
	for name, c := range map[string]struct {
		script  func(*dialogue)
		size    int
		header  []string
		away    bool // nobody is the ladder
		toModel bool
	}{
		"at the headers":           {script: reroute(false), size: 10},
		"at the body":              {script: reroute(true), size: 10},
		"at the headers, 900 KiB":  {script: reroute(false), size: 900 << 10},
		"at the body, 900 KiB":     {script: reroute(true), size: 900 << 10},
		"the ladder is away":       {script: reroute(true), size: 10, away: true},
		"the caller's own header":  {script: passing, size: 10, header: []string{policy.HeaderAnswer, "breaker_open"}, toModel: true},
		"the caller's own cluster": {script: passing, size: 10, header: []string{policy.HeaderCluster, "x", policy.HeaderDigest, "y"}, toModel: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			o.Answers = porttest.Address(t)
			var seen chan *http.Request
			if !c.away {
				seen = answering(t, o.Answers)
			}
			startDialogue(t, o.Processor, c.script)
			m := newModel(t, nil)
			s := chatSnapshot(t, chatPolicy(nil), version("v1", m.addr))
			to := "/"
			s.Hosts[0].Entries[0].Match.Path = "/team"
			s.Routes[0].Rewrite = &compile.Rewrite{Prefix: &to}
			s.Routes[0].RequestHeaders = compile.HeaderEdit{Set: []compile.Header{{Name: "x-a", Value: "1"}}}
			r := startStatic(t, s, o).do("POST", "/team"+chatPath, strings.NewReader(strings.Repeat("a", c.size)), c.header...)
			switch {
			case c.toModel:
				if r.status != 200 || r.body != clean || len(seen) != 0 {
					t.Fatalf("got %d %q", r.status, r.body)
				}
				if last := m.last.Load(); last.URL.Path != chatPath || last.Header.Get("x-a") != "1" || last.Header.Get(policy.HeaderAnswer) != "" || last.Header.Get(policy.HeaderCluster) != "" {
					t.Errorf("the model got %s %v", last.URL, last.Header)
				}
				return
			case m.calls.Load() != 0:
				t.Fatal("the model was asked")
			case c.away:
				if r.status != 503 || r.body != errorObject(verdict.BrokenRefused) || r.source() != "safe_default" {
					t.Errorf("got %d %q from %q", r.status, r.body, r.source())
				}
				return
			}
			if want := event(c.size) + "data: [DONE]\n\n"; r.status != 200 || r.body != want || r.header.Get("x-seen") != "fallback" || r.err != nil {
				t.Fatalf("got %d %q %v (%v), want %q", r.status, r.body, r.header, r.err, want)
			}
			got := <-seen
			for name, want := range map[string]string{
				policy.HeaderAnswer: "breaker_open", policy.HeaderCluster: "default/fraud/v1",
				policy.HeaderDigest: policy.Digest(s.Routes[0].PolicyJSON), "x-a": "",
			} {
				if v := got.Header.Get(name); v != want {
					t.Errorf("%s is %q, want %q", name, v, want)
				}
			}
			if got.URL.Path != "/team"+chatPath || got.ProtoMajor != 2 {
				t.Errorf("%s %s", got.Proto, got.URL)
			}
		})
	}
}
