package extproc

import (
	"testing"
	"time"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/signals"
)

// flying is a proxy whose processor says what is in flight to what is killed.
type flying struct {
	*proxy
	hub  *signals.Hub
	stop func(kill.Mode, ...kill.Target)
	mark func() string // of what is killed
}

func newFlying(t *testing.T) *flying {
	t.Helper()
	hub := signals.NewHub(signals.HubOptions{})
	option, stop := killing()
	var o Options
	option(&o)
	reporter := signals.NewReporter(signals.ReporterOptions{Name: "test", Links: []signals.Link{hub.Link()}, Kills: func() signals.InForce {
		set, changed := o.Kills.Load()
		return signals.InForce{Set: compile.KillsOf(set).Enforced, Changed: changed, Stops: func(route, model, version string) bool {
			return set.Of(route, model, version, time.Now()).Killed
		}}
	}})
	mark := func() string {
		set, _ := o.Kills.Load()
		return compile.KillsOf(set).Enforced
	}
	f := &flying{hub: hub, stop: stop, mark: mark, proxy: newProxy(t, option, func(o *Options) { o.Signals = reporter })}
	t.Cleanup(func() {
		reporter.Close()
		hub.Close()
	})
	return f
}

// reports waits until the processor says, with what is killed in force, that so many
// requests are in flight to it.
func (f *flying) reports(when string, set string, want uint64) {
	f.t.Helper()
	var got []signals.Host
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) { // a poll with a bound
		if got, _ = f.hub.Reporting(); len(got) == 1 && got[0].Kills == set && got[0].InFlight == want {
			return
		}
	}
	f.t.Errorf("%s it reports %+v, want %d in flight with %s in force", when, got, want, set)
}

// TestInFlight: a request that was let go before the kill is in flight until its end;
// one that is refused never is.
func TestInFlight(t *testing.T) {
	target := kill.ForModel("default/fraud")
	for name, r := range map[string]request{
		"judged":         {policy: fraud(), answer: cleanAnswer},
		"with its body":  {policy: fraud(readBody), answer: cleanAnswer},
		"only observed":  {policy: fraud(observe), answer: cleanAnswer},
		"abandoned":      {policy: fraud(), answer: cleanAnswer, vanish: true},
		"another's too":  {policy: fraud(), answer: cleanAnswer, cluster: "default/other/v1"},
		"without a body": {policy: fraud(), answer: cleanAnswer, noBody: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlying(t)
			set := ""
			r.meanwhile = func() {
				f.stop(kill.Degrade, target)
				set = f.mark()
				f.reports("while the model is asked,", set, 1)
				refused := r
				refused.meanwhile, refused.noBody = nil, true
				stream, err := f.client.Process(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				x := &play{proxy: f.proxy, stream: stream, request: refused.withDefaults()}
				if err := stream.Send(x.requestHeaders()); err != nil {
					t.Fatal(err)
				}
				if m, err := stream.Recv(); err != nil || m.GetImmediateResponse() == nil {
					t.Fatalf("%v %v", m, err)
				}
				f.stop(kill.Blackhole, target) // what is reported with it is counted anew
				set = f.mark()
				f.reports("with one that is refused and not over,", set, 1)
				if err := stream.CloseSend(); err != nil {
					t.Fatal(err)
				}
			}
			f.do(r)
			f.reports("at the end", set, 0)
		})
	}
}

// TestInFlightStream: an open stream is, until the kill has ended it.
func TestInFlightStream(t *testing.T) {
	f := newFlying(t)
	c := f.converse(chatPolicy(), chatPath, chatRequest, nil)
	c.respond(200, "text/event-stream", false)
	c.say(chunkRole+chunk("Hello"), false)
	f.stop(kill.Degrade, kill.ForModel("default/elsewhere"))
	f.reports("of another model", f.mark(), 0)
	f.stop(kill.Degrade, kill.ForModel("default/chat"))
	c.done()
	f.settled()
	f.reports("at the end", f.mark(), 0)
}
