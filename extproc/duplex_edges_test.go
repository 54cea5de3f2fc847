package extproc

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/verdict"
)

// longRequest is chatRequest with a prompt of n bytes.
func longRequest(n int) string {
	return strings.Replace(chatRequest, `"hi"`, `"`+strings.Repeat("x", n)+`"`, 1)
}

// patientModel is a fallback model whose streams say Hello and then nothing until
// the test ends.
func patientModel(t *testing.T) func(*policy.Policy) {
	t.Helper()
	ended := make(chan struct{})
	put := withModel(t, func(w http.ResponseWriter, _ *http.Request) {
		events(w, chunkRole, chunk("Hello"))
		<-ended
	})
	t.Cleanup(func() { close(ended) })
	return func(p *policy.Policy) {
		put(p)
		p.Stream.BetweenTokens = p.Stream.MaxDuration
	}
}

func saysHello(g caller) bool { return strings.Contains(g.body, "Hello") }

// TestUnreadRequest: of a request that was not read nobody knows whether it asked
// for a stream, or for how many choices.
func TestUnreadRequest(t *testing.T) {
	c := newTalk(t, chatPolicy(silent, func(p *policy.Policy) { p.Limits.RequestOver = policy.ActPass }), longRequest(70<<10))
	c.respond(200, "text/event-stream", false)
	if ms, err := strconv.Atoi(c.got.told[headerUpstreamTimeout]); err != nil || ms < 10_000 {
		t.Errorf("told %v: the deadline would cut a stream", c.got.told)
	}
	c.say(chunk("Hello")+chunkStop, false)
	got := c.done()
	if strings.Contains(got.body, chunkDone) || !strings.Contains(got.body, "safestate_stream_stalled") {
		t.Errorf("body %s: another choice might have come", got.body)
	}
}

func TestEmptyBodyEnds(t *testing.T) {
	p := chatPolicy(func(p *policy.Policy) { p.Detect.Broken.Mode = policy.Observe })
	x := newTalk(t, p, strings.Replace(chatRequest, `,"stream":true`, "", 1))
	x.respond(200, "application/json", false)
	x.say("", true)
	x.done()
}

func TestMessagesOverTheLimit(t *testing.T) {
	message := string(protocol.Frame(nil, protocol.AppendStreamed(nil, inferAnswer(t, "0.25"), "")))
	for name, change := range map[string]func(*policy.Policy){
		"observed": observe,
		"let pass": func(p *policy.Policy) { p.Limits.ResponseOver = policy.OverPass },
		"enforced": func(*policy.Policy) {},
	} {
		t.Run(name, func(t *testing.T) {
			pol := grpcPolicy()
			pol.Limits.BodyBytes = int64(len(message)) - 1
			change(pol)
			x := newProxy(t).converse(pol, streamPath, "", nil)
			short := string(protocol.Frame(nil, protocol.AppendStreamed(nil, nil, "no")))
			want := message + short
			if name == "enforced" {
				failed := verdict.Finding{Code: verdict.BrokenTooLarge, Detail: overDetail(pol.Limits.BodyBytes)}
				want = string(errorFrame(failed)) + short
			}
			x.respond(200, "application/grpc", false)
			for _, piece := range []string{message[:3], message[3:20], message[20:] + short} {
				x.say(piece, false)
			}
			x.trail("grpc-status", "0")
			if got := x.done(); got.body != want {
				t.Errorf("got %q\nwant %q", got.body, want)
			}
		})
	}
}

// TestUnaryOverTheLimit: what is not read is replaced like any other.
func TestUnaryOverTheLimit(t *testing.T) {
	pol := grpcPolicy()
	pol.Limits.BodyBytes = 64
	x := newProxy(t).converse(pol, inferPath, string(protocol.Frame(nil, inferAnswer(t, "1"))), nil)
	x.respond(200, "application/grpc", false)
	for range 3 {
		x.say(strings.Repeat("x", 60), false)
	}
	x.trail("grpc-status", "0")
	if got := x.done(); got.headers["x-safestate-source"] != "safe_default" || !strings.HasPrefix(got.headers["x-safestate-reason"], "broken_too_large") {
		t.Errorf("headers %v", got.headers)
	}
}

// TestJSONForAStream: clients take it for a stream of nothing, whatever its 2xx.
func TestJSONForAStream(t *testing.T) {
	for _, status := range []int{200, 201, 299} {
		x := newTalk(t, chatPolicy(), chatRequest)
		x.respond(status, "application/json", false)
		x.say(chatDefault, true)
		if got := x.done(); got.headers["content-type"] != "text/event-stream" || !strings.HasSuffix(got.body, chunkDone) {
			t.Errorf("%d: headers %v, body %s", status, got.headers, got.body)
		}
	}
}

// TestGuardedMessages: nothing but an error can stand in for a conversation.
func TestGuardedMessages(t *testing.T) {
	pol := grpcPolicy()
	pol.MaxConcurrent = 1
	p := newProxy(t)
	first := p.converse(pol, streamPath, "", nil)
	second := p.converse(pol, streamPath, "", nil)
	if got := second.until("an answer", func(g caller) bool { return g.ended }); got.grpcStatus != 14 || got.elsewhere {
		t.Errorf("past the limit: %+v", got)
	}
	_, _ = first.stream.CloseSend(), second.stream.CloseSend()
	p.settled()
}

