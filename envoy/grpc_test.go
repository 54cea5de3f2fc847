package envoy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/porttest"
	"github.com/safestate/safestate/internal/protocol"
)

const v1 = "default/fraud/v1"

// TestGRPCFailuresReachTheLadder: what fails without a message is answered by
// the ladder, once, where the processor has said so; all else passes as it is.
func TestGRPCFailuresReachTheLadder(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	o.Answers = porttest.Address(t)
	startDialogue(t, o.Processor, func(d *dialogue) {
		h := d.next().GetRequestHeaders()
		marked := true
		for _, v := range h.GetHeaders().GetHeaders() {
			marked = marked && v.Key != "unmarked"
		}
		m := proceed("request headers")
		if marked {
			m.GetRequestHeaders().Response = common(true, policy.HeaderCluster, v1)
		}
		d.send(m)
		d.next()
		d.send(proceed("request body"))
		if a := d.gather(); a != nil {
			d.begin()
			if a.pieces > 0 {
				d.piece(a.body, false)
			}
			if a.trailers != nil {
				d.end()
			}
		}
	})
	m, ladder := newGRPCModel(t), grpcLadder(t, o.Answers)
	pol := grpcPolicy(func(p *policy.Policy) {
		p.Detect.Broken.Statuses = []int{429}
		p.Deadline, p.Reserve = policy.Duration(8*time.Second), policy.Duration(4*time.Second)
	})
	p := startStatic(t, grpcSnapshot(t, pol, version("v1", m.addr)), o)
	for _, c := range []struct {
		which, status string // status: the caller's, OK with the ladder's message
		unmarked      bool
	}{
		{which: "only 2"}, {which: "only 4"}, {which: "only 12"}, {which: "only 13"}, {which: "only 14"}, {which: "only 15"},
		{which: "only 8"}, // RESOURCE_EXHAUSTED is 429, which the policy lists
		{which: "http"}, {which: "reset"}, {which: "hang"},
		{which: "only 1", status: "Canceled"}, {which: "only 3", status: "InvalidArgument"}, {which: "only 5", status: "NotFound"}, {which: "only 16", status: "Unauthenticated"},
		{which: "only 13", status: "Internal", unmarked: true}, {which: "reset", status: "Unavailable", unmarked: true},
	} {
		asked, answered := m.calls.Load(), ladder.calls.Load()
		header := []string{"case", c.which}
		if c.unmarked {
			header = append(header, "unmarked", "1")
		}
		r := p.call(inferCall, []byte("question"), header...)
		if m.calls.Load() != asked+1 {
			t.Errorf("%s: the model was asked %d times", c.which, m.calls.Load()-asked)
		}
		if c.status != "" {
			if r.status() != c.status || ladder.calls.Load() != answered {
				t.Errorf("%s (unmarked: %v): got %s %v, want %s", c.which, c.unmarked, r.status(), r.err, c.status)
			}
			continue
		}
		if r.err != nil || r.message != "from the ladder" || r.get("x-safestate-source") != "rules" || r.get("x-got") != "1" || ladder.calls.Load() != answered+1 {
			t.Errorf("%s: got %q %v %v after %s", c.which, r.message, r.err, r.header, r.took)
		}
		if h := *ladder.last.Load(); h.Get(policy.HeaderCluster) != v1 || h.Get("grpc-accept-encoding") != "identity" {
			t.Errorf("%s: the ladder got %v", c.which, h)
		}
		if c.which == "hang" && (r.took < 3900*time.Millisecond || r.took > 4*time.Second+inTime) {
			t.Errorf("%s took %s, want the model's share of 4s", c.which, r.took)
		}
	}
	if left := ladder.last.Load().Get("x-envoy-expected-rq-timeout-ms"); left == "" {
		t.Error("the ladder is not told how long it has")
	}
}

// TestGRPCHowLong: after a model that took its whole share the ladder is told
// what is left, and not the model's share again.
func TestGRPCHowLong(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	o.Answers = porttest.Address(t)
	startDialogue(t, o.Processor, judging(v1))
	ladder := grpcLadder(t, o.Answers)
	slow := grpcPolicy(func(p *policy.Policy) { // what is left is long for a busy machine
		p.Deadline, p.Reserve = policy.Duration(4*time.Second), policy.Duration(1800*time.Millisecond)
	})
	p := startStatic(t, grpcSnapshot(t, slow, version("v1", silent(t, "127.0.0.1:0"))), o)
	r := p.call(inferCall, []byte("question"))
	var left int
	if r.message == "from the ladder" {
		_, _ = fmt.Sscan(ladder.last.Load().Get("x-envoy-expected-rq-timeout-ms"), &left)
	}
	if left < 1 || left > 1820 { // of the whole: Envoy ends it 20 ms past the deadline
		t.Errorf("got %q %v; %d ms are left, want at most 1820", r.message, r.err, left)
	}
}

