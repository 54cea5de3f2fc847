package filter_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/signals/signalsv1"
	"github.com/safestate/safestate/wasm/emulator"
	"github.com/safestate/safestate/wasm/filter"
)

// plainPolicy needs nothing of a request.
func plainPolicy(change ...func(*policy.Policy)) policy.Policy {
	p := policy.Policy{
		Format: 1, Name: "ns/p", Route: "ns/r/0", Host: policy.HostWASM, Mode: policy.Enforce, Protocol: policy.OpenInferenceV2, Model: "ns/m",
		Versions: map[string]policy.Version{"c1": {Name: "v1"}}, Deadline: policy.Duration(300 * time.Millisecond), Reserve: policy.Duration(50 * time.Millisecond),
		Limits: policy.Limits{BodyBytes: 1 << 20},
		Detect: policy.Detect{NonFinite: &policy.NonFinite{Mode: policy.Enforce}, Broken: &policy.Broken{Mode: policy.Enforce}, Late: &policy.Late{Mode: policy.Enforce}},
		Ladder: []policy.Rung{{SafeDefault: &policy.SafeDefault{Body: `{"default":true}`}}},
	}
	for _, c := range change {
		c(&p)
	}
	return p
}

// chatPolicy asks a fallback model elsewhere.
func chatPolicy(change ...func(*policy.Policy)) policy.Policy {
	p := plainPolicy(func(p *policy.Policy) {
		p.Protocol, p.Needs = policy.OpenAI, policy.Needs{RequestBody: true, Duplex: true}
		p.Deadline, p.Reserve = policy.Duration(3*time.Second), policy.Duration(500*time.Millisecond)
		p.Stream = &policy.Stream{FirstToken: policy.Duration(time.Second), BetweenTokens: policy.Duration(time.Second), MaxDuration: policy.Duration(time.Minute), HoldBytes: 64 << 10}
		p.Ladder = []policy.Rung{
			{Fallback: &policy.Fallback{Model: "ns/f", Protocol: policy.OpenAI, Endpoints: []policy.Endpoint{{Address: "127.0.0.1", Port: 1}}, Deadline: policy.Duration(time.Second), MaxBytes: 1 << 20}},
			{SafeDefault: &policy.SafeDefault{Body: `{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"sorry"},"finish_reason":"stop"}]}`}},
		}
	})
	for _, c := range change {
		c(&p)
	}
	return p
}

func routeOf(t *testing.T, p policy.Policy) emulator.Route {
	t.Helper()
	text, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return emulator.Route{Name: p.Route, Cluster: "c1", Metadata: map[string]map[string]string{policy.MetadataNamespace: {
		policy.MetadataPolicy: string(text), policy.MetadataPolicyDigest: policy.Digest(string(text)), policy.MetadataGeneration: "7",
	}}}
}

var (
	question = emulator.Request{
		Path: "/v2/models/m/infer", Headers: [][2]string{{"content-type", "application/json"}},
		Body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}`,
	}
	chatQuestion = emulator.Request{
		Path: "/v1/chat/completions", Headers: [][2]string{{"content-type", "application/json"}},
		Body: `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}`,
	}
	clean = emulator.Answer{
		Headers: [][2]string{{"content-type", "application/json"}},
		Body:    `{"outputs":[{"name":"s","datatype":"FP32","shape":[1],"data":[0.5]}]}`,
	}
	broken = emulator.Answer{Status: 500}
)

const firstChunk = `data: {"id":"a","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}` + "\n\n"

// says fails the test unless an answer has a source, and the reason begins so.
func says(t *testing.T, s *emulator.Stream, source, reason string) {
	t.Helper()
	r := s.Response()
	if r.Header("x-safestate-source") != source || !strings.HasPrefix(r.Header("x-safestate-reason"), reason) || !s.Done() {
		t.Errorf("status %d, source %q, reason %q, done %v, want %s, %s", r.Status, r.Header("x-safestate-source"), r.Header("x-safestate-reason"), s.Done(), source, reason)
	}
}

// inBubble runs a test with a host of a route, natively.
func inBubble(t *testing.T, p policy.Policy, call func(emulator.Call) emulator.Reply, run func(*testing.T, *emulator.Host)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		run(t, emulator.New(t, emulator.Options{
			VM: filter.NewVMContext, Route: routeOf(t, p), Call: call, Node: "envoy", Configuration: `{"answers":"safestate_answers"}`,
		}))
	})
}

