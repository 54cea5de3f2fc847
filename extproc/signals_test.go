package extproc

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/ladder"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/signals"
)

// watched is a proxy whose processor reports, and a function that ends it and says
// what was reported.
func watched(t *testing.T, change ...func(*Options)) (*proxy, func() []signals.Total) {
	t.Helper()
	hub := signals.NewHub(signals.HubOptions{})
	reporter := signals.NewReporter(signals.ReporterOptions{Name: "test", Links: []signals.Link{hub.Link()}})
	p := newProxy(t, append(change, func(o *Options) { o.Signals = reporter })...)
	t.Cleanup(func() {
		reporter.Close()
		hub.Close()
	})
	return p, func() []signals.Total {
		p.settled()
		reporter.Close()
		return hub.Totals()
	}
}

// reported writes totals down: of every version what is not 0.
func reported(totals []signals.Total) string {
	var lines []string
	for _, v := range totals {
		line := v.Name + ":"
		for _, c := range []struct {
			name string
			n    uint64
		}{{"asked", v.Asked}, {"clean", v.Clean}, {"bad", v.Bad}, {"observed", v.Observed}, {"caller", v.CallerErrors}, {"fallback", v.Fallbacks}} {
			if c.n > 0 {
				line += fmt.Sprintf(" %s %d", c.name, c.n)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(v.Detectors)) {
			line += fmt.Sprintf(" %s %d", name, v.Detectors[name])
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

func TestWhatIsReported(t *testing.T) {
	seldom := func(p *policy.Policy) { p.EnforcePercent = 1e-9 }
	watching := func(p *policy.Policy) { p.Detect.NonFinite.Mode = policy.Observe }
	big := cleanAnswer + strings.Repeat(" ", 5000)
	for _, c := range []struct {
		name     string
		requests []request
		want     string
	}{
		{"clean", []request{{policy: fraud(), answer: cleanAnswer}}, "v1: asked 1 clean 1"},
		{"NaN", []request{{policy: fraud(), answer: nanAnswer}}, "v1: asked 1 bad 1 fallback 1 nonfinite 1"},
		{"NaN, the policy observes", []request{{policy: fraud(observe), answer: nanAnswer}}, "v1: asked 1 bad 1 nonfinite 1"},
		{"NaN, the lot spares it", []request{{policy: fraud(seldom), answer: nanAnswer}}, "v1: asked 1 bad 1 nonfinite 1"},
		{"NaN, the detector observes", []request{{policy: fraud(watching), answer: nanAnswer}}, "v1: asked 1 clean 1 observed 1"},
		{"a request that is observed", []request{{policy: fraud(readBody, func(p *policy.Policy) {
			p.Detect.Request = []policy.RequestCheck{{Mode: policy.Observe, Field: "request.parameters.amount", Required: true}}
		}), answer: cleanAnswer}}, "v1: asked 1 clean 1"},
		{"500", []request{{policy: fraud(), status: 500}}, "v1: asked 1 bad 1 fallback 1 broken 1"},
		{"refused", []request{{policy: fraud(), status: 503, details: "upstream_reset_before_response_started{connection_failure}"}}, "v1: asked 1 bad 1 fallback 1 broken 1"},
		{"no endpoint", []request{{policy: fraud(), status: 503, details: "no_healthy_upstream"}}, "v1: asked 1 bad 1 fallback 1 broken 1"},
		{"timeout", []request{{policy: fraud(), status: 504, details: "response_timeout"}}, "v1: asked 1 bad 1 fallback 1 late 1"},
		{"the upload took the time", []request{{policy: fraud(), status: 504, details: "max_duration_timeout"}}, "v1: asked 1 fallback 1"},
		{"404", []request{{policy: fraud(), status: 404, answer: "no"}}, "v1: asked 1 caller 1"},
		{"another filter's reply", []request{{policy: fraud(), status: 403, details: "ext_authz_denied"}}, "v1: asked 1"},
		{"over the limit, let pass", []request{{policy: fraud(func(p *policy.Policy) { p.Limits.ResponseOver = policy.OverPass }), answer: big}}, "v1: asked 1"},
		{"over the limit", []request{{policy: fraud(), answer: big}}, "v1: asked 1 bad 1 fallback 1 broken 1"},
		{"the caller left", []request{{policy: fraud(), answer: cleanAnswer, vanish: true}}, "v1: asked 1"},
		{"no inference", []request{{policy: fraud(), path: "/v2/health/ready"}}, "v1: asked 1"},
		{"no inference and no version", []request{{policy: fraud(), path: "/v2/health/ready", cluster: "-"}}, ":"},
		{"a request that is refused", []request{{policy: fraud(requireAmount(policy.ActReject))}}, "v1:"},
		{"a request that is answered", []request{{policy: fraud(requireAmount(policy.ActAnswer))}}, "v1: fallback 1"},
		{"no version", []request{{policy: fraud(), cluster: "-"}}, ": fallback 1"},
		{"a version of another time", []request{{policy: fraud(), cluster: "default/fraud/v0", answer: cleanAnswer}}, ": asked 1 clean 1"},
		{"two versions", []request{
			{policy: fraud(), answer: cleanAnswer},
			{policy: fraud(), answer: nanAnswer, cluster: "default/fraud/v2"},
			{policy: fraud(), answer: cleanAnswer, cluster: "default/fraud/v2"},
		}, "v1: asked 1 clean 1; v2: asked 2 clean 1 bad 1 fallback 1 nonfinite 1"},
		{"not asked while the breaker is open", []request{
			{policy: fraud(breaks), answer: nanAnswer}, {policy: fraud(breaks), answer: nanAnswer}, {policy: fraud(breaks), answer: nanAnswer},
		}, "v1: asked 1 bad 1 fallback 3 nonfinite 1"},
		{"the cache first", []request{
			{policy: cached(policy.First), answer: cleanAnswer, body: askOne}, {policy: cached(policy.First), answer: cleanAnswer, body: askOne},
		}, "v1: asked 1 clean 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, totals := watched(t)
			for _, r := range c.requests {
				p.do(r)
			}
			if got := reported(totals()); got != c.want {
				t.Errorf("reported %q, want %q", got, c.want)
			}
		})
	}
}

func breaks(p *policy.Policy) { p.Breaker = &policy.Breaker{Failures: 1} }

func TestWhoWhereAndWhen(t *testing.T) {
	p, totals := watched(t)
	p.do(request{policy: fraud(), answer: cleanAnswer})
	p.do(request{policy: fraud(), answer: nanAnswer})
	v := totals()[0]
	if v.Callers[signals.PlaceOf("10.1.2.3")] != (signals.Caller{Clean: 1, Bad: 1}) {
		t.Errorf("callers %v", v.Callers)
	}
	if len(v.Nodes) != 1 || v.Nodes[0].Name != "node-1" || v.Nodes[0].Generation != 12 || v.Nodes[0].LastAsked.IsZero() {
		t.Errorf("nodes %+v", v.Nodes)
	}
	if v.Model != "default/fraud" || v.LastBad.IsZero() {
		t.Errorf("%+v", v)
	}
}

func TestWhatIsReportedOfStreams(t *testing.T) {
	say := func(pieces ...string) func(*talk) {
		return func(x *talk) {
			x.respond(200, "text/event-stream", false)
			for i, s := range pieces {
				x.say(s, i == len(pieces)-1)
			}
			x.done()
		}
	}
	commit := func(x *talk) {
		x.respond(200, "text/event-stream", false)
		x.say(chunkRole+chunk("Hello"), false)
		x.until("the commit", func(g caller) bool { return strings.Contains(g.body, "Hello") })
	}
	whole := chunkRole + chunk("Hello") + chunkStop + chunkDone
	for _, c := range []struct {
		name   string
		policy *policy.Policy
		play   func(*talk)
		want   string
	}{
		{"clean", chatPolicy(), say(whole, ""), "v1: asked 1 clean 1"},
		{"clean, observed", chatPolicy(observe), say(whole, ""), "v1: asked 1 clean 1"},
		{"clean, and its model holds the connection", chatPolicy(), func(x *talk) {
			x.respond(200, "text/event-stream", false)
			x.say(whole, false)
			x.done()
		}, "v1: asked 1 clean 1"},
		{"clean, and the process ends", chatPolicy(), func(x *talk) {
			x.respond(200, "text/event-stream", false)
			x.say(whole, false)
			x.until("its end mark", func(g caller) bool { return strings.Contains(g.body, "[DONE]") })
			x.server.EndStreams()
			if got := x.done(); got.body != whole {
				x.t.Errorf("got %q", got.body)
			}
		}, "v1: asked 1 clean 1"},
		{"fails before its commit", chatPolicy(), say("data: oops\n\n"), "v1: asked 1 bad 1 fallback 1 broken 1"},
		{"fails after its commit", chatPolicy(), func(x *talk) {
			commit(x)
			x.say("data: oops\n\n", false)
			x.done()
		}, "v1: asked 1 bad 1 broken 1"},
		{"fails, observed", chatPolicy(observe), say(chunkRole, "data: oops\n\n"), "v1: asked 1 bad 1 broken 1"},
		{"late", chatPolicy(hurried), func(x *talk) {
			x.respond(200, "text/event-stream", false)
			x.done()
		}, "v1: asked 1 bad 1 fallback 1 late 1"},
		{"stalls", chatPolicy(silent), func(x *talk) {
			commit(x)
			x.done()
		}, "v1: asked 1 bad 1 late 1"},
		{"the caller may have stopped reading", chatPolicy(func(p *policy.Policy) { p.Stream.BetweenTokens = policy.Duration(1500 * time.Millisecond) }), func(x *talk) {
			commit(x)
			for range envoyHolds/(32<<10) + 2 {
				x.say(chunk(strings.Repeat("x", 32<<10)), false)
			}
			x.done()
		}, "v1: asked 1"},
		{"the process ends", chatPolicy(), func(x *talk) {
			commit(x)
			x.server.EndStreams()
			x.done()
		}, "v1: asked 1"},
		{"the caller left", chatPolicy(), func(x *talk) {
			commit(x)
			_ = x.stream.CloseSend()
		}, "v1: asked 1"},
		{"the caller's own error", chatPolicy(), func(x *talk) {
			x.respond(400, "application/json", false)
			x.say(`{"error":{"message":"no"}}`, true)
			x.done()
		}, "v1: asked 1 caller 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, totals := watched(t)
			c.play(p.converse(c.policy, chatPath, chatRequest, nil))
			if got := reported(totals()); got != c.want {
				t.Errorf("reported %q, want %q", got, c.want)
			}
		})
	}
}

func TestWhatIsReportedOfCalls(t *testing.T) {
	clean, bad := inferAnswer(t, "0.25"), nanMessage(t)
	streamed := func(m []byte) string { return string(protocol.Frame(nil, protocol.AppendStreamed(nil, m, ""))) }
	unary := string(protocol.Frame(nil, inferAnswer(t, "1")))
	for _, c := range []struct {
		name     string
		path     string
		change   func(*policy.Policy)
		say      []string
		trailers []string
		want     string
	}{
		{"clean", inferPath, nil, []string{string(protocol.Frame(nil, clean))}, []string{"grpc-status", "0"}, "v1: asked 1 clean 1"},
		{"NaN", inferPath, nil, []string{string(protocol.Frame(nil, bad))}, []string{"grpc-status", "0"}, "v1: asked 1 bad 1 fallback 1 nonfinite 1"},
		{"fails", inferPath, nil, nil, []string{"grpc-status", "13"}, "v1: asked 1 bad 1 fallback 1 broken 1"},
		{"the caller's own error", inferPath, nil, nil, []string{"grpc-status", "3"}, "v1: asked 1 caller 1"},
		{"clean messages", streamPath, nil, []string{streamed(clean), streamed(clean)}, []string{"grpc-status", "0"}, "v1: asked 1 clean 1"},
		{"one of the messages is bad", streamPath, nil, []string{streamed(bad), streamed(clean)}, []string{"grpc-status", "0"}, "v1: asked 1 bad 1 nonfinite 1"},
		{"one is bad, observed", streamPath, observe, []string{streamed(bad), streamed(clean)}, []string{"grpc-status", "0"}, "v1: asked 1 bad 1 nonfinite 1"},
		{"messages, then a failure", streamPath, nil, []string{streamed(clean)}, []string{"grpc-status", "13"}, "v1: asked 1 bad 1 broken 1"},
		{"messages, then the caller's own error", streamPath, nil, []string{streamed(clean)}, []string{"grpc-status", "3"}, "v1: asked 1 caller 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pol := grpcPolicy()
			delete(pol.Versions, "default/fraud/v2")
			if c.change != nil {
				c.change(pol)
			}
			body := unary
			if c.path == streamPath {
				body = ""
			}
			p, totals := watched(t)
			x := p.converse(pol, c.path, body, nil)
			x.respond(200, "application/grpc", false)
			for _, s := range c.say {
				x.say(s, false)
			}
			x.trail(c.trailers...)
			x.done()
			if got := reported(totals()); got != c.want {
				t.Errorf("reported %q, want %q", got, c.want)
			}
		})
	}
}

func TestBreakersHaveOneName(t *testing.T) {
	if a, b := ladder.BreakerKeyVersion("default/fraud", "v1"), breaker.VersionKey("default/fraud", "v1"); a != b {
		t.Errorf("the hosts say %q, reports %q: what all share would open nothing", a, b)
	}
}

// TestASharedBreakerKeepsRequestsFromTheVersion opens a host's breaker as the
// control plane does.
func TestASharedBreakerKeepsRequestsFromTheVersion(t *testing.T) {
	p := newProxy(t)
	pol := fraud(func(p *policy.Policy) { p.Breaker = &policy.Breaker{Failures: 5} })
	if got := p.do(request{policy: pol, answer: cleanAnswer}); !got.asked {
		t.Fatal("not asked")
	}
	b, ok := p.server.routes.state.Breakers.Lookup(breaker.VersionKey("default/fraud", "v1"))
	if !ok || !b.Trip(time.Minute) {
		t.Fatal("no breaker to open")
	}
	if got := p.do(request{policy: pol, answer: cleanAnswer}); got.asked || got.headers["x-safestate-reason"] != "breaker_open default/fraud/v1" {
		t.Errorf("got %+v", got)
	}
}
