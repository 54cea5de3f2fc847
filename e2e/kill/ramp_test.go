package kill

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/kill"
)

// reviveBy revives a target whose ramp is where that many percent pass, and stays
// there for the test.
func (s *stand) reviveBy(target kill.Target, percent int) {
	s.t.Helper()
	before := s.states[target]
	for step := range 6 {
		at := time.Now().Add(-time.Duration(step)*kill.MaxRamp/6 - time.Minute)
		after, err := kill.Revive(before, kill.Request{At: at, By: "a", Reason: "b", Generation: before.Generation, Ramp: kill.MaxRamp})
		if err != nil {
			s.t.Fatal(err)
		}
		if got, _ := after.Ramp.Percent(time.Now()); got == percent {
			s.states[target] = after
			s.publish()
			s.proven()
			return
		}
	}
	s.t.Fatalf("no ramp lets %d percent pass", percent)
}

// TestRamp: of a model that comes back a share of the requests reaches it, and the
// others are answered as while it was killed, by the ladder, over gRPC too.
func TestRamp(t *testing.T) {
	for _, name := range []string{"v2", "chat", "grpc-unavailable", "grpc-answer"} {
		t.Run(name, func(t *testing.T) {
			r := rowOf(t, name)
			v := versions{startModel(t, r.live), startModel(t, r.live)}
			s := newStand(t, compiled(t, r.objects(v, extra{})), nil)
			s.live(r, v)
			target := kill.ForModel("default/" + name)
			s.kill(target, kill.Degrade)
			s.reviveBy(target, 25)
			dataplane.Eventually(t, soon, "the cluster has its endpoints", func() bool { return s.endpoints(r) == 2 })
			const requests = 300
			before, passed := v.asked(), 0
			for range requests {
				switch got := s.ask(r); {
				case got.body == r.live:
					passed++
				case got.source != "safe_default":
					t.Fatalf("a caller gets %+v", got)
				}
			}
			if n := v.asked() - before; int(n) != passed || passed < requests/10 || passed > requests/2 {
				t.Errorf("%d of %d requests reached the model, and %d got its answer; want a quarter", n, requests, passed)
			}
			s.reviveWhole(target)
			s.live(r, v)
		})
	}
}

// reviveWhole ends a ramp, as time does.
func (s *stand) reviveWhole(target kill.Target) {
	s.t.Helper()
	state := s.states[target]
	state.Ramp = nil
	s.states[target] = state
	s.publish()
	s.proven()
}

// TestOneVersion: of two versions one is killed, and the other has its callers,
// those with a session too.
func TestOneVersion(t *testing.T) {
	for _, name := range []string{"v2", "plain", "grpc-unavailable", "grpc-answer", "plain-grpc"} {
		t.Run(name, func(t *testing.T) {
			r := rowOf(t, name)
			x := extra{weights: [2]int{70, 30}}
			if r.lastRung == "" {
				x.rule = "sessionPersistence: {type: Header, sessionName: x-session}"
			}
			v := versions{startModel(t, r.live), startModel(t, r.live)}
			s := newStand(t, compiled(t, r.objects(v, x)), nil)
			s.live(r, v)
			for i := range v {
				target := kill.ForVersion("default/"+name, []string{"v1", "v2"}[i])
				s.kill(target, kill.Blackhole)
				before, other := v[i].asked.Load(), v[1-i].asked.Load()
				const callers = 40
				for range callers {
					if got := s.ask(r); got.body != r.live {
						t.Fatalf("a caller gets %+v", got)
					}
				}
				if killed, live := v[i].asked.Load()-before, v[1-i].asked.Load()-other; killed != 0 || live != callers {
					t.Errorf("%d requests reached what is killed, and %d the other", killed, live)
				}
				s.revive(target)
				dataplane.Eventually(t, soon, "it has traffic again", func() bool { s.ask(r); return v[i].asked.Load() > before })
			}
		})
	}
}

// TestInFlight: a call that fails at a model which is killed meanwhile is not taken
// there again, and the ladder answers it.
func TestInFlight(t *testing.T) {
	for _, name := range []string{"v2", "grpc-unavailable", "grpc-answer"} {
		t.Run(name, func(t *testing.T) {
			r := rowOf(t, name)
			v := versions{startModel(t, r.live), startModel(t, r.live)}
			s := newStand(t, compiled(t, r.objects(v, extra{})), nil)
			s.live(r, v)
			let, arrived := make(chan struct{}), make(chan struct{}, 1)
			v[0].hold.Store(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				arrived <- struct{}{}
				<-let
				panic(http.ErrAbortHandler)
			})
			answered := make(chan outcome)
			go func() { answered <- s.ask(r) }()
			<-arrived
			s.kill(kill.ForModel("default/"+name), kill.Degrade)
			s.emptied(r)
			before := v.asked()
			close(let)
			if got := <-answered; got.source != "safe_default" || got.body == r.live {
				t.Errorf("the caller gets %+v", got)
			}
			if n := v.asked() - before; n != 0 {
				t.Errorf("%d requests reached the model", n)
			}
		})
	}
}
