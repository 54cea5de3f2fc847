package envoy

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/porttest"
	"github.com/safestate/safestate/internal/protocol"
)

// TestMessages: the processor gets the messages that the policy needs and no
// others, with the policy, the version and the node.
func TestMessages(t *testing.T) {
	for name, c := range map[string]struct {
		edit   func(*policy.Policy)
		method string
		path   string
		want   string
	}{
		"no request body":           {nil, "POST", inferPath, "request headers, response headers, response body"},
		"request body":              {func(p *policy.Policy) { p.Needs.RequestBody = true }, "POST", inferPath, "request headers, request body, response headers, response body"},
		"observe":                   {observe, "POST", inferPath, "request headers, response headers, response body"},
		"no inference":              {nil, "GET", "/v2/models/fraud/ready", ""},
		"no inference, same path":   {nil, "OPTIONS", inferPath, ""},
		"inference behind a prefix": {nil, "POST", "/team/v2/models/fraud/infer/?x=1", "request headers, response headers, response body"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			o.NodeID = "node-7"
			ours := startProcessor(t, o.Processor, nil)
			m := newModel(t, nil)
			pol := enforced(c.edit)
			s := snapshot(t, pol, version("v1", m.addr), version("v2", m.addr))
			s.Routes[0].Generation = 12
			o.Sign = func(route, namespace, text string) string { return route + " " + namespace + " " + policy.Digest(text) }
			p := startStatic(t, s, o)
			r := p.do(c.method, c.path, strings.NewReader("{}"))
			if r.status != 200 || r.body != clean || m.calls.Load() != 1 {
				t.Fatalf("got %d %q after %d calls", r.status, r.body, m.calls.Load())
			}
			if r.header.Get("content-length") != strconv.Itoa(len(clean)) {
				t.Errorf("content-length %q, want the model's %d", r.header.Get("content-length"), len(clean))
			}
			if got := ours.lastPhases(); got != c.want {
				t.Errorf("messages %q, want %q", got, c.want)
			}
			if c.want == "" {
				return
			}
			if got := ours.attribute(RequestAttributes[0]); got != s.Routes[0].PolicyJSON {
				t.Errorf("policy %q, want %q", got, s.Routes[0].PolicyJSON)
			}
			if got, want := ours.attribute(policy.AttributeSignature), o.Sign(s.Routes[0].Name, s.Routes[0].Namespace, s.Routes[0].PolicyJSON); got != want {
				t.Errorf("signature %q, want %q", got, want)
			}
			if got := ours.attribute(policy.AttributeRoute); got != s.Routes[0].Name {
				t.Errorf("route %q, want %q", got, s.Routes[0].Name)
			}
			if got := ours.attribute("xds.cluster_name"); got != "default/fraud/v1" {
				t.Errorf("version %q", got)
			}
			if got := ours.attribute("xds.node.id"); got != "node-7" {
				t.Errorf("node %q", got)
			}
			if got := ours.attribute("source.address"); !strings.HasPrefix(got, "127.0.0.1:") {
				t.Errorf("asked by %q", got)
			}
			if got := ours.attribute(policy.AttributeGeneration); got != "12" {
				t.Errorf("generation %q", got)
			}
			if got := ours.attribute("response.code_details"); got != "via_upstream" {
				t.Errorf("details %q", got)
			}
		})
	}
}

