package extproc

import (
	"maps"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

const (
	cleanAnswer = `{"model_name":"fraud","model_version":"v1","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.25]}]}`
	nanAnswer   = `{"model_name":"fraud","model_version":"v1","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[NaN]}]}`
	defaultBody = `{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.0]}]}`
)

// fraud is a policy that enforces, with nothing on its ladder but the default, and
// has time for a busy machine.
func fraud(change ...func(*policy.Policy)) *policy.Policy {
	p := &policy.Policy{
		Format: policy.FormatVersion, Name: "default/fraud", Route: "default/fraud/score",
		Mode: policy.Enforce, Protocol: policy.OpenInferenceV2, Model: "default/fraud", ServedName: "fraud",
		Versions: map[string]policy.Version{
			"default/fraud/v1": {Name: "v1"},
			"default/fraud/v2": {Name: "v2"},
		},
		Deadline: policy.Duration(30 * time.Second), Reserve: policy.Duration(time.Second),
		Limits: policy.Limits{BodyBytes: 4096},
		Detect: policy.Detect{
			NonFinite: &policy.NonFinite{Mode: policy.Enforce},
			Broken:    &policy.Broken{Mode: policy.Enforce},
			Late:      &policy.Late{Mode: policy.Enforce},
		},
		Ladder: []policy.Rung{{SafeDefault: &policy.SafeDefault{Body: defaultBody}}},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func observe(p *policy.Policy) { p.Mode = policy.Observe }

func readBody(p *policy.Policy) { p.Needs.RequestBody = true }

func requireAmount(act policy.Act) func(*policy.Policy) {
	return func(p *policy.Policy) {
		readBody(p)
		p.Detect.Request = []policy.RequestCheck{{
			Mode: policy.Enforce, Field: "request.parameters.amount", Required: true, OnFail: act,
		}}
	}
}

func TestProcess(t *testing.T) {
	big := strings.Repeat(" ", 5000)
	for _, c := range []struct {
		name    string
		request request
		status  int
		source  string // x-safestate-source; "-" for none
		reason  string // prefix of x-safestate-reason; "-" for none
		body    string
		asked   bool
	}{
		{"clean", request{policy: fraud(), answer: cleanAnswer}, 200, "primary", "-", cleanAnswer, true},
		{"clean, chunked", request{policy: fraud(), answer: cleanAnswer, chunked: true}, 200, "primary", "-", cleanAnswer, true},
		{"clean, with the request's body read", request{policy: fraud(readBody), answer: cleanAnswer}, 200, "primary", "-", cleanAnswer, true},
		{"clean, with trailers", request{policy: fraud(), answer: cleanAnswer, chunked: true, partial: true}, 200, "primary", "-", cleanAnswer, true},
		{"NaN", request{policy: fraud(), answer: nanAnswer}, 200, "safe_default", "nonfinite outputs[0].data[0] NaN", defaultBody, true},
		{"NaN, chunked", request{policy: fraud(), answer: nanAnswer, chunked: true}, 200, "safe_default", "nonfinite", defaultBody, true},
		{"NaN, observed", request{policy: fraud(observe), answer: nanAnswer}, 200, "primary", "-", nanAnswer, true},
		{"500", request{policy: fraud(), status: 500, answer: "boom at /srv/model.py"}, 200, "safe_default", "broken_status 500", defaultBody, true},
		{"500, observed", request{policy: fraud(observe), status: 500, answer: "boom"}, 500, "primary", "-", "boom", true},
		{"headers only", request{policy: fraud()}, 200, "safe_default", "broken_empty", defaultBody, true},
		{"the caller's own error", request{policy: fraud(), status: 400, answer: `{"error":"bad"}`}, 400, "primary", "-", `{"error":"bad"}`, true},
		{"429 passes", request{policy: fraud(), status: 429, answer: "slow down"}, 429, "primary", "-", "slow down", true},
		{"timeout", request{policy: fraud(), status: 504, answer: "upstream request timeout", details: "response_timeout"}, 200, "safe_default", "late", defaultBody, true},
		{"refused", request{policy: fraud(), status: 503, answer: "x", details: "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"}, 200, "safe_default", "broken_refused", defaultBody, true},
		{"another filter's failure", request{policy: fraud(), status: 503, answer: "", details: "ext_authz_error"}, 503, "-", "-", "", true},
		{"an answer over the limit", request{policy: fraud(), answer: big}, 200, "safe_default", "broken_too_large", defaultBody, true},
		{"an answer over the limit, cut", request{policy: fraud(), answer: big, chunked: true, partial: true}, 200, "safe_default", "broken_too_large", defaultBody, true},
		{"an answer over the limit, passed", request{policy: fraud(func(p *policy.Policy) { p.Limits.ResponseOver = policy.OverPass }), answer: big}, 200, "-", "-", big, true},
		{"an answer over the limit, observed", request{policy: fraud(observe), answer: big, chunked: true, partial: true}, 200, "-", "-", big, true},
		{"a 500 over the limit, cut, with answers over it passed", request{policy: fraud(func(p *policy.Policy) { p.Limits.ResponseOver = policy.OverPass }), status: 500, answer: big, chunked: true, partial: true}, 200, "safe_default", "broken_status 500", defaultBody, true},
		{"a request over the limit", request{policy: fraud(readBody), body: big}, 200, "safe_default", "request_too_large", defaultBody, false},
		{"a request over the limit, rejected", request{policy: fraud(readBody, func(p *policy.Policy) { p.Limits.RequestOver = policy.ActReject }), body: big}, 400, "-", "request_too_large", `{"error":"request_too_large limit 4096"}`, false},
		{"a request over the limit, passed", request{policy: fraud(readBody, func(p *policy.Policy) { p.Limits.RequestOver = policy.ActPass }), body: big, answer: cleanAnswer}, 200, "primary", "-", cleanAnswer, true},
		{"a request without its field", request{policy: fraud(requireAmount(policy.ActAnswer))}, 200, "safe_default", "request_missing parameters.amount", defaultBody, false},
		{"a request without its field, rejected", request{policy: fraud(requireAmount(policy.ActReject))}, 400, "-", "request_missing parameters.amount", "", false},
		{"a request without its field, passed", request{policy: fraud(requireAmount(policy.ActPass)), answer: cleanAnswer}, 200, "primary", "-", cleanAnswer, true},
		{"no version has a weight", request{policy: fraud(), cluster: "-"}, 200, "safe_default", "broken_unavailable", defaultBody, false},
		{"metadata is no inference", request{policy: fraud(), path: "/v2/models/fraud", answer: `{"name":"fraud"}`}, 200, "-", "-", `{"name":"fraud"}`, true},
		{"a model that claims our headers", request{policy: fraud(), answer: cleanAnswer, respond: map[string]string{
			"content-type": "application/json", "x-safestate-source": "cache", "x-safestate-reason": "fine", "x-safestate-other": "1",
		}}, 200, "primary", "-", cleanAnswer, true},
	} {
		both := *c.request.policy // the WASM filter asks of every answer whether it was looked at
		both.Host = policy.HostBoth
		asBoth := c.request
		asBoth.policy = &both
		if got, want := newProxy(t).do(asBoth), newProxy(t).do(c.request); verdictIn(got.word) == "" || got.status != want.status || got.body != want.body || !maps.Equal(got.headers, want.headers) {
			t.Errorf("%s, beside the filter: %+v\nalone: %+v", c.name, got, want)
		}
		t.Run(c.name, func(t *testing.T) {
			got := newProxy(t).do(c.request)
			if got.err != nil {
				t.Fatalf("the processor ended the stream: %v", got.err)
			}
			if got.status != c.status || got.asked != c.asked {
				t.Errorf("status %d, model asked %v; want %d, %v", got.status, got.asked, c.status, c.asked)
			}
			wantHeader(t, got, verdict.HeaderSource, c.source, true)
			wantHeader(t, got, verdict.HeaderReason, c.reason, false)
			if c.body != "" && got.body != c.body {
				t.Errorf("body %q\nwant %q", got.body, c.body)
			}
			if got.headers["x-safestate-other"] != "" {
				t.Error("a header of ours that the model made up reached the caller")
			}
		})
	}
}

func wantHeader(t *testing.T, got result, name, want string, whole bool) {
	t.Helper()
	v, ok := got.headers[name]
	switch {
	case want == "-":
		if ok {
			t.Errorf("%s is %q, want none", name, v)
		}
	case whole && v != want, !strings.HasPrefix(v, want), !ok:
		t.Errorf("%s is %q, want %q", name, v, want)
	}
}

func TestAReplacedBodyKeepsNothingOfTheOldOne(t *testing.T) {
	got := newProxy(t).do(request{policy: fraud(), answer: nanAnswer, respond: map[string]string{
		"content-type": "application/json", "etag": `"1"`, "digest": "sha-256=x", "ce-id": "7", "x-error": "/srv/model.py",
		"date": "today", "access-control-allow-origin": "*",
	}})
	for _, gone := range []string{"etag", "digest", "ce-id", "x-error"} {
		if v, ok := got.headers[gone]; ok {
			t.Errorf("%s: %s outlived the body that it described", gone, v)
		}
	}
	for _, stays := range []string{"date", "access-control-allow-origin"} {
		if got.headers[stays] == "" {
			t.Errorf("%s is lost, which is the proxy's", stays)
		}
	}
	if got.headers["cache-control"] != "no-store" {
		t.Error("a fallback can be cached by whoever is in between")
	}
}

func TestOnlyTheMessagesThatThePolicyNeeds(t *testing.T) {
	for _, c := range []struct {
		name    string
		request request
		want    int
	}{
		{"headers and the answer", request{policy: fraud(), answer: cleanAnswer}, 3},
		{"with the request's body", request{policy: fraud(readBody), answer: cleanAnswer}, 4},
		{"a 500 is decided at its headers", request{policy: fraud(), status: 500, answer: "x"}, 2},
		{"no inference", request{policy: fraud(), path: "/v2/models/fraud/ready", answer: "{}"}, 1},
	} {
		if got := newProxy(t).do(c.request); got.messages != c.want {
			t.Errorf("%s: %d messages, want %d", c.name, got.messages, c.want)
		}
	}
}

func TestAnUnreadablePolicyIsLeftToEnvoy(t *testing.T) {
	p := fraud()
	p.Format = 99
	got := newProxy(t).do(request{policy: p, answer: nanAnswer})
	if got.err == nil || got.asked {
		t.Fatalf("got %+v, want the stream's error, upon which Envoy does what the route says", got)
	}
}

func TestBreakerOpensAndTheModelIsNotAsked(t *testing.T) {
	p := fraud(func(p *policy.Policy) {
		p.Breaker = &policy.Breaker{Failures: 5, Recovery: policy.Duration(time.Hour), HalfOpenRequests: 3}
	})
	proxy := newProxy(t)
	for range 5 {
		if got := proxy.do(request{policy: p, answer: nanAnswer}); !got.asked {
			t.Fatal("the breaker opened before its fifth failure")
		}
	}
	got := proxy.do(request{policy: p, answer: cleanAnswer})
	if got.asked || got.headers[verdict.HeaderSource] != "safe_default" || !strings.HasPrefix(got.headers[verdict.HeaderReason], "breaker_open default/fraud/v1") {
		t.Fatalf("got %+v, want the default for breaker_open without asking the model", got)
	}
	if got := proxy.do(request{policy: p, cluster: "default/fraud/v2", answer: cleanAnswer}); !got.asked || got.headers[verdict.HeaderVersion] != "v2" {
		t.Fatalf("got %+v, want v2 to answer: its breaker is its own", got)
	}
}

func TestABreakerThatObservesBlocksNobody(t *testing.T) {
	p := fraud(observe, func(p *policy.Policy) {
		p.Breaker = &policy.Breaker{Failures: 1, Recovery: policy.Duration(time.Hour), HalfOpenRequests: 1}
	})
	proxy := newProxy(t)
	for range 3 {
		if got := proxy.do(request{policy: p, answer: nanAnswer}); !got.asked || got.body != nanAnswer {
			t.Fatalf("got %+v, want the model's own answer", got)
		}
	}
}

// Envoy ends the stream alike for a caller who leaves and for a model that cuts
// its answer: only what took the model's whole time is held against it.
func TestOnlyAStalledAnswerOpensTheBreaker(t *testing.T) {
	for name, c := range map[string]struct {
		deadline time.Duration
		asked    bool
	}{
		"early": {time.Hour, true},
		"late":  {time.Nanosecond, false},
	} {
		p := fraud(func(p *policy.Policy) {
			p.Deadline, p.Reserve = policy.Duration(c.deadline), 0
			p.Breaker = &policy.Breaker{Failures: 2, Recovery: policy.Duration(time.Hour), HalfOpenRequests: 1}
		})
		proxy := newProxy(t)
		for range 2 {
			proxy.do(request{policy: p, answer: cleanAnswer, vanish: true})
		}
		if got := proxy.do(request{policy: p, answer: cleanAnswer}); got.asked != c.asked {
			t.Errorf("two answers without a body, %s: the model is asked: %v", name, got.asked)
		}
	}
}

func TestACallersErrorSaysNothingAboutTheModel(t *testing.T) {
	p := fraud(func(p *policy.Policy) {
		p.Breaker = &policy.Breaker{Failures: 3, Recovery: policy.Duration(time.Hour), HalfOpenRequests: 1}
	})
	proxy := newProxy(t)
	for range 3 {
		proxy.do(request{policy: p, answer: nanAnswer})
		proxy.do(request{policy: p, status: 400, answer: "{}"})
	}
	if got := proxy.do(request{policy: p, answer: cleanAnswer}); got.asked {
		t.Error("a 400 between two failures kept the breaker closed")
	}
}

func TestAnEmptyRequestIsChecked(t *testing.T) {
	got := newProxy(t).do(request{policy: fraud(requireAmount(policy.ActReject)), noBody: true, answer: cleanAnswer})
	if got.asked || got.status != 400 {
		t.Errorf("got %+v, want 400: the field is missing from nothing too", got)
	}
}

func TestAnOpenBreakerHoldsForRequestsOverTheLimit(t *testing.T) {
	p := fraud(readBody, func(p *policy.Policy) {
		p.Breaker = &policy.Breaker{Failures: 1, Recovery: policy.Duration(time.Hour), HalfOpenRequests: 1}
		p.Limits.RequestOver = policy.ActPass
	})
	proxy := newProxy(t)
	proxy.do(request{policy: p, answer: nanAnswer})
	got := proxy.do(request{policy: p, body: strings.Repeat(" ", 5000), answer: cleanAnswer})
	if got.asked || !strings.HasPrefix(got.headers[verdict.HeaderReason], "breaker_open") {
		t.Errorf("got %+v, want breaker_open", got)
	}
}

func TestABudgetThatRefusesSaysSo(t *testing.T) {
	p := fraud(func(p *policy.Policy) {
		p.Budget = &policy.Budget{FallbackPercent: 0, Window: policy.Duration(time.Minute), MinRequests: 1, Refuse: true}
	})
	got := newProxy(t).do(request{policy: p, answer: nanAnswer})
	if got.status != 503 || !got.immediate || got.headers[verdict.HeaderReason] != "budget_exhausted nonfinite" || got.headers[verdict.HeaderSource] != "" {
		t.Errorf("got %+v, want an immediate 503 for budget_exhausted", got)
	}
}

func TestAnUploadThatNeverEndsHoldsNothing(t *testing.T) {
	p := fraud(readBody, func(p *policy.Policy) { p.MaxConcurrent = 1 })
	proxy := newProxy(t)
	stream, err := proxy.client.Process(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	x := &play{proxy: proxy, stream: stream, request: request{policy: p}.withDefaults(), out: result{headers: map[string]string{}}}
	if !x.exchange(x.requestHeaders()) {
		t.Fatalf("got %+v", x.out)
	}
	if got := proxy.ask(request{policy: p, answer: cleanAnswer}); !got.asked {
		t.Errorf("got %+v: somebody's upload keeps the model from everybody else", got)
	}
}

func TestObserveLeavesTheModelItsTime(t *testing.T) {
	e := &exchange{route: &route{policy: fraud()}, judge: new(detect.Exchange)}
	e.judge.RequestHeaders = headers{}
	e.started = time.Now().Add(-time.Hour)
	e.asked = time.Now()
	if got := e.modelTime(); got != 0 {
		t.Errorf("observed, and cut to %s", got)
	}
	e.enforced = true
	if got := e.modelTime(); got != time.Millisecond {
		t.Errorf("enforced with no time left, and given %s", got)
	}
	e.started = e.asked
	e.judge.RequestHeaders = headers{list: []*corev3.HeaderValue{header(headerUpstreamTimeout, "50")}}
	if got := e.modelTime(); got != 0 {
		t.Errorf("Envoy's shorter timeout became %s", got)
	}
}

func TestMessagesOutOfOrderAreRefused(t *testing.T) {
	proxy := newProxy(t)
	for name, m := range map[string]*extprocv3.ProcessingRequest{
		"a request's body":  {Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{}}},
		"response headers":  {Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{}}},
		"a response's body": {Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{}}},
		"nothing":           {},
	} {
		stream, err := proxy.client.Process(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s first: got %v, want InvalidArgument", name, err)
		}
	}
}
