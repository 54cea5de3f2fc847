package extproc

import (
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// killing is a proxy's option, and what kills by it.
func killing() (option func(*Options), stop func(kill.Mode, ...kill.Target)) {
	live := kill.NewLive(nil)
	stop = func(mode kill.Mode, targets ...kill.Target) {
		var states []kill.State
		for _, t := range targets {
			states = append(states, kill.Kill(kill.New(t), kill.Order{ID: "1", At: time.Now(), By: "on-call", Reason: "wrong answers", Mode: mode}))
		}
		live.Store(kill.NewSet(states...))
	}
	return func(o *Options) { o.Kills = live }, stop
}

// What Envoy still sends to what is killed is not asked, and what was on its way
// is not given, in each mode.
func TestKilled(t *testing.T) {
	targets := map[string]kill.Target{
		"everything": kill.Everything, "the route": kill.ForRoute("default/fraud/score"),
		"the model": kill.ForModel("default/fraud"), "the version": kill.ForVersion("default/fraud", "v1"),
	}
	if len(targets) != len(kill.Scopes()) {
		t.Fatalf("%d scopes are tried, want %d", len(targets), len(kill.Scopes()))
	}
	for _, mode := range kill.Modes() {
		for name, target := range targets {
			for _, r := range []request{
				{policy: fraud(), answer: cleanAnswer},
				{policy: fraud(readBody), answer: cleanAnswer},
				{policy: fraud(observe), answer: cleanAnswer},
				{policy: fraud(), path: "/v2/models/fraud/ready", answer: "{}"},
				{policy: fraud(), cluster: "-"},
			} {
				option, stop := killing()
				p := newProxy(t, option)
				stop(mode, target)
				got := p.do(r)
				wantStopped(t, mode, name, r, got)
				if got.asked {
					t.Errorf("%s, %s: the model was asked", mode, name)
				}
			}
			for when, change := range map[string]func(*request, func()){
				"while it is asked":   func(r *request, f func()) { r.meanwhile = f },
				"while it answers":    func(r *request, f func()) { r.halfway = f },
				"at a caller's error": func(r *request, f func()) { r.status, r.meanwhile = 400, f },
			} {
				option, stop := killing()
				r := request{policy: fraud(), answer: cleanAnswer}
				change(&r, func() { stop(mode, target) })
				wantStopped(t, mode, name+" "+when, r, newProxy(t, option).do(r))
			}
		}
	}
}

func wantStopped(t *testing.T, mode kill.Mode, name string, r request, got result) {
	t.Helper()
	refused := mode == kill.Blackhole || r.policy.Mode == policy.Observe || strings.HasSuffix(r.path, "ready")
	status, source := 200, "safe_default"
	if refused {
		status, source = 503, ""
	}
	if got.err != nil || got.status != status || got.headers[verdict.HeaderSource] != source ||
		!strings.HasPrefix(got.headers[verdict.HeaderReason], "killed ") || !refused && got.body != defaultBody {
		t.Errorf("%s, %s: got %+v, want %d by %q", mode, name, got, status, source)
	}
}

func TestOthersAreNotKilled(t *testing.T) {
	option, stop := killing()
	p := newProxy(t, option)
	stop(kill.Blackhole, kill.ForVersion("default/fraud", "v2"), kill.ForModel("default/fraud2"), kill.ForRoute("default/fraud/score2"))
	if got := p.do(request{policy: fraud(), answer: cleanAnswer}); got.body != cleanAnswer || got.status != 200 {
		t.Errorf("got %+v", got)
	}
}

// A stream that is under way when its model is killed ends at once, with an error
// event; one of which nothing has gone out is answered in its place.
func TestStreamsThatAreKilled(t *testing.T) {
	for _, mode := range kill.Modes() {
		option, stop := killing()
		c := newProxy(t, option).converse(chatPolicy(), chatPath, chatRequest, nil)
		c.respond(200, "text/event-stream", false)
		c.say(chunkRole+chunk("Hello"), false)
		c.until("the commit", func(g caller) bool { return strings.Contains(g.body, "Hello") })
		stop(mode, kill.ForModel("default/chat"))
		if got := c.done(); !strings.Contains(got.body, "safestate_killed") || strings.Contains(got.body, chunkDone) {
			t.Errorf("%s: %s", mode, got.body)
		}
		if n := c.served(t, "cut"); n != 1 {
			t.Errorf("%s: counted as cut %v times", mode, n)
		}

		option, stop = killing()
		c = newProxy(t, option).converse(chatPolicy(), chatPath, chatRequest, nil)
		c.respond(200, "text/event-stream", false)
		c.say(chunkRole, false)
		stop(mode, kill.ForModel("default/chat"))
		got := c.done()
		if refused := mode == kill.Blackhole; refused != (got.status == 503) || refused == strings.Contains(got.body, "Please try again later.") {
			t.Errorf("%s, held: %d %s", mode, got.status, got.body)
		}
		if !strings.HasPrefix(got.headers[verdict.HeaderReason], "killed model default/chat") {
			t.Errorf("%s, held: %v", mode, got.headers)
		}
	}
}

// A stream that is only observed is as much the killed model's as any other.
func TestAnObservedStreamThatIsKilled(t *testing.T) {
	option, stop := killing()
	c := newProxy(t, option).converse(chatPolicy(observe), chatPath, chatRequest, nil)
	c.respond(200, "text/event-stream", false)
	c.say(chunkRole+chunk("Hello"), false)
	c.until("the first content", func(g caller) bool { return strings.Contains(g.body, "Hello") })
	stop(kill.Degrade, kill.Everything)
	if got := c.done(); !strings.Contains(got.body, "safestate_killed") {
		t.Errorf("%s", got.body)
	}
}

// What is complete has been said: a kill does not take it back.
func TestACompleteStreamStays(t *testing.T) {
	option, stop := killing()
	c := newProxy(t, option).converse(chatPolicy(), chatPath, chatRequest, nil)
	c.respond(200, "text/event-stream", false)
	c.say(chunkRole+chunk("Hello")+chunkStop+chunkDone, false)
	c.until("the end mark", func(g caller) bool { return strings.Contains(g.body, chunkDone) })
	stop(kill.Blackhole, kill.Everything)
	c.say("", true)
	if got := c.done(); strings.Contains(got.body, "safestate_killed") {
		t.Errorf("%s", got.body)
	}
}

// A process that leaves waits for its streams, and kills them as before.
func TestAStreamThatIsKilledWhileTheProcessLeaves(t *testing.T) {
	option, stop := killing()
	p := newProxy(t, option)
	c := p.converse(chatPolicy(), chatPath, chatRequest, nil)
	c.respond(200, "text/event-stream", false)
	c.say(chunkRole+chunk("Hello"), false)
	c.until("the commit", func(g caller) bool { return strings.Contains(g.body, "Hello") })
	p.server.Leave()
	stop(kill.Degrade, kill.ForModel("default/other"))
	stop(kill.Degrade, kill.ForModel("default/chat"))
	if got := c.done(); !strings.Contains(got.body, "safestate_killed") {
		t.Errorf("%s", got.body)
	}
}