// TestLimits: a body over the limit never becomes Envoy's own 500: it arrives
// cut, and passes whole or is replaced as the processor says.
func TestLimits(t *testing.T) {
	const limit = 2 << 20
	big := strings.Repeat("a", 3*limit)
	small := strings.Repeat("b", limit-1000)
	for name, c := range map[string]struct {
		body    string
		chunked bool
		replace bool
		toModel bool // the large body is the request's
		partial bool
	}{
		"under the limit":         {body: small},
		"under, chunked":          {body: small, chunked: true},
		"over, passed":            {body: big, partial: true},
		"over, chunked, passed":   {body: big, chunked: true, partial: true},
		"over, replaced":          {body: big, replace: true, partial: true},
		"request under the limit": {body: small, toModel: true},
		"request over, passed":    {body: big, toModel: true, partial: true},
		"request over, replaced":  {body: big, toModel: true, replace: true, partial: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			phase := "response body"
			if c.toModel {
				phase = "request body"
			}
			sawPartial := make(chan bool, 1)
			o := testOptions(t)
			startProcessor(t, o.Processor, func(at string, m *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
				if at != phase {
					return nil
				}
				body := m.GetResponseBody()
				if c.toModel {
					body = m.GetRequestBody()
				}
				sawPartial <- !body.GetEndOfStream()
				if c.replace {
					return answer(200, "replaced", "safe_default")
				}
				return nil
			})
			sent := make(chan int, 1)
			m := newModel(t, func(w http.ResponseWriter, r *http.Request) {
				got, _ := io.ReadAll(r.Body)
				sent <- len(got)
				if c.toModel {
					_, _ = io.WriteString(w, clean)
					return
				}
				if !c.chunked {
					w.Header().Set("content-length", strconv.Itoa(len(c.body)))
				}
				_, _ = io.WriteString(w, c.body)
			})
			pol := enforced(func(p *policy.Policy) {
				p.Limits.BodyBytes = limit
				p.Needs.RequestBody = c.toModel
			})
			p := startStatic(t, snapshot(t, pol, version("v1", m.addr)), o)
			request, want := "{}", c.body
			if c.toModel {
				request, want = c.body, clean
			}
			if c.replace {
				want = "replaced"
			}
			r := p.do("POST", inferPath, strings.NewReader(request))
			if r.status != 200 || r.err != nil || r.body != want {
				t.Fatalf("got %d, %d bytes (%v), want 200, %d bytes", r.status, len(r.body), r.err, len(want))
			}
			if got := <-sawPartial; got != c.partial {
				t.Errorf("the processor saw a cut body: %v, want %v", got, c.partial)
			}
			if c.toModel && !c.replace {
				if n := <-sent; n != len(c.body) {
					t.Errorf("the model got %d bytes, want %d", n, len(c.body))
				}
			}
		})
	}
}

// TestHeaders: nobody but us can write our headers, and what is asked of the
// model can be read.
func TestHeaders(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	var fromEnvoy http.Header
	startProcessor(t, o.Processor, func(phase string, m *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
		if phase == "request headers" {
			fromEnvoy = http.Header{}
			for _, h := range m.GetRequestHeaders().GetHeaders().GetHeaders() {
				fromEnvoy.Add(h.GetKey(), string(h.GetRawValue()))
			}
		}
		return nil
	})
	m := newModel(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("x-safestate-source", "primary")
		w.Header().Set("x-safestate-anything", "1")
		w.Header().Set("x-model", "kept")
		_, _ = io.WriteString(w, clean)
	})
	s := snapshot(t, enforced(nil), version("v1", m.addr))
	s.Routes[0].RequestHeaders = compile.HeaderEdit{
		Set:    []compile.Header{{Name: "x-set", Value: "100%"}},
		Add:    []compile.Header{{Name: "x-add", Value: "b"}},
		Remove: []string{"x-gone"},
	}
	s.Routes[0].ResponseHeaders = compile.HeaderEdit{Set: []compile.Header{{Name: "x-route", Value: "50%"}}}
	p := startStatic(t, s, o)
	for _, path := range []string{inferPath, "/v2/models/fraud/ready"} {
		r := p.do("POST", path, strings.NewReader("{}"), "x-safestate-source", "cache", "x-safestate-forged", "1",
			"x-forwarded-for", "10.0.0.1", "x-envoy-upstream-rq-timeout-ms", "1", "x-envoy-max-retries", "9",
			"accept-encoding", "gzip", "x-set", "a", "x-add", "a", "x-gone", "a")
		if r.status != 200 || r.header.Get("x-safestate-source") != "" || r.header.Get("x-safestate-anything") != "" || r.header.Get("x-model") != "kept" || r.header.Get("x-route") != "50%" {
			t.Errorf("%s: got %d with %v", path, r.status, r.header)
		}
		asked := m.last.Load().Header
		for name := range asked {
			if strings.HasPrefix(strings.ToLower(name), "x-safestate-") {
				t.Errorf("%s: the model got a caller's %s", path, name)
			}
		}
		if got := asked.Get("x-set") + "|" + strings.Join(asked.Values("x-add"), ",") + "|" + asked.Get("x-gone"); got != "100%|a,b|" {
			t.Errorf("%s: edited headers %q", path, got)
		}
		want := "gzip"
		if path == inferPath {
			want = "identity"
		}
		if got := asked.Get("accept-encoding"); got != want {
			t.Errorf("%s: the model was asked for %q, want %q", path, got, want)
		}
	}
	if fromEnvoy.Get("x-safestate-source") != "" || fromEnvoy.Get("x-safestate-forged") != "" || fromEnvoy.Get("x-envoy-max-retries") != "" {
		t.Errorf("the processor saw a caller's headers: %v", fromEnvoy)
	}
	if got := fromEnvoy.Get("x-envoy-upstream-rq-timeout-ms"); got != "19000" {
		t.Errorf("the model's share is %q ms, want 19000", got)
	}
}