func breaks(p *policy.Policy) {
	p.Breaker = &policy.Breaker{Failures: 1, Recovery: policy.Duration(time.Minute), HalfOpenRequests: 1}
}

// TestAnOpenBreakerAsksNobody: whether or not the policy needs the request, and however
// that comes.
func TestAnOpenBreakerAsksNobody(t *testing.T) {
	for name, needs := range map[string]bool{"the request is kept": true, "it is not": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, plainPolicy(breaks, func(p *policy.Policy) { p.Needs.RequestBody = needs }), nil, func(t *testing.T, h *emulator.Host) {
				says(t, h.Do(question, broken), "safe_default", "broken_status")
				trailing, empty := question, question
				trailing.Trailers = [][2]string{{"x-end", "1"}}
				empty.Body, empty.Method = "", "POST"
				for _, q := range []emulator.Request{question, trailing, empty} {
					s := h.Do(q, clean)
					says(t, s, "safe_default", "breaker_open")
					if s.Asked().Headers != nil {
						t.Errorf("%q reached the model", q.Body)
					}
				}
			})
		})
	}
}

// TestARevertedPolicyHasItsOwnSettings: breakers outlive policies, and have the settings
// of the one that is in force.
func TestARevertedPolicyHasItsOwnSettings(t *testing.T) {
	open := func(p *policy.Policy) { breaks(p); p.Breaker.Hold = policy.HoldOpen }
	before, between := plainPolicy(breaks), plainPolicy(open)
	inBubble(t, before, nil, func(t *testing.T, h *emulator.Host) {
		says(t, h.Do(question, clean), "primary", "")
		h.SetRoute(routeOf(t, between))
		says(t, h.Do(question, clean), "safe_default", "breaker_open")
		h.SetRoute(routeOf(t, before))
		says(t, h.Do(question, clean), "primary", "")
	})
}

// TestACutInTrailersIsTold: a stream without its end is no whole answer, whatever ends
// its body.
func TestACutInTrailersIsTold(t *testing.T) {
	inBubble(t, chatPolicy(), nil, func(t *testing.T, h *emulator.Host) {
		s := h.Do(chatQuestion, emulator.Answer{Headers: [][2]string{{"content-type", "text/event-stream"}}, Chunks: []string{firstChunk}, Trailers: [][2]string{{"x-end", "1"}}})
		h.Advance(100 * time.Millisecond)
		if r := s.Response(); !r.Broken {
			t.Errorf("it passed as whole: %q", r.Body)
		}
		if n := h.Metric("safestate_prediction_served_total;.route=.ns/r/0;.;.model=.ns/m;.;.model_version=.v1;.;.source=.cut;."); n != 1 {
			t.Errorf("counted as cut %d times", n)
		}
	})
}

// TestAFallbackHasTheTimeOfAStream: also where the model was not asked.
func TestAFallbackHasTheTimeOfAStream(t *testing.T) {
	var timeouts []time.Duration
	call := func(c emulator.Call) emulator.Reply {
		if c.Header(policy.HeaderReport) != "" {
			return emulator.Reply{Status: 204}
		}
		timeouts = append(timeouts, c.Timeout)
		return emulator.Reply{After: 5 * time.Second, Headers: [][2]string{{"x-safestate-source", "fallback"}, {"content-type", "text/event-stream"}}, Body: "data: hi\n\n"}
	}
	inBubble(t, chatPolicy(breaks), call, func(t *testing.T, h *emulator.Host) {
		for range 2 { // a failed answer, and an open breaker
			s := h.Do(chatQuestion, broken)
			h.Advance(10 * time.Second)
			says(t, s, "fallback", "")
		}
		if len(timeouts) != 2 || timeouts[1] < time.Minute {
			t.Errorf("the calls had %v", timeouts)
		}
	})
}

