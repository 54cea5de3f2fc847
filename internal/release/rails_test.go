package release

import (
	"strings"
	"testing"
	"time"
)

func TestCoolDownProtectsTheTargetAndNoNewCandidate(t *testing.T) {
	w := four(t)
	w.fail("v4")
	w.advance()
	w.weights(map[string]int{"v3": 100})
	w.pass(time.Minute)
	w.fail("v3")
	w.pass(time.Second)
	w.pass(time.Second)
	w.weights(map[string]int{"v3": 100})
	if r := w.one(KindBound); r.Version != "v3" || !strings.Contains(r.Reason, "v3 fails and stays until 03:35:01Z: the last automatic rollback went to it") {
		t.Errorf("%+v", r)
	}

	w.version("v5", nil) // a person tries to mend it, and does not
	w.apply(Command{Do: Start, Version: "v5"})
	w.fresh()
	w.pass(time.Second)
	w.fail("v5")
	w.advance()
	w.weights(map[string]int{"v3": 100})
	if got := w.last(KindRollback); got.Version != "v5" {
		t.Errorf("%+v", got)
	}

	w.fail("v3")
	w.pass(5*time.Minute - 1)
	w.weights(map[string]int{"v3": 100})
	if !w.wake.Equal(w.now.Add(1)) {
		t.Errorf("wakes at %s, now is %s", w.wake, w.now)
	}
	w.pass(1)
	w.weights(map[string]int{"v2": 100})
}

func TestACandidateThatFailsGoesBackToAProtectedTarget(t *testing.T) {
	w := four(t)
	w.fail("v4")
	w.advance()
	w.version("v5", nil)
	w.apply(Command{Do: Start, Version: "v5"})
	w.fresh()
	w.pass(time.Second)
	w.fail("v3")
	w.fail("v5")
	w.advance()
	w.weights(map[string]int{"v3": 100}) // neither v2 nor degraded: v3 is in its cool-down
}

func TestRollbacksAnHour(t *testing.T) {
	w := newWorld(t)
	for _, v := range []string{"a", "b", "c", "d"} {
		w.version(v, nil)
		w.apply(Command{Do: Start, Version: v, Steps: []Step{{Weight: 100}}}) // promoted at once
		w.pass(10 * time.Minute)
		w.fail(v)
		w.advance()
	}
	w.weights(map[string]int{"v1": 1, "d": 99})
	if n := len(w.find(KindRollback)); n != 3 {
		t.Errorf("%d rollbacks", n)
	}
	if r := w.one(KindBound); !strings.Contains(r.Reason, "stays until 04:10:00Z: the model had as many") {
		t.Errorf("%s", r.Reason)
	}
	if says := strings.Join(Explain(w.s, w.in, w.now), "\n"); !strings.Contains(says, "held back: d fails and stays until 04:10:00Z") {
		t.Error(says)
	}
	w.see("d", 10000)
	w.pass(25 * time.Minute)
	w.weights(map[string]int{"v1": 1, "d": 99})
	w.pass(5 * time.Minute)
	w.weights(map[string]int{"v1": 100})

	w = newWorld(t)
	w.in.Plan.RollbacksPerHour = number(0)
	w.promoteFully("v2")
	w.pass(time.Second)
	w.fail("v2")
	w.pass(100 * time.Hour)
	w.one(KindBound)
	w.weights(map[string]int{"v1": 1, "v2": 99})
}