// TestPromptIsLetGo: an open stream holds none of the budget.
func TestPromptIsLetGo(t *testing.T) {
	for name, c := range map[string]struct {
		pol    *policy.Policy
		status int
	}{
		"the model's": {chatPolicy(), 200},
		"observed":    {chatPolicy(observe), 200},
		"relayed":     {chatPolicy(patientModel(t)), 500},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTalk(t, c.pol, longRequest(50<<10))
			if c.status == 200 {
				x.respond(200, "text/event-stream", false)
				x.say(chunk("Hello"), false)
			} else {
				x.respond(c.status, "application/json", false)
				x.say("boom", true)
			}
			x.until("the stream", saysHello)
			x.until("its memory", func(caller) bool { return x.server.inFlight.Load() == 0 })
		})
	}
	t.Run("of the ladder's upstream", func(t *testing.T) {
		var p *proxy
		held := make(chan int64, 1)
		pol := chatPolicy(withModel(t, func(w http.ResponseWriter, _ *http.Request) {
			events(w, chunkRole, chunk("Hello"))
			deadline := time.Now().Add(time.Minute)
			for p.server.inFlight.Load() != 0 && time.Now().Before(deadline) {
				time.Sleep(time.Millisecond) // a poll with a bound
			}
			held <- p.server.inFlight.Load()
			events(w, chunkStop, chunkDone)
		}))
		p, ask := asUpstream(t, pol)
		ask(chatPath, longRequest(50<<10))
		if n := <-held; n != 0 {
			t.Errorf("%d bytes are booked while the stream runs", n)
		}
	})
}

// TestEndOfARelay: a process that ends also ends the streams that it relays.
func TestEndOfARelay(t *testing.T) {
	for name, begun := range map[string]bool{"relayed before": true, "held until then": false} {
		t.Run(name, func(t *testing.T) {
			x := newTalk(t, chatPolicy(patientModel(t)), chatRequest)
			if begun {
				x.respond(500, "application/json", false)
				x.say("boom", true)
				x.until("the relay", saysHello)
			} else {
				x.respond(200, "text/event-stream", false)
				x.say(chunkRole, false)
				x.until("it to be known", func(caller) bool { return len(x.server.streams.list()) == 1 })
			}
			x.server.EndStreams()
			if got := x.done(); !saysHello(got) || !strings.Contains(got.body, "safestate_draining") {
				t.Errorf("body %s", got.body)
			}
		})
	}
}

func TestObservedTrailers(t *testing.T) {
	x := newTalk(t, chatPolicy(observe), chatRequest)
	x.respond(200, "text/event-stream", false)
	x.say(chunk("Hello")+chunkStop+chunkDone, false)
	x.trail("x-checksum", "1")
	x.done()
}

// TestCommentsAreSilence: a connection that is kept alive says nothing.
func TestCommentsAreSilence(t *testing.T) {
	x := newTalk(t, chatPolicy(silent), chatRequest)
	x.respond(200, "text/event-stream", false)
	x.say(chunk("Hello"), false)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	got := x.until("the end", func(g caller) bool {
		select {
		case <-tick.C:
			x.say(": ping\n\n", false)
		default:
		}
		return g.ended
	})
	if !strings.Contains(got.body, "safestate_stream_stalled") {
		t.Errorf("body %s", got.body)
	}
	_ = x.stream.CloseSend()
	x.settled()
}

// TestPlaceOfADoneModel: a model that has answered is not busy with what goes out
// in its place.
func TestPlaceOfADoneModel(t *testing.T) {
	pol := chatPolicy(patientModel(t), func(p *policy.Policy) { p.MaxConcurrent = 1 })
	p := newProxy(t)
	x := p.converse(pol, chatPath, chatRequest, nil)
	x.respond(500, "application/json", false)
	x.say("boom", true)
	x.until("the relay", saysHello)
	if y := p.converse(pol, chatPath, chatRequest, nil); y.got.elsewhere || y.got.ended {
		t.Errorf("the second request: %+v", y.got)
	}
}

func TestUnaryHeaders(t *testing.T) {
	t.Run("length", func(t *testing.T) {
		x := newProxy(t).converse(grpcPolicy(), inferPath, string(protocol.Frame(nil, inferAnswer(t, "1"))), nil)
		x.respond(200, "application/grpc", false, "content-length", "77")
		x.say(string(protocol.Frame(nil, nanMessage(t))), false)
		x.trail("grpc-status", "0")
		if got := x.done(); got.headers["content-length"] != "" {
			t.Errorf("headers %v with a body of %d bytes", got.headers, len(got.body))
		}
	})
	t.Run("a refused budget", func(t *testing.T) {
		pol := grpcPolicy()
		pol.GRPCLastRung = policy.LastRungAnswer
		x := newProxy(t).converse(pol, inferPath, string(protocol.Frame(nil, inferAnswer(t, "1"))), nil)
		x.respond(200, "application/grpc", true, "grpc-status", "14", "x-safestate-reason", "budget_exhausted")
		if got := x.done(); got.headers[policy.HeaderUnanswered] != "" {
			t.Errorf("headers %v: Envoy would answer what the policy refuses", got.headers)
		}
	})
}

// TestLeave: a proxy's log stream does not hold up the end of the process.
func TestLeave(t *testing.T) {
	p := newProxy(t)
	s, err := accesslogv3.NewAccessLogServiceClient(p.conn).StreamAccessLogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&accesslogv3.StreamAccessLogsMessage{}); err != nil {
		t.Fatal(err)
	}
	p.server.Leave()
	if err := s.RecvMsg(new(accesslogv3.StreamAccessLogsResponse)); err == nil {
		t.Error("the stream goes on")
	}
}