// TestBesideAProcessorNothingCountsTwice: what the processor keeps from the filter is the
// processor's to count, and so is a policy that the filter is too old to read.
func TestBesideAProcessorNothingCountsTwice(t *testing.T) {
	both := func(p *policy.Policy) { p.Host = policy.HostBoth }
	inBubble(t, plainPolicy(both), nil, func(t *testing.T, h *emulator.Host) {
		s := h.Ask(question)
		s.Set(policy.DetailsCut+"{connection_termination}", "response", "code_details")
		s.Leave()
		h.Do(emulator.Request{Path: "/v2/health/ready"}, emulator.Answer{})
		h.Advance(2 * time.Second)
		for name, n := range h.Metrics() {
			t.Errorf("%s is %d", name, n)
		}
		if calls := h.Calls(); len(calls) > 0 {
			t.Errorf("reported %d times", len(calls))
		}
		s = h.Ask(question)
		s.Set("counted", "metadata", "filter_metadata", policy.MetadataNamespace, policy.MetadataVerdict)
		s.Answer(emulator.Answer{Headers: clean.Headers, Body: `{"outputs":[{"name":"s","datatype":"FP32","shape":[1],"data":[NaN]}]}`})
		if r := s.Response(); r.Header("x-safestate-source") != "" {
			t.Errorf("an answer that the processor has judged was judged again: %q", r.Header("x-safestate-reason"))
		}
	})
	inBubble(t, plainPolicy(both, func(p *policy.Policy) { p.Format = 99 }), nil, func(t *testing.T, h *emulator.Host) {
		if s := h.Do(question, clean); s.Response().Status != 200 || s.Asked().Headers == nil {
			t.Errorf("a policy that the filter cannot read: status %d", s.Response().Status)
		}
	})
}

// TestReports: what the filter counts is taken by the control plane's own hub, and a
// report that is lost changes nothing.
func TestReports(t *testing.T) {
	var reports []*signalsv1.Report
	refuse := 0
	call := func(c emulator.Call) emulator.Reply {
		m := &signalsv1.Report{}
		if err := proto.Unmarshal([]byte(c.Body), m); err != nil {
			t.Errorf("no report: %v", err)
		}
		if refuse > 0 {
			refuse--
			return emulator.Reply{Status: 503}
		}
		reports = append(reports, m)
		return emulator.Reply{Status: 204}
	}
	long := strings.Repeat("x", 300)
	inBubble(t, plainPolicy(func(p *policy.Policy) { p.Route = long }), call, func(t *testing.T, h *emulator.Host) {
		hub := signals.NewHub(signals.HubOptions{})
		defer hub.Close()
		for range 10 {
			h.Do(question, clean)
		}
		h.Advance(500 * time.Millisecond)
		refuse = 2
		for range 3 {
			h.Do(question, broken)
		}
		h.Advance(5 * time.Second)
		if len(reports) < 2 || refuse > 0 {
			t.Fatalf("%d reports, %d to be refused yet", len(reports), refuse)
		}
		for _, m := range reports {
			if err := hub.Deliver(m); err != nil {
				t.Fatalf("refused: %v", err)
			}
			if !m.InProxy || m.Counts != nil && (m.Counts[0].Route != long[:256] || m.Counts[0].Generation != 7 || m.Counts[0].Node != "envoy") {
				t.Errorf("the report is %v", m)
			}
		}
		total := hub.Totals()
		if len(total) != 1 || total[0].Asked != 13 || total[0].Clean != 10 || total[0].Bad != 3 || total[0].Fallbacks != 3 || total[0].Detectors["broken"] != 3 {
			t.Errorf("the hub has %+v", total)
		}
		quiet := len(reports)
		h.Advance(4 * time.Second) // every ten all rows are told again
		for _, m := range reports[quiet:] {
			if len(m.Counts) > 0 {
				t.Errorf("rows that have not changed were sent again: %v", m.Counts)
			}
		}
		if len(reports) < quiet+3 {
			t.Errorf("%d reports in four quiet seconds", len(reports)-quiet)
		}
	})
}
