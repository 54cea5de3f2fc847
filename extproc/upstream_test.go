package extproc

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
)

// said is what an upstream's answer has beside its body.
type said struct {
	StatusCode      int
	Header, Trailer http.Header
}

// asUpstream serves the ladder of a policy as Envoy reaches it.
func asUpstream(t *testing.T, pol *policy.Policy) (p *proxy, ask func(path, body string, more ...string) (said, string)) {
	t.Helper()
	p = newProxy(t)
	if err := p.server.Prepare([]*policy.Policy{pol}); err != nil {
		t.Fatal(err)
	}
	text, err := pol.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(p.server.Upstream())
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	transport := &http.Transport{Protocols: s.Config.Protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return p, func(path, body string, more ...string) (said, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("content-type", "application/json")
		r.Header.Set(policy.HeaderDigest, policy.Digest(string(text)))
		for i := 0; i+1 < len(more); i += 2 {
			r.Header.Set(more[i], more[i+1])
		}
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		return said{resp.StatusCode, resp.Header, resp.Trailer}, string(got)
	}
}

// withModel puts a fallback model on a chat policy's ladder.
func withModel(t *testing.T, answer http.HandlerFunc) func(*policy.Policy) {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	_, text, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return func(p *policy.Policy) {
		p.Ladder = append([]policy.Rung{{Fallback: &policy.Fallback{
			Model: "default/small", Version: "v1", ServedName: "big", Protocol: policy.OpenAI,
			Endpoints: []policy.Endpoint{{Address: "127.0.0.1", Port: port}}, Deadline: p.Deadline, MaxBytes: 1 << 20,
		}}}, p.Ladder...)
	}
}

func events(w http.ResponseWriter, texts ...string) {
	w.Header().Set("content-type", "text/event-stream")
	for _, s := range texts {
		_, _ = io.WriteString(w, s)
		_ = http.NewResponseController(w).Flush()
	}
}

func TestUpstreamChat(t *testing.T) {
	plain := strings.Replace(chatRequest, `,"stream":true`, "", 1)
	t.Run("a stream of the fallback", func(t *testing.T) {
		_, ask := asUpstream(t, chatPolicy(withModel(t, func(w http.ResponseWriter, _ *http.Request) {
			events(w, chunkRole, chunk("Hello"), chunkStop, chunkDone)
		})))
		resp, body := ask(chatPath, chatRequest, policy.HeaderAnswer, "breaker_open default/chat/v1", policy.HeaderCluster, "default/chat/v1")
		if body != chunkRole+chunk("Hello")+chunkStop+chunkDone || resp.Header.Get("x-safestate-source") != "fallback" ||
			resp.Header.Get("x-safestate-reason") != "breaker_open default/chat/v1" {
			t.Errorf("headers %v, body %s", resp.Header, body)
		}
	})
	t.Run("a stream that breaks after its first content", func(t *testing.T) {
		_, ask := asUpstream(t, chatPolicy(withModel(t, func(w http.ResponseWriter, _ *http.Request) {
			events(w, chunkRole, chunk("Hello"))
		})))
		_, body := ask(chatPath, chatRequest)
		if !strings.HasPrefix(body, chunkRole+chunk("Hello")) || !strings.Contains(body, "safestate_broken_truncated") || strings.Contains(body, chunkDone) {
			t.Errorf("body %s", body)
		}
	})
	t.Run("a fallback that refuses", func(t *testing.T) {
		_, ask := asUpstream(t, chatPolicy(withModel(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) })))
		resp, body := ask(chatPath, plain)
		if resp.StatusCode != 200 || body != chatDefault || resp.Header.Get("x-safestate-source") != "safe_default" {
			t.Errorf("status %d, headers %v, body %s", resp.StatusCode, resp.Header, body)
		}
	})
	t.Run("a policy that nobody knows", func(t *testing.T) {
		_, ask := asUpstream(t, chatPolicy())
		resp, body := ask(chatPath, plain, policy.HeaderDigest, "none")
		if resp.StatusCode != 503 || !strings.Contains(body, "safestate_unanswered") {
			t.Errorf("status %d, body %s", resp.StatusCode, body)
		}
	})
	t.Run("a request over the limit", func(t *testing.T) {
		p, ask := asUpstream(t, chatPolicy())
		// Whether it asked for a stream nobody knows: an error is right for both.
		if resp, body := ask(chatPath, strings.Repeat(" ", 65<<10)); resp.StatusCode != 503 || !strings.HasPrefix(body, `{"error":`) {
			t.Errorf("status %d, body %s", resp.StatusCode, body)
		}
		if n := p.server.inFlight.Load(); n != 0 {
			t.Errorf("%d bytes are still booked", n)
		}
	})
	t.Run("the process ends", func(t *testing.T) {
		var end func()
		pol := chatPolicy(withModel(t, func(w http.ResponseWriter, r *http.Request) {
			events(w, chunkRole, chunk("Hello"))
			end()
			<-r.Context().Done()
		}))
		p, ask := asUpstream(t, pol)
		end = p.server.EndStreams
		if _, body := ask(chatPath, chatRequest); !strings.Contains(body, "safestate_draining") {
			t.Errorf("body %s", body)
		}
	})
}

func TestUpstreamMessage(t *testing.T) {
	frame := string(protocol.Frame(nil, inferAnswer(t, "1")))
	t.Run("the default", func(t *testing.T) {
		_, ask := asUpstream(t, grpcPolicy())
		resp, body := ask(inferPath, frame, "content-type", "application/grpc", policy.HeaderCluster, "default/fraud/v1")
		if resp.Trailer.Get("grpc-status") != "0" || resp.Header.Get("x-safestate-source") != "safe_default" || !strings.Contains(score(t, body), `"score"`) {
			t.Errorf("headers %v, trailers %v, body %q", resp.Header, resp.Trailer, body)
		}
	})
	t.Run("a budget that is used up", func(t *testing.T) {
		_, ask := asUpstream(t, fraud(func(p *policy.Policy) {
			*p = *grpcPolicy()
			p.Budget = &policy.Budget{FallbackPercent: 0.001, Window: p.Deadline * 100, MinRequests: 1, Refuse: true}
		}))
		var status string
		for range 3 {
			resp, _ := ask(inferPath, frame, "content-type", "application/grpc")
			status = resp.Header.Get("grpc-status") + resp.Trailer.Get("grpc-status")
		}
		if status != "14" {
			t.Errorf("grpc-status %q, want UNAVAILABLE", status)
		}
	})
}

// TestCallersAuthorization: a version's own credentials are no caller's.
func TestCallersAuthorization(t *testing.T) {
	for kept, want := range map[string]string{"": "Bearer sent", "=Bearer caller": "Bearer caller", "=": ""} {
		h := http.Header{"Authorization": {"Bearer sent"}}
		if kept != "" {
			h.Set(policy.HeaderAuthorization, kept)
		}
		if got, ok := requestHeadersOf(h).Get("authorization"); got != want || ok != (want != "") {
			t.Errorf("kept %q: %q, %v; want %q", kept, got, ok, want)
		}
	}
}
