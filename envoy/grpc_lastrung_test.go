package envoy

import (
	"errors"
	"slices"
	"strings"
	"testing"

	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/porttest"
	"github.com/safestate/safestate/internal/protocol"
)

func byMessage(p *policy.Policy) { p.GRPCLastRung = policy.LastRungAnswer }

// theMessage is the default as the client gets it.
func theMessage(t *testing.T) string {
	t.Helper()
	m, err := protocol.ToGRPC(nil, []byte(grpcDefault), nil, protocol.Options{Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	return string(m)
}

// stopping is a processor that, once it has got the n-th message of an exchange,
// hangs or fails; what it withholds it never sends.
func stopping(n int, err error) func(*dialogue) {
	return func(d *dialogue) {
		reply := map[int]string{1: "request headers", 2: "request body"}
		for i := 1; ; i++ {
			if d.next() == nil {
				return
			}
			if i == n {
				d.fail = err
				return
			}
			if phase := reply[i]; phase != "" {
				d.send(proceed(phase))
			}
		}
	}
}

// TestGRPCLastRung: what Envoy alone makes of a dead, hung or failing processor,
// and of a model that breaks off behind its headers: an error that every client
// raises, or by policy the default as a message. Never an empty success, and
// never in the place of another filter's answer or of the caller's own error.
func TestGRPCLastRung(t *testing.T) {
	const away, late = "Unavailable", "DeadlineExceeded"
	died := errors.New("died")
	for name, c := range map[string]struct {
		processor func(*dialogue) // nil: dead
		hung      bool            // it takes connections and says nothing
		which     string          // what the model does
		size      int             // of the request
		status    string          // without a message
	}{
		"dead":                         {status: away},
		"dead, 900 KiB":                {status: away, size: 900 << 10},
		"hung":                         {hung: true, status: away},
		"hangs at the request headers": {processor: stopping(1, nil), status: away},
		"fails at the request body":    {processor: stopping(2, died), status: away},
		"hangs at the request body":    {processor: stopping(2, nil), status: away},
		"fails at the headers":         {processor: stopping(3, died), status: away},
		"hangs at the headers":         {processor: stopping(3, nil), status: away + " " + late},
		"fails at the message":         {processor: stopping(4, died), status: away},
		"fails at the trailers":        {processor: stopping(5, died), status: away},
		"hangs at the trailers":        {processor: stopping(5, nil), status: away + " " + late},
		"model cut behind its headers": {processor: judging(""), which: "cut", status: away},
		"model stalls there":           {processor: judging(""), which: "stall", status: away + " " + late},
	} {
		for _, message := range []bool{false, true} {
			t.Run(name+map[bool]string{false: ", status", true: ", message"}[message], func(t *testing.T) {
				t.Parallel()
				o := testOptions(t)
				edit := map[bool]func(*policy.Policy){true: byMessage}[message]
				pol := grpcPolicy(edit)
				if c.hung || strings.HasPrefix(name, "hangs") || c.which == "stall" {
					o.MessageTimeout = briefly
					hurried(pol)
				}
				switch {
				case c.hung:
					silent(t, o.Processor)
				case c.processor != nil:
					startDialogue(t, o.Processor, c.processor)
				}
				p := startStatic(t, grpcSnapshot(t, pol, version("v1", newGRPCModel(t).addr)), o)
				r := p.call(inferCall, make([]byte, max(c.size, 8)), "case", c.which)
				if r.took > inTime {
					t.Errorf("took %s, want at most %s", r.took, inTime)
				}
				if !message {
					if r.err == nil || !slices.Contains(strings.Fields(c.status), r.status()) || r.message != "" {
						t.Errorf("got %q %v, want %s", r.message, r.err, c.status)
					}
					return
				}
				if r.err != nil || r.message != theMessage(t) || r.get("x-safestate-source") != "safe_default" || r.get("x-safestate-reason") != ReasonUnanswered {
					t.Errorf("got %q %v, headers %v", r.message, r.err, r.header)
				}
			})
		}
	}
}

// TestGRPCMessageOnlyForOurs: with a message for a last rung all other answers
// stay what they are.
func TestGRPCMessageOnlyForOurs(t *testing.T) {
	start := func(t *testing.T, edit func(*policy.Policy), filters ...*hcmv3.HttpFilter) (*proxy, *grpcModel) {
		o := testOptions(t)
		o.Answers, o.ExtraFilters = porttest.Address(t), filters
		startDialogue(t, o.Processor, judging(v1))
		grpcLadder(t, o.Answers)
		m := newGRPCModel(t)
		return startStatic(t, grpcSnapshot(t, grpcPolicy(func(p *policy.Policy) {
			byMessage(p)
			if edit != nil {
				edit(p)
			}
		}), version("v1", m.addr)), o), m
	}
	t.Run("the model's", func(t *testing.T) {
		t.Parallel()
		p, m := start(t, nil)
		for _, c := range []struct{ call, which, status, message string }{
			{inferCall, "", "OK", "clean"},
			{inferCall, "only 3", "InvalidArgument", ""},
			{inferCall, "only 13", "OK", "from the ladder"},
			{inferCall, "reset", "OK", "from the ladder"},
			{inferCall, "late status", "Internal", "half of it"},
			{readyCall, "only 14", "Unavailable", ""},
		} {
			r := p.call(c.call, []byte("question"), "case", c.which)
			if r.status() != c.status || r.message != c.message {
				t.Errorf("%s %q: got %q %v", c.call, c.which, r.message, r.err)
			}
		}
		if h := *m.last.Load(); h.Get("x-forwarded-proto") != "http" || len(h.Values("x-request-id")) != 1 {
			t.Errorf("the model got %v", h)
		}
		if got := p.adminGet("/stats/prometheus"); strings.Contains(got, "envoy_safestate_last_rung{") {
			t.Error("a default was counted")
		}
	})
	t.Run("another filter's", func(t *testing.T) {
		t.Parallel()
		p, m := start(t, nil, foreign("envoy.filters.http.fault", &faultv3.HTTPFault{Abort: &faultv3.FaultAbort{
			ErrorType:  &faultv3.FaultAbort_GrpcStatus{GrpcStatus: 14},
			Percentage: &typev3.FractionalPercent{Numerator: 100},
		}}))
		if r := p.call(inferCall, []byte("question")); r.status() != "Unavailable" || m.calls.Load() != 0 {
			t.Errorf("got %q %v", r.message, r.err)
		}
	})
	t.Run("what is not enforced", func(t *testing.T) {
		t.Parallel()
		p, _ := start(t, func(p *policy.Policy) { p.Detect.Broken.Mode = policy.Observe })
		if r := p.call(inferCall, []byte("question"), "case", "cut"); r.status() != "Unavailable" {
			t.Errorf("got %q %v", r.message, r.err)
		}
	})
	t.Run("counted", func(t *testing.T) {
		t.Parallel()
		o := testOptions(t)
		p := startStatic(t, grpcSnapshot(t, grpcPolicy(byMessage), version("v1", newGRPCModel(t).addr)), o)
		if r := p.call(inferCall, []byte("question")); r.message != theMessage(t) {
			t.Fatalf("got %q %v", r.message, r.err)
		}
		want := `envoy_safestate_last_rung{route="default/fraud/score",reason="unanswered"} 1`
		eventually(t, want, func() bool { return strings.Contains(p.adminGet("/stats/prometheus"), want) })
	})
}

// TestGRPCHopOverADS: the listeners behind a message come over ADS too.
func TestGRPCHopOverADS(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	o.XDS = porttest.Address(t)
	serveADS(t, o.XDS, rendered(t, grpcSnapshot(t, grpcPolicy(byMessage), version("v1", newGRPCModel(t).addr)), o))
	p := startADS(t, o)
	eventually(t, "the default is given", func() bool {
		r := p.call(inferCall, []byte("question"))
		return r.err == nil && r.message == theMessage(t)
	})
	startDialogue(t, o.Processor, judging(""))
	eventually(t, "the model's answer passes", func() bool { return p.call(inferCall, []byte("question")).message == "clean" })
}