func TestNeverPastAPersonsDecision(t *testing.T) {
	old := func(w *world) *world { // v2 fails, and automation is bound
		w.in.Plan.RollbacksPerHour = number(0)
		w.apply(Command{Do: Start, Version: "v2"})
		w.pass(time.Second)
		w.fail("v2")
		w.pass(time.Second)
		w.last(KindBound)
		return w
	}
	t.Run("a promotion", func(t *testing.T) {
		w := old(newWorld(t))
		refused(t, w.try(Command{Do: Promote, Full: true}), "v2 fails", "NaN", "force")
		w.apply(Command{Do: Promote, Full: true, Force: true, Hold: lasting(time.Minute)})
		w.in.Plan.RollbacksPerHour = nil
		w.pass(time.Hour)
		w.weights(map[string]int{"v1": 1, "v2": 99}) // the evidence is from before
		if !w.s.EvidenceSince("v2").Equal(w.now.Add(-time.Hour)) {
			t.Errorf("evidence counts from %s", w.s.EvidenceSince("v2"))
		}
		w.fresh()
		w.fail("v2")
		w.advance()
		w.weights(map[string]int{"v1": 100}) // this one is not
	})
	t.Run("what is forced is held", func(t *testing.T) {
		w := newWorld(t)
		w.promoteFully("v2")
		w.pass(time.Second)
		w.fail("v2")
		w.advance()
		w.apply(Command{Do: Start, Version: "v2", Force: true})
		w.fresh()
		w.pass(time.Second)
		w.fail("v2")
		w.pass(30*time.Minute - time.Second - 1)
		w.weights(map[string]int{"v1": 99, "v2": 1})
		if r := w.one(KindBound); !strings.Contains(r.Reason, "until 03:45:01Z: a person forced it") {
			t.Errorf("%s", r.Reason)
		}
		w.pass(1)
		w.weights(map[string]int{"v1": 100})
	})
	t.Run("a start, and the stable version's old failures", func(t *testing.T) {
		w := newWorld(t)
		w.in.Plan.RollbacksPerHour = number(0)
		w.fail("v1")
		w.pass(time.Second)
		w.last(KindBound)
		w.apply(Command{Do: Start, Version: "v2"})
		w.in.Plan.RollbacksPerHour = nil
		w.pass(time.Second)
		w.weights(map[string]int{"v1": 99, "v2": 1})
	})
	t.Run("an abort", func(t *testing.T) {
		w := four(t)
		w.in.Plan.RollbacksPerHour = number(0)
		w.fail("v3")
		w.pass(time.Second)
		w.apply(Command{Do: Abort})
		w.in.Plan.RollbacksPerHour = nil
		w.pass(time.Hour)
		w.weights(map[string]int{"v3": 100})
		w.fresh()
		w.fail("v3")
		w.advance()
		w.weights(map[string]int{"v2": 100})
	})
	t.Run("a rollback", func(t *testing.T) {
		w := four(t)
		w.fail("v2")
		w.pass(time.Second)
		refused(t, w.try(Command{Do: Rollback, Version: "v2"}), "v2 fails itself", "force")
		w.apply(Command{Do: Rollback, Version: "v2", Force: true, Hold: lasting(time.Second)})
		w.pass(time.Minute)
		w.weights(map[string]int{"v2": 100})
		w.fresh()
		w.fail("v2")
		w.advance() // fresh evidence counts at once: no cool-down after a person
		w.weights(map[string]int{"v1": 100})
	})
}

// A good version that has a bad minute is not taken away where nothing would take
// over: its breaker does for that minute what a degraded model would do for good.
func TestAGoodVersionWithoutAnotherStays(t *testing.T) {
	w := newWorld(t)
	before := w.s.Weights
	w.fail("v1")
	w.pass(time.Minute)
	w.weights(before)
	if r := w.one(KindBound); w.s.Degraded || w.s.Bound == nil || w.s.Bound.Rail != RailNoTarget || !strings.Contains(r.Reason, "no other version is fit") {
		t.Errorf("%+v, %+v", w.s.Bound, r)
	}
	w.fresh()
	w.pass(time.Minute)
	if w.s.Bound != nil {
		t.Errorf("it is well again, and still: %+v", w.s.Bound)
	}
}

// A promoted version of which one answer in five is bad serves callers better than
// no version at all.
func TestAVersionThatIsMostlyWellIsNotTakenAwayForNothing(t *testing.T) {
	for rate, degrades := range map[float64]bool{0.2: false, 0.9: true} {
		w := newWorld(t)
		w.promoteFully("v2")
		w.version("v1", func(v *VersionInfo) { v.Ready = no() })
		w.pass(time.Second)
		w.fail("v2")
		e := w.in.Evidence["v2"]
		e.Rate = rate
		w.in.Evidence["v2"] = e
		w.pass(time.Minute)
		if w.s.Degraded != degrades {
			t.Errorf("at %v: degraded %v", rate, w.s.Degraded)
		}
		if r := w.s.Bound; !degrades && (r == nil || r.Rail != RailNoTarget) {
			t.Errorf("at %v: %+v", rate, r)
		}
	}
}
