package extproc

import (
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
)

const (
	inferPath  = "/inference.GRPCInferenceService/ModelInfer"
	streamPath = "/inference.GRPCInferenceService/ModelStreamInfer"
)

// grpcPolicy is fraud's behind a GRPCRoute.
func grpcPolicy() *policy.Policy {
	return fraud(func(p *policy.Policy) {
		p.Protocol = policy.OpenInferenceGRPC
		p.Needs = policy.Needs{RequestBody: true, Duplex: true}
	})
}

// inferAnswer is the message of a V2 answer with one output of one value.
func inferAnswer(t *testing.T, value string) []byte {
	t.Helper()
	json := `{"model_name":"fraud","model_version":"v1","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[` + value + `]}]}`
	m, err := protocol.ToGRPC(nil, []byte(json), nil, protocol.Options{Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// nanMessage is inferAnswer with its value's bits made NaN's.
func nanMessage(t *testing.T) []byte {
	t.Helper()
	m := inferAnswer(t, "0.25")
	copy(m[len(m)-4:], []byte{0, 0, 0xc0, 0x7f})
	return m
}

// score reads the value out of a framed message.
func score(t *testing.T, body string) string {
	t.Helper()
	m, _, rest, ok := protocol.Unframe([]byte(body))
	if !ok || len(rest) > 0 {
		t.Fatalf("not one frame: %q", body)
	}
	json, tail, p := protocol.FromGRPC(nil, nil, m, false)
	if p.Found() {
		t.Fatalf("not a message: %+v", p)
	}
	return string(json) + " " + string(tail)
}

func TestUnary(t *testing.T) {
	clean, bad := string(protocol.Frame(nil, inferAnswer(t, "0.25"))), string(protocol.Frame(nil, nanMessage(t)))
	for _, c := range []struct {
		name     string
		pieces   []string
		trailers []string
		source   string
		reason   string
	}{
		{"clean", []string{clean[:9], clean[9:]}, []string{"grpc-status", "0"}, "primary", ""},
		{"NaN", []string{bad}, []string{"grpc-status", "0"}, "safe_default", "nonfinite"},
		{"fails with a message", []string{clean}, []string{"grpc-status", "13", "grpc-message", "at /srv/x.py"}, "safe_default", "broken_status 500"},
		{"fails without a message", nil, []string{"grpc-status", "13", "grpc-message", "at /srv/x.py"}, "safe_default", "broken_status 500"},
		{"cut in its frame", []string{clean[:20]}, []string{"grpc-status", "0"}, "safe_default", "broken_grpc_message"},
		{"two messages", []string{clean, clean}, []string{"grpc-status", "0"}, "safe_default", "broken_grpc_message"},
		{"no message at all", nil, []string{"grpc-status", "0"}, "safe_default", "broken_"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newProxy(t).converse(grpcPolicy(), inferPath, string(protocol.Frame(nil, inferAnswer(t, "1"))), map[string]string{"content-type": "application/grpc"})
			x.respond(200, "application/grpc", false)
			for _, p := range c.pieces {
				x.say(p, false)
			}
			x.trail(c.trailers...)
			got := x.done()
			if got.headers["x-safestate-source"] != c.source || !strings.HasPrefix(got.headers["x-safestate-reason"], c.reason) {
				t.Errorf("headers %v", got.headers)
			}
			want := clean
			if c.source != "primary" {
				want = string(protocol.Frame(nil, inferAnswer(t, "0")))
				if status := got.trailers["grpc-status"] + got.headers[policy.HeaderGRPCStatus]; status != "0" {
					t.Errorf("grpc-status %q", status)
				}
			}
			if c.source == "primary" && got.body != want {
				t.Errorf("the clean message was changed")
			}
			if c.source != "primary" && !strings.HasSuffix(score(t, got.body), "\x00\x00\x00\x00") && !strings.Contains(score(t, got.body), `"score"`) {
				t.Errorf("message %s", score(t, got.body))
			}
		})
	}
}

// TestUnaryWithoutTrailers: there is nothing to put a message in, so that the
// caller gets an error, in words of ours.
func TestUnaryWithoutTrailers(t *testing.T) {
	start := func(t *testing.T) *talk {
		return newProxy(t).converse(grpcPolicy(), inferPath, string(protocol.Frame(nil, inferAnswer(t, "1"))), nil)
	}
	t.Run("a failed call", func(t *testing.T) {
		x := start(t)
		x.respond(200, "application/grpc", true, "grpc-status", "13", "grpc-message", "at /srv/x.py")
		if got := x.done(); got.grpcStatus != 14 || strings.Contains(got.body, "/srv") {
			t.Errorf("status %d, %s", got.grpcStatus, got.body)
		}
	})
	t.Run("the caller's own error", func(t *testing.T) {
		x := start(t)
		x.respond(200, "application/grpc", true, "grpc-status", "3")
		got := x.until("the headers", func(g caller) bool { return g.begun })
		if got.immediate || got.headers["grpc-status"] != "3" {
			t.Errorf("got %+v", got)
		}
		_ = x.stream.CloseSend()
		x.settled()
	})
	t.Run("a stall", func(t *testing.T) {
		pol := grpcPolicy()
		pol.Deadline, pol.Reserve = policy.Duration(500*time.Millisecond), policy.Duration(100*time.Millisecond)
		x := newProxy(t).converse(pol, inferPath, string(protocol.Frame(nil, inferAnswer(t, "1"))), nil)
		x.respond(200, "application/grpc", false)
		if got := x.done(); got.grpcStatus != 14 {
			t.Errorf("status %d", got.grpcStatus)
		}
	})
	t.Run("answered by the ladder's upstream", func(t *testing.T) {
		x := start(t)
		if got := x.until("the request", func(caller) bool { return true }); got.told[policy.HeaderCluster] == "" {
			t.Errorf("told %v: Envoy would not try the ladder", got.told)
		}
		x.respond(200, "application/grpc", false, "x-safestate-source", "rules")
		x.say(string(protocol.Frame(nil, inferAnswer(t, "0"))), false)
		x.trail("grpc-status", "0")
		got := x.done()
		if got.headers["x-safestate-source"] != "rules" || x.served(t, "rules") != 1 {
			t.Errorf("headers %v, served %v", got.headers, x.served(t, "rules"))
		}
	})
}

func TestStreamOfMessages(t *testing.T) {
	message := func(m []byte) string { return string(protocol.Frame(nil, protocol.AppendStreamed(nil, m, ""))) }
	good, bad := message(inferAnswer(t, "0.25")), message(nanMessage(t))
	x := newProxy(t).converse(grpcPolicy(), streamPath, "", nil)
	x.respond(200, "application/grpc", false)
	x.say(good, false)
	x.until("the first message", func(g caller) bool { return g.body == good })
	x.say(bad[:11], false)
	x.say(bad[11:]+good, false)
	got := x.until("the others", func(g caller) bool { return strings.HasSuffix(g.body, good) && len(g.body) > 2*len(good) })
	replaced := strings.TrimSuffix(strings.TrimPrefix(got.body, good), good)
	m, _, _, ok := protocol.Unframe([]byte(replaced))
	failure, _, p := protocol.ReadStreamed(m)
	if !ok || p.Found() || !strings.HasPrefix(string(failure), "safestate: nonfinite") {
		t.Errorf("in the place of the bad message: %q", replaced)
	}
	x.trail("grpc-status", "0")
	x.done()
}

// TestStreamOfMessagesFails: the status is the model's, its text is not.
func TestStreamOfMessagesFails(t *testing.T) {
	for status, want := range map[string]string{"14": "safestate: broken_status 503", "3": ""} {
		x := newProxy(t).converse(grpcPolicy(), streamPath, "", nil)
		x.respond(200, "application/grpc", false)
		x.trail("grpc-status", status, "grpc-message", "CUDA error at /opt/models/fraud.py")
		got := x.done()
		if written, changed := got.trailers["grpc-message"]; written != want || changed != (want != "") || got.trailers["grpc-status"] != "" {
			t.Errorf("status %s: trailers rewritten by %v, want the message %q", status, got.trailers, want)
		}
	}
}

func TestRejectedCall(t *testing.T) {
	pol := grpcPolicy()
	pol.Detect.Request = []policy.RequestCheck{{Mode: policy.Enforce, Field: "request.parameters.amount", Required: true, OnFail: policy.ActReject}}
	x := newProxy(t).converse(pol, inferPath, string(protocol.Frame(nil, inferAnswer(t, "1"))), nil)
	if got := x.done(); got.grpcStatus != 3 || !strings.HasPrefix(got.body, "safestate: request_") {
		t.Errorf("status %d, %s", got.grpcStatus, got.body)
	}
}
