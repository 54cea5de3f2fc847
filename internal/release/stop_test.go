package release

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// guarded is a model with automatic kills; v1 alone has traffic.
func guarded(t *testing.T) *world {
	w := newWorld(t)
	w.in.Plan.Kill = &KillPlan{Mode: "degrade", CoolDown: Duration(10 * time.Minute), PerHour: 2}
	return w
}

func (w *world) alarm(version string, safety bool) {
	put(&w.in.Alarms, version, Alarm{Why: "40 of 100 answers bad", Safety: safety, Requests: 100, Bad: 40, Since: w.now})
}

// stops asserts how many kills were ordered, and what the last is of.
func (w *world) stops(n int, versions ...string) *Stop {
	w.t.Helper()
	if found := w.find(KindAutomaticKill); len(found) != n {
		w.t.Fatalf("%d automatic kills, want %d: %s", len(found), n, w.kinds())
	}
	if n > 0 && (w.s.Stop == nil || !slices.Equal(w.s.Stop.Versions, versions)) {
		w.t.Fatalf("%+v", w.s.Stop)
	}
	return w.s.Stop
}

// obey carries the order out, and clears the alarms.
func (w *world) obey() {
	w.t.Helper()
	clear(w.in.Alarms)
	if len(w.s.Stop.Versions) == 0 {
		w.kill("")
	}
	for _, v := range w.s.Stop.Versions {
		w.kill(v)
	}
	if w.s.Stop.Seen.IsZero() {
		w.t.Fatal("the kill was not seen")
	}
}

func TestNothingIsKilledUnasked(t *testing.T) {
	w := newWorld(t)
	w.alarm("v1", true)
	w.pass(time.Minute)
	w.stops(0)
}

func TestTheOnlyVersionIsKilledAsTheModel(t *testing.T) {
	w := guarded(t)
	w.alarm("v1", false)
	w.advance()
	k := w.stops(1)
	r := w.last(KindAutomaticKill)
	if r.By != By || r.Version != "v1" || !strings.Contains(r.Reason, "the model is killed, degrade: v1: 40 of 100 answers bad") || r.Evidence["v1"].Requests == 0 {
		t.Errorf("%+v", r)
	}
	if !k.Pending(w.now) || k.Rate != 0.4 || k.Mode != "degrade" {
		t.Errorf("%+v", k)
	}
	w.pass(30 * time.Second) // it is ordered once
	w.stops(1)
	w.obey()
	w.weights(map[string]int{"v1": 100}) // a revive brings all of it back
}

func TestWhatARollbackTakesOutIsNotKilled(t *testing.T) {
	w := guarded(t)
	w.promoteFully("v2")
	w.alarm("v2", false)
	w.pass(time.Second)
	w.stops(0)
	w.fail("v2")
	w.advance()
	w.one(KindRollback)
	w.stops(0)
}

func TestASafetyCriterionDoesNotWaitForARollback(t *testing.T) {
	w := guarded(t)
	w.promoteFully("v2")
	w.alarm("v2", true)
	w.advance()
	w.stops(1, "v2")
	w.obey()
	w.weights(map[string]int{"v1": 100})
	if r := w.one(KindKilled); r.Target != "v1" {
		t.Errorf("%+v", r)
	}
}

// Where a rollback would do but may not, or would go to what is as bad, it kills.
func TestWhatNoRollbackTakesOut(t *testing.T) {
	for name, c := range map[string]struct {
		make func(w *world)
		of   []string
	}{
		"rollbacks are off":       {func(w *world) { w.in.Plan.RollbacksPerHour = number(0) }, []string{"v2"}},
		"the target is over, too": {func(w *world) { w.alarm("v1", false) }, nil},
		"the target is condemned": {func(w *world) {
			w.s.Condemned = map[string]Condemned{"v1": {At: w.now}}
			w.s.Weights = map[string]int{"v2": 100}
		}, nil},
		"a common cause": {func(w *world) {
			w.in.Evidence["v2"] = Evidence{Verdict: CommonCause, Requests: 100, Bad: 40, FirstBad: w.now}
		}, []string{"v2"}},
		"no endpoint elsewhere": {func(w *world) { w.version("v1", func(i *VersionInfo) { i.Ready = no() }) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := guarded(t)
			w.promoteFully("v2")
			w.now = w.now.Add(time.Second)
			c.make(w)
			w.alarm("v2", false)
			next, _, _, err := Advance(w.s, w.in, w.now)
			if err != nil {
				t.Fatal(err)
			}
			w.history, w.s = append(w.history, next.Outbox...), next
			w.stops(1, c.of...)
		})
	}
}

func TestTooLittleIsNoAlarm(t *testing.T) {
	w := guarded(t)
	for _, a := range []Alarm{{}, {Requests: 100, Bad: 40}, {Requests: 100, Since: w.now}, {Bad: 3, Since: w.now}} {
		w.in.Alarms = map[string]Alarm{"v1": a}
		w.pass(time.Second)
		w.stops(0)
	}
}