// TestGRPCAnswers: a whole answer passes as it is, and can be replaced whatever
// it has: a message, an error behind it, or no message.
func TestGRPCAnswers(t *testing.T) {
	replacement := string(protocol.Frame(nil, []byte("something longer than what it replaces")))
	replace := func(d *dialogue) {
		d.askUnder("")
		a := d.gather()
		if a == nil {
			return
		}
		if a.pieces == 0 {
			d.send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{
				Response: &extprocv3.CommonResponse{
					Status:         extprocv3.CommonResponse_CONTINUE_AND_REPLACE,
					HeaderMutation: mutation("x-safestate-source", "rules", policy.HeaderGRPCStatus, "0", policy.HeaderGRPCMessage, "replaced"),
					BodyMutation:   &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_Body{Body: []byte(replacement)}},
				},
			}}})
			return
		}
		d.begin("x-safestate-source", "rules")
		d.piece(replacement, false)
		d.end("grpc-status", "0", "grpc-message", "")
	}
	t.Run("as they are", func(t *testing.T) {
		t.Parallel()
		o := testOptions(t)
		startDialogue(t, o.Processor, judging(""))
		m := newGRPCModel(t)
		p := startStatic(t, grpcSnapshot(t, grpcPolicy(nil), version("v1", m.addr)), o)
		for which, want := range map[string]string{"": "OK", "late status": "Internal", "empty": "Internal", "only 13": "Internal"} {
			r := p.call(inferCall, []byte("question"), "case", which)
			if r.status() != want || want == "OK" && r.message != "clean" || want != "OK" && !strings.Contains(r.err.Error(), modelText) {
				t.Errorf("%q: got %q %v", which, r.message, r.err)
			}
			if r.err == nil && len(r.header.Get(policy.HeaderGRPCStatus)) > 0 {
				t.Errorf("%q: headers %v", which, r.header)
			}
		}
		if r := p.call(inferCall, make([]byte, 3<<20)); r.message != "clean" {
			t.Errorf("a request of 3 MiB: %q %v", r.message, r.err)
		}
	})
	t.Run("replaced", func(t *testing.T) {
		t.Parallel()
		o := testOptions(t)
		startDialogue(t, o.Processor, replace)
		m := newGRPCModel(t)
		p := startStatic(t, grpcSnapshot(t, grpcPolicy(nil), version("v1", m.addr)), o)
		for _, which := range []string{"", "late status", "empty"} {
			r := p.call(inferCall, []byte("question"), "case", which)
			if r.err != nil || r.message != replacement[5:] || r.get("x-safestate-source") != "rules" {
				t.Errorf("%q: got %q %v", which, r.message, r.err)
			}
			// A client does not show the text of an OK.
			if trailer := p.trailers(inferCall, []byte("question"), which); trailer.Get("grpc-status") != "0" || strings.Contains(trailer.Get("grpc-message"), modelText) {
				t.Errorf("%q: trailers %v", which, trailer)
			}
		}
	})
}

// TestGRPCToTheLadder: what the processor sends to the ladder goes there instead
// of to the model, whatever its size; a caller cannot.
func TestGRPCToTheLadder(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	o.Answers = porttest.Address(t)
	startDialogue(t, o.Processor, func(d *dialogue) {
		d.next()
		m := proceed("request headers")
		// Chosen anew at the headers: of a body that comes in pieces Envoy goes on
		// before it looks at the reply to the body.
		m.GetRequestHeaders().Response = common(true)
		d.send(m)
		body := d.next().GetRequestBody()
		m = proceed("request body")
		if len(body.GetBody()) > 5+len("caller") {
			m.GetRequestBody().Response = common(true, policy.HeaderAnswer, "request_range")
		}
		d.send(m)
		if a := d.gather(); a != nil {
			d.begin()
			d.piece(a.body, false)
			d.end()
		}
	})
	m, ladder := newGRPCModel(t), grpcLadder(t, o.Answers)
	p := startStatic(t, grpcSnapshot(t, grpcPolicy(nil), version("v1", m.addr)), o)
	for _, size := range []int{10, 100 << 10, 900 << 10, 3 << 20, 12 << 20} {
		r := p.call(inferCall, make([]byte, size))
		if r.message != "from the ladder" || r.get("x-got") != "1" || m.calls.Load() != 0 {
			t.Errorf("%d bytes: got %q %v, the model was asked %d times", size, r.message, r.err, m.calls.Load())
		}
	}
	asked := ladder.calls.Load()
	if r := p.call(inferCall, []byte("caller"), policy.HeaderAnswer, "x", policy.HeaderCluster, "x"); r.message != "clean" || ladder.calls.Load() != asked {
		t.Errorf("a caller reached the ladder: %q %v", r.message, r.err)
	}
}