// TestNoVersion: weights that add up to nothing are a plain 503, which the
// processor may better at the request.
func TestNoVersion(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	ours := startProcessor(t, o.Processor, nil)
	s := snapshot(t, enforced(nil), version("v1", newModel(t, nil).addr))
	s.Routes[0].Backends[0].Weight = 0
	p := startStatic(t, s, o)
	if r := p.post(); r.status != 503 || r.source() != "" {
		t.Errorf("got %d from %q, want a plain 503", r.status, r.source())
	}
	if got := ours.attribute("xds.cluster_name"); got != "" || ours.seen.Load() != 1 {
		t.Errorf("%d streams, version %q; want 1 and none", ours.seen.Load(), got)
	}
	ours.mu.Lock()
	ours.script = func(string, *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
		return answer(200, "from the ladder", "rules")
	}
	ours.mu.Unlock()
	if r := p.post(); r.status != 200 || r.body != "from the ladder" || r.source() != "rules" {
		t.Errorf("got %d %q from %q", r.status, r.body, r.source())
	}
}

// TestUpgrade: a live processor sees the last rung's answer with its cause and
// may give a better one.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	ours := startProcessor(t, o.Processor, func(phase string, m *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
		if phase != "response headers" {
			return nil
		}
		for _, h := range m.GetResponseHeaders().GetHeaders().GetHeaders() {
			if h.GetKey() == "x-safestate-source" && string(h.GetRawValue()) == "safe_default" {
				return answer(200, "from the cache", "cache")
			}
		}
		return nil
	})
	p := startStatic(t, snapshot(t, enforced(nil), version("v1", porttest.Address(t))), o)
	r := p.post()
	if r.status != 200 || r.body != "from the cache" || r.source() != "cache" {
		t.Errorf("got %d %q from %q", r.status, r.body, r.source())
	}
	if got := ours.attribute("response.code_details"); !strings.HasPrefix(got, "upstream_reset_before_response_started{") {
		t.Errorf("details %q", got)
	}
}

// TestHungAfterOverride: a processor that asked for more time and then hangs
// costs no more than what it asked for, and never more than the deadline and
// its grace once the model has answered.
func TestHungAfterOverride(t *testing.T) {
	for _, at := range []string{"request headers", "response body"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			o.MessageTimeout = time.Second
			startProcessor(t, o.Processor, func(phase string, _ *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
				if phase == at {
					return longer(2 * time.Second) // and nothing more
				}
				return nil
			})
			p := startStatic(t, snapshot(t, enforced(nil), version("v1", newModel(t, nil).addr)), o)
			r := p.post()
			if r.status != 200 || r.body != safeDefault || r.took < 1900*time.Millisecond || r.took > inTime {
				t.Errorf("got %d %q after %s, want the default after about 2 s", r.status, r.body, r.took)
			}
		})
	}
}