func TestAPersonsDecisionHoldsAutomationOff(t *testing.T) {
	t.Run("a revive", func(t *testing.T) {
		w := guarded(t)
		w.alarm("v1", false)
		w.advance()
		w.obey()
		w.pass(time.Hour) // the cool-down of the kill itself is long over
		w.revive("")
		revived := w.now
		for w.now = w.now.Add(time.Second); w.now.Before(revived.Add(10 * time.Minute)); w.now = w.now.Add(30 * time.Second) {
			w.alarm("v1", true)
			w.advance()
		}
		w.one(KindAutomaticKill)
		if b := w.one(KindKillBound); !strings.Contains(b.Reason, "a person has revived it") {
			t.Errorf("%+v", b)
		}
		w.now = revived.Add(10 * time.Minute)
		w.alarm("v1", true)
		w.advance()
		w.stops(2)
	})
	t.Run("force", func(t *testing.T) {
		w := guarded(t)
		w.apply(Command{Do: Start, Version: "v2", Force: true, Hold: lasting(20 * time.Minute), Steps: []Step{{Weight: 100}}})
		w.now = w.now.Add(time.Minute)
		w.alarm("v2", true)
		w.advance()
		w.stops(0)
		if w.s.KillBound == nil || w.s.KillBound.Rail != RailHold {
			t.Errorf("%+v", w.s.KillBound)
		}
		w.pass(20 * time.Minute)
		w.stops(1, "v2")
	})
	t.Run("what was seen before it", func(t *testing.T) {
		w := guarded(t)
		w.alarm("v1", false)
		w.now = w.now.Add(time.Second)
		w.s.Marks = map[string]Mark{"v1": {At: w.now}}
		w.pass(time.Second)
		w.stops(0)
	})
}

func TestKillsAreBounded(t *testing.T) {
	w := guarded(t)
	w.in.Plan.RollbacksPerHour = number(0)
	orders := func() int { return len(w.find(KindAutomaticKill)) }
	var at []time.Time
	for range 4 * 60 * 2 { // four hours of which every half minute alarms
		had := orders()
		w.alarm("v1", false)
		w.pass(30 * time.Second)
		if orders() > had {
			at = append(at, w.now)
		}
	}
	if len(at) != 8 {
		t.Errorf("%d kills in four hours, want 2 in each: %v", len(at), at)
	}
	for i := range at {
		if i > 0 && at[i].Sub(at[i-1]) < 10*time.Minute {
			t.Errorf("a kill %s after another", at[i].Sub(at[i-1]))
		}
		if i > 1 && at[i].Sub(at[i-2]) < time.Hour {
			t.Errorf("three kills in %s", at[i].Sub(at[i-2]))
		}
	}
	if n := len(w.find(KindKillBound)); n == 0 || n > 20 {
		t.Errorf("%d records of rails", n)
	}
}

func TestAPersonsDecisionVoidsAnOrder(t *testing.T) {
	w := guarded(t)
	w.alarm("v1", false)
	w.advance()
	if w.s.Order(w.now) == nil {
		t.Fatal("there is no order")
	}
	w.now = w.now.Add(time.Second)
	w.apply(Command{Do: Start, Version: "v2", Steps: []Step{{Weight: 50}, {Weight: 100}}})
	if k := w.s.Order(w.now); k != nil {
		t.Errorf("%+v", k)
	}
}

func TestAnOrderThatNobodyCarriesOutLapses(t *testing.T) {
	w := guarded(t)
	w.alarm("v1", false)
	w.advance()
	clear(w.in.Alarms)
	w.pass(StopFor)
	if w.s.Stop != nil {
		t.Errorf("%+v", w.s.Stop)
	}
}

func TestWhetherAKillHelped(t *testing.T) {
	for name, c := range map[string]struct {
		after  Aftermath
		helped bool
		says   string
	}{
		"nobody asks it":       {Aftermath{Requests: 100, Fallbacks: 7}, true, "v2 is asked no more; 40 % of answers bad before, 0 % of 100 of the others since; the ladder answered 7 requests"},
		"nothing came":         {Aftermath{}, true, "v2 is asked no more; the ladder answered 0 requests"},
		"the others fail, too": {Aftermath{Requests: 100, Bad: 20}, false, "40 % of answers bad before, 20 % of 100 of the others since: the cause is likely elsewhere"},
		"it is still asked":    {Aftermath{Requests: 100, Asked: 3}, false, "v2 was asked 3 times since: some proxy serves it still"},
		"half as many":         {Aftermath{Requests: 1000, Bad: 199}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := guarded(t)
			w.promoteFully("v2")
			w.alarm("v2", true)
			w.advance()
			w.obey()
			c.after.ID = w.s.Stop.ID
			w.in.Aftermath = c.after
			w.pass(helpAfter - time.Second)
			if w.s.Stop.Helped != nil {
				t.Fatal("judged too soon")
			}
			w.pass(time.Second)
			kind := KindKillHelped
			if !c.helped {
				kind = KindKillNotHelped
			}
			if r := w.one(kind); !strings.Contains(r.Reason, c.says) || *w.s.Stop.Helped != c.helped {
				t.Errorf("%+v", r)
			}
			w.pass(time.Hour)
			w.one(kind)
			w.revive("v2")
			if w.s.Stop != nil {
				t.Error("it is told of after its revive")
			}
		})
	}
}

// Who leads since a moment ago has not seen a minute of it.
func TestAKillIsJudgedByAWholeMinute(t *testing.T) {
	w := guarded(t)
	w.alarm("v1", false)
	w.advance()
	w.obey()
	w.now = w.now.Add(helpAfter)
	w.in.Aftermath = Aftermath{ID: w.s.Stop.ID, Since: w.now}
	w.pass(helpAfter - time.Second)
	if w.s.Stop.Helped != nil {
		t.Error("judged too soon")
	}
	w.pass(time.Second)
	w.one(KindKillHelped)
}

func TestAnotherKillsAftermathSaysNothing(t *testing.T) {
	w := guarded(t)
	w.alarm("v1", false)
	w.advance()
	w.obey()
	w.in.Aftermath = Aftermath{ID: "another", Asked: 5}
	w.pass(time.Hour)
	if w.s.Stop.Helped != nil {
		t.Errorf("%+v", w.s.Stop)
	}
}