// TestGRPCOtherCalls: what asks for no prediction goes to the model without the
// processor, and what is no gRPC to none of its routes.
func TestGRPCOtherCalls(t *testing.T) {
	t.Parallel()
	o := testOptions(t) // the processor is dead
	m := newGRPCModel(t)
	p := startStatic(t, grpcSnapshot(t, grpcPolicy(nil), version("v1", m.addr)), o)
	for _, method := range []string{readyCall, "/inference.GRPCInferenceService/ModelMetadata", "/grpc.health.v1.Health/Check", "/x.Service/ModelInfer"} {
		if r := p.call(method, []byte("question")); r.message != "clean" {
			t.Errorf("%s: %q %v", method, r.message, r.err)
		}
	}
	if r := p.call(readyCall, nil, "case", "only 14"); r.status() != "Unavailable" || !strings.Contains(r.err.Error(), modelText) {
		t.Errorf("a server that is not ready: %v", r.err)
	}
	asked := m.calls.Load()
	if r := p.do("POST", inferCall, strings.NewReader("{}"), "content-type", "application/json"); r.status != 404 || m.calls.Load() != asked {
		t.Errorf("no gRPC: got %d", r.status)
	}
}

// TestGRPCObserve: to observe costs no answer and changes none.
func TestGRPCObserve(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*policy.Policy)
		dead bool
	}{
		"observe":                 {observe, false},
		"observe, dead":           {observe, true},
		"pass, dead":              {pass, true},
		"the detectors observe":   {func(p *policy.Policy) { p.Detect.Broken.Mode, p.Detect.Late.Mode = policy.Observe, policy.Observe }, false},
		"without these two":       {func(p *policy.Policy) { p.Detect = policy.Detect{} }, false},
		"a share, dead":           {func(p *policy.Policy) { p.EnforcePercent = 50 }, true},
		"a share, and unmarked":   {func(p *policy.Policy) { p.EnforcePercent = 50 }, false},
		"lateness only, a status": {func(p *policy.Policy) { p.Detect.Broken = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			o.Answers = porttest.Address(t)
			cluster := v1
			if strings.HasSuffix(name, "unmarked") {
				cluster = ""
			}
			if !c.dead {
				startDialogue(t, o.Processor, judging(cluster))
			}
			m, ladder := newGRPCModel(t), grpcLadder(t, o.Answers)
			p := startStatic(t, grpcSnapshot(t, grpcPolicy(c.edit), version("v1", m.addr)), o)
			if r := p.call(inferCall, []byte("question")); r.message != "clean" {
				t.Errorf("got %q %v", r.message, r.err)
			}
			if r := p.call(inferCall, []byte("question"), "case", "only 13"); r.status() != "Internal" || ladder.calls.Load() != 0 {
				t.Errorf("got %q %v; the ladder was asked %d times", r.message, r.err, ladder.calls.Load())
			}
		})
	}
}

// TestGRPCCalls: the matchers agree with the protocol's own rule.
func TestGRPCMatchers(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	proc := startProcessor(t, o.Processor, func(phase string, _ *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
			GrpcStatus: &extprocv3.GrpcStatus{Status: 9}, Headers: &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{raw("x-phase", phase)}},
		}}}
	})
	m := newGRPCModel(t)
	p := startStatic(t, grpcSnapshot(t, grpcPolicy(nil), version("v1", m.addr)), o)
	for _, path := range []string{
		inferCall, streamCall, readyCall, "/team" + inferCall, inferCall + "/", inferCall + "?x=1", inferCall + "2", "/inference.GRPCInferenceServiceX/ModelInfer",
		"/other.Service/ModelInfer", "/inferenceXGRPCInferenceService/ModelInfer", "/x?y=" + inferCall, "/modelinfer",
	} {
		before := proc.seen.Load()
		_ = p.call(path, []byte("x"))
		if got, want := proc.seen.Load() > before, protocol.Inference(policy.OpenInferenceGRPC, "POST", path); got != want {
			t.Errorf("%s: the processor saw it: %v, want %v", path, got, want)
		}
	}
}

// TestFailedCodes: the status codes that say that the model failed.
func TestFailedCodes(t *testing.T) {
	for _, c := range []struct {
		statuses []int
		want     string
	}{
		{nil, "2|4|12|13|14|15"},
		{[]int{429, 404}, "2|4|5|8|12|13|14|15"},
		{[]int{401}, "2|4|12|13|14|15|16"},
	} {
		if got := failedCodes(c.statuses); got != c.want {
			t.Errorf("%v: %s, want %s", c.statuses, got, c.want)
		}
	}
}