// TestPlainTimeouts: a route without a policy keeps the HTTPRoute's own
// timeouts, and a failure of its model stays Envoy's.
func TestPlainTimeouts(t *testing.T) {
	for name, c := range map[string]struct {
		model, whole time.Duration
		want         time.Duration
	}{
		"model": {200 * time.Millisecond, 0, 200 * time.Millisecond},
		"whole": {0, 250 * time.Millisecond, 250 * time.Millisecond},
		"both":  {200 * time.Millisecond, 2 * time.Second, 200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			s := snapshot(t, nil, version("v1", silent(t, "127.0.0.1:0")))
			s.Routes[0].ModelTimeout, s.Routes[0].MaxDuration = c.model, c.whole
			r := startStatic(t, s, o).post()
			if r.status != 504 || r.took < c.want*9/10 || r.took > c.want+inTime || r.source() != "" {
				t.Errorf("got %d %q after %s, want a 504 after %s", r.status, r.body, r.took, c.want)
			}
		})
	}
}

// TestInferenceCalls holds the rendered matchers against package protocol, on
// the real Envoy: what is an inference reaches the processor.
func TestInferenceCalls(t *testing.T) {
	paths := []string{
		inferPath, "/v2/models/fraud/versions/1/infer", "/x/infer//", "/infer?a=/ready", "/v2/models/fraud/ready?x=/infer", "/v2/models/infer/ready",
		"/v1/models/m:predict", "/v1/models/m%3Apredict", "/v1/models/m%3apredict?x=1", "/v1/models/m:predict/", "/v1/models/m:explain", "/v1/models/predict",
		"/v1/models/m/versions/2:classify", "/v1/models/m:regress", "/invocations", "/invocations/", "/invocations/x", "/ping", "/",
		"/v1/chat/completions", "/v1/chat/completions/?api-version=1", "/v1/completions", "/v1/completions/x", "/v1/models", "/v1/embeddings",
	}
	for _, proto := range []policy.Protocol{policy.OpenInferenceV1, policy.OpenInferenceV2, policy.TensorFlowServing, policy.MLflow, policy.JSON, policy.OpenAI} {
		t.Run(string(proto), func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			ours := startProcessor(t, o.Processor, nil)
			p := startStatic(t, snapshot(t, enforced(func(p *policy.Policy) { p.Protocol = proto }), version("v1", newModel(t, nil).addr)), o)
			for _, method := range []string{"POST", "GET", "PUT", "HEAD", "OPTIONS"} {
				for _, path := range paths {
					before := ours.seen.Load()
					r := p.do(method, path, bytes.NewReader(nil))
					if r.status != 200 {
						t.Fatalf("%s %s: %d", method, path, r.status)
					}
					if got, want := ours.seen.Load() > before, protocol.Inference(proto, method, path); got != want {
						t.Errorf("%s %s: reached the processor: %v, an inference: %v", method, path, got, want)
					}
				}
			}
		})
	}
}

// TestAccessLog: one JSON object a request, with what answered and why, and
// nothing of a body.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	o.AccessLog = filepath.Join(t.TempDir(), "access.log")
	startProcessor(t, o.Processor, nil)
	p := startStatic(t, snapshot(t, enforced(nil), version("v1", porttest.Address(t))), o)
	p.post()
	var line map[string]any
	eventually(t, "a line in the log", func() bool {
		_ = p.adminPost("/reopen_logs")
		text, err := os.ReadFile(o.AccessLog)
		return err == nil && json.Unmarshal(text, &line) == nil
	})
	for field, want := range map[string]any{"method": "POST", "path": inferPath, "status": 200.0, "source": "safe_default", "version": "default/fraud/v1", "route": "default/fraud/score"} {
		if line[field] != want {
			t.Errorf("%s is %v, want %v, in %v", field, line[field], want, line)
		}
	}
	if s, _ := line["reason"].(string); !strings.HasPrefix(s, "broken_refused ") {
		t.Errorf("reason %v", line["reason"])
	}
}
