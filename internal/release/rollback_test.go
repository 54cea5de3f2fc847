package release

import (
	"strings"
	"testing"
	"time"
)

func TestAFailingVersionIsRolledBackFromEveryState(t *testing.T) {
	for _, c := range []struct {
		name  string
		reach func(*world)
	}{
		{"the first step", func(w *world) { w.apply(Command{Do: Start, Version: "v2"}) }},
		{"a later step", func(w *world) {
			w.apply(Command{Do: Start, Version: "v2"})
			w.see("v2", 1000)
			w.pass(time.Minute)
			w.weights(map[string]int{"v1": 90, "v2": 10})
		}},
		{"a step of weight 0", func(w *world) {
			w.apply(Command{Do: Start, Version: "v2", Steps: []Step{{Duration: Duration(time.Hour)}, {Weight: 100}}})
		}},
		{"a gate", func(w *world) {
			w.apply(Command{Do: Start, Version: "v2", Steps: []Step{{Weight: 5, Gate: true}}})
			w.see("v2", 10)
			w.advance()
			w.last(KindGate)
		}},
		{"a gate that was passed", func(w *world) {
			w.apply(Command{Do: Start, Version: "v2", Steps: []Step{{Weight: 5, Gate: true, MinRequests: 100}}})
			w.apply(Command{Do: Promote})
		}},
		{"a person's pause", func(w *world) {
			w.apply(Command{Do: Start, Version: "v2"})
			w.apply(Command{Do: Pause})
		}},
		{"fully promoted", func(w *world) { w.promoteFully("v2") }},
		{"fully promoted without holdback", func(w *world) {
			w.in.Plan.Holdback = number(0)
			w.promoteFully("v2")
			w.weights(map[string]int{"v2": 100})
		}},
		{"all at once by a person", func(w *world) {
			w.apply(Command{Do: Start, Version: "v2", Steps: []Step{{Weight: 100}}})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.reach(w)
			generation := w.s.Generation
			w.pass(time.Second)
			w.fail("v2")
			w.pass(40 * time.Millisecond)
			w.weights(map[string]int{"v1": 100})
			r := w.last(KindRollback)
			if r.By != By || r.Version != "v2" || r.Target != "v1" || r.Took.Decide != Duration(40*time.Millisecond) || r.Evidence["v2"].Bad != 10 {
				t.Errorf("%+v", r)
			}
			if w.s.Rollout != nil || w.s.Candidate != "" || w.s.Stable != "v1" || w.s.Phase() != PhaseSteady {
				t.Errorf("it left something behind: %s", text(w.s))
			}
			if c.name != "a step of weight 0" && w.s.Generation != generation+1 {
				t.Errorf("generation %d after %d", w.s.Generation, generation)
			}
			refused(t, w.try(Command{Do: Start, Version: "v2"}), "rolled back", "NaN", "again")
		})
	}
}

// four is a model whose versions v1, v2 and v3 were good one after the other,
// and v4 is being rolled out.
func four(t *testing.T) *world {
	w := newWorld(t)
	w.version("v3", nil)
	w.version("v4", nil)
	w.promoteFully("v2")
	w.fresh()
	w.promoteFully("v3")
	w.fresh()
	w.apply(Command{Do: Start, Version: "v4"})
	w.pass(time.Second)
	return w
}

func TestTheTarget(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*world)
		target string // empty: degraded
		says   string
	}{
		{"the one that carries the traffic", func(*world) {}, "v3", ""},
		{"that fails itself", func(w *world) { w.fail("v3") }, "v2", ""},
		{"that has no ready endpoint", func(w *world) { w.version("v3", func(v *VersionInfo) { v.Ready = no() }) }, "v2", "v3 has no ready endpoint"},
		{"whose readiness is said", func(w *world) { w.version("v3", func(v *VersionInfo) { v.Ready = yes() }) }, "v3", ""},
		{"that is not compatible", func(w *world) {
			w.version("v4", func(v *VersionInfo) { v.CompatibleWith = []string{"v1"} })
		}, "v1", "v2 is not in compatibleWith of v4"},
		{"fails, and the next failed when it was asked last", func(w *world) { w.fail("v3"); w.fail("v2") }, "v1", "v2 fails itself"},
		{"fails, and the next left the files", func(w *world) { w.fail("v3"); delete(w.in.Versions, "v2") }, "v1", "v2 is not in the files"},
		{"and all others fail", func(w *world) { w.fail("v3"); w.fail("v2"); w.fail("v1") }, "", ""},
		{"and none is compatible", func(w *world) {
			w.version("v4", func(v *VersionInfo) { v.CompatibleWith = []string{"v9"} })
		}, "", "v3 is not in compatibleWith of v4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := four(t)
			w.fail("v4")
			c.change(w)
			w.advance()
			kind := KindRollback
			if c.target == "" {
				kind = KindDegraded
				w.weights(map[string]int{})
			} else {
				w.weights(map[string]int{c.target: 100})
			}
			if r := w.last(kind); !strings.Contains(r.Reason, c.says) {
				t.Errorf("reason: %s", r.Reason)
			}
			w.fresh() // evidence that is lost changes nothing of it
			w.pass(time.Hour)
			if w.s.Degraded != (c.target == "") {
				t.Errorf("degraded: %v", w.s.Degraded)
			}
		})
	}
}

func TestTheHoldbackThatFailsAloneGoes(t *testing.T) {
	w := newWorld(t)
	w.version("v1", func(v *VersionInfo) { v.CompatibleWith = []string{"v0"} }) // has no say here
	w.promoteFully("v2")
	w.pass(time.Second)
	w.fail("v1")
	w.advance()
	w.weights(map[string]int{"v2": 100})
	if r := w.last(KindHoldback); !strings.Contains(r.Reason, "v1 fails: 10 of 10") || r.Evidence["v1"].Bad != 10 {
		t.Errorf("%+v", r)
	}
	if len(w.s.Condemned) != 0 || w.s.Withdrawal != nil || len(w.s.Automatic) != 0 {
		t.Errorf("%s", text(w.s))
	}
	w.pass(time.Hour) // it fails still: it does not come back by itself, nor is it a target
	w.weights(map[string]int{"v2": 100})
	w.fail("v2")
	w.advance()
	w.weights(map[string]int{})
}

func TestTheHoldbackThatFailsStaysWhereAPersonSaidSo(t *testing.T) {
	for name, change := range map[string]func(*world){
		"automatic rollbacks are off": func(w *world) { w.in.Plan.RollbacksPerHour = number(0) },
		"it is held": func(w *world) {
			put(&w.s.Holds, "v1", Hold{Until: w.now.Add(time.Hour), By: "mia"})
		},
	} {
		w := newWorld(t)
		w.promoteFully("v2")
		change(w)
		w.pass(time.Second)
		w.fail("v1")
		w.advance()
		if w.s.Weights["v1"] != 1 || w.s.Bound == nil {
			t.Errorf("%s: %v, %+v", name, w.s.Weights, w.s.Bound)
		}
	}
}

func TestAStableVersionThatFailsTakesItsRolloutAlong(t *testing.T) {
	w := four(t)
	w.fail("v3")
	w.advance()
	w.weights(map[string]int{"v2": 100})
	if _, yes := w.s.Condemned["v4"]; yes {
		t.Error("v4 did nothing wrong")
	}
}

func TestCommonCauseRollsNothingBack(t *testing.T) {
	w := newWorld(t)
	w.promoteFully("v2")
	w.pass(time.Second)
	w.fail("v2")
	e := w.in.Evidence["v2"]
	e.Verdict, e.Why = CommonCause, "v1 fails alike"
	w.in.Evidence["v2"] = e
	w.pass(time.Hour)
	w.weights(map[string]int{"v1": 1, "v2": 99})
	for range 5 { // it comes and goes: still one incident
		e.Verdict = Inconclusive
		w.in.Evidence["v2"] = e
		w.pass(time.Minute)
		e.Verdict = CommonCause
		w.in.Evidence["v2"] = e
		w.pass(time.Minute)
	}
	if r := w.one(KindCommonCause); !strings.Contains(r.Reason, "v1 fails alike") || r.Version != "v2" {
		t.Errorf("%+v", r)
	}
	e.Verdict = Inconclusive
	w.in.Evidence["v2"] = e
	w.advance()
	if !w.wake.Equal(w.now.Add(5 * time.Minute)) {
		t.Errorf("wakes at %s", w.wake)
	}
	w.pass(5 * time.Minute)
	w.last(KindCauseOver)
	e.Verdict = Failure
	w.in.Evidence["v2"] = e
	w.advance()
	w.weights(map[string]int{"v1": 100})
}

func TestAVersionThatStillFailsWhenItsControlDoesNotIsRolledBackAtOnce(t *testing.T) {
	w := newWorld(t)
	w.promoteFully("v2")
	w.pass(time.Second)
	w.fail("v2")
	e := w.in.Evidence["v2"]
	e.Verdict = CommonCause
	w.in.Evidence["v2"] = e
	w.advance()
	e.Verdict = Failure
	w.in.Evidence["v2"] = e
	w.pass(time.Second)
	w.weights(map[string]int{"v1": 100})
}

func TestACommonCauseHoldsARollout(t *testing.T) {
	w := newWorld(t)
	w.apply(Command{Do: Start, Version: "v2"})
	w.see("v2", 1000)
	w.in.Evidence["v1"] = Evidence{Verdict: CommonCause, Requests: 100, Bad: 50}
	w.pass(time.Hour)
	w.weights(map[string]int{"v1": 99, "v2": 1})
	w.in.Evidence["v1"] = Evidence{Verdict: Success, Requests: 100}
	w.advance()
	w.weights(map[string]int{"v1": 99, "v2": 1})
	w.pass(5 * time.Minute) // gone for the cool-down
	w.weights(map[string]int{"v1": 90, "v2": 10})
}

func TestNoEvidenceDoesNothing(t *testing.T) {
	w := newWorld(t)
	w.promoteFully("v2")
	before := w.s
	for _, e := range []Evidence{
		{}, {Verdict: Inconclusive}, {Verdict: Error, Why: "NaN"}, {Verdict: Failure},
		{Verdict: Failure, Requests: 10, Bad: 10}, {Verdict: Failure, FirstBad: w.now}, {Verdict: "worse", Requests: 10, Bad: 10, FirstBad: w.now},
	} {
		w.in.Evidence = map[string]Evidence{"v1": e, "v2": e}
		w.pass(time.Hour)
		if !sameWeights(w.s.Weights, before.Weights) {
			t.Fatalf("%+v moved traffic", e)
		}
	}
	files := newWorld(t) // nor by the files alone, without any decision
	files.in.Evidence["v1"] = Evidence{Verdict: Failure, Requests: 10, Bad: 10}
	files.pass(time.Hour)
	files.weights(map[string]int{"v1": 100})

	w.in.Versions = nil // the files were not read
	w.fail("v2")
	w.pass(time.Hour)
	w.weights(map[string]int{"v1": 1, "v2": 99})
}

func TestDegradedRecoversWhenATargetIsReadyAgain(t *testing.T) {
	w := newWorld(t)
	w.promoteFully("v2")
	w.version("v1", func(v *VersionInfo) { v.Ready = no() })
	w.pass(time.Second)
	w.last(KindHoldback)
	w.weights(map[string]int{"v2": 100})
	w.fail("v2")
	w.pass(time.Second)
	w.last(KindDegraded)
	if w.s.Phase() != PhaseDegraded {
		t.Errorf("phase %s", w.s.Phase())
	}
	w.fresh() // evidence that is lost makes no version good again
	w.pass(time.Hour)
	w.weights(map[string]int{})
	w.version("v1", func(v *VersionInfo) { v.Ready = yes() })
	w.advance()
	w.weights(map[string]int{"v1": 100})
	w.last(KindRecovered)
}

func TestNothingButAPersonLeavesDegradedWhenAllFailed(t *testing.T) {
	w := newWorld(t)
	w.version("v3", nil)
	w.promoteFully("v2")
	w.pass(time.Second)
	w.fail("v1")
	w.fail("v2")
	w.advance()
	w.weights(map[string]int{})
	w.fresh()
	w.pass(24 * time.Hour)
	w.weights(map[string]int{})
	refused(t, w.try(Command{Do: Rollback}), "no version to go back to")
	refused(t, w.try(Command{Do: Rollback, Version: "v1"}), "rolled back", "force")
	refused(t, w.try(Command{Do: Start, Version: "v3"}), "degraded", "again")
	w.apply(Command{Do: Start, Version: "v3", Force: true})
	w.advance()
	w.weights(map[string]int{"v3": 100})
	w.apply(Command{Do: Rollback, Version: "v1", Force: true})
	w.advance()
	w.weights(map[string]int{"v1": 100})
}

// A stable version that failed before, and got no traffic since, is no target: and
// what is decided instead is a state that can be kept.
func TestAStableVersionThatFailedAndHasNothingIsNoTarget(t *testing.T) {
	w := newWorld(t)
	w.fail("v1")
	w.pass(time.Minute) // there is no other: it stays
	w.apply(Command{Do: Start, Version: "v2", Steps: []Step{{Weight: 100, Duration: Duration(time.Hour)}}})
	w.advance()
	w.fail("v1")
	if w.s.Weights["v1"] != 0 {
		t.Fatal("v1 has a share: nothing is tried here")
	}
	w.fail("v2")
	w.advance()
	if w.s.Weights["v2"] != 0 || !w.s.Degraded {
		t.Errorf("v2 keeps %v: %+v", w.s.Weights, w.s.Bound)
	}
	if err := w.s.Validate(); err != nil {
		t.Error(err)
	}
}

// Who types a rollback just as safestate has made it must not take the good version
// away by it.
func TestARollbackThatWasJustMadeIsNotMadeTwice(t *testing.T) {
	w := four(t)
	w.fail("v4")
	w.advance()
	w.weights(map[string]int{"v3": 100})
	refused(t, w.try(Command{Do: Rollback}), "v4 was rolled back to v3", "name the version")
	w.weights(map[string]int{"v3": 100})
	w.pass(time.Hour)
	w.apply(Command{Do: Rollback})
	w.weights(map[string]int{"v2": 100})
}

// A recovery is told as the rollback that it is, and there is none where nothing is
// known to be ready.
func TestARecovery(t *testing.T) {
	w := newWorld(t)
	w.promoteFully("v2")
	w.version("v1", func(v *VersionInfo) { v.Ready = no() })
	w.pass(time.Second)
	w.fail("v2")
	w.pass(time.Second)
	w.last(KindDegraded)
	if w.s.Withdrawal.Kind != KindDegraded {
		t.Errorf("%+v", w.s.Withdrawal)
	}
	w.version("v1", func(v *VersionInfo) { v.Ready = nil }) // a control plane that has just begun
	w.pass(time.Hour)
	w.weights(map[string]int{})
	w.version("v1", func(v *VersionInfo) { v.Ready = yes() })
	w.advance()
	w.last(KindRecovered)
	if d := w.s.Withdrawal; d.Kind != KindRollback || list(d.From) != "v2" || d.To != "v1" {
		t.Errorf("%+v", d)
	}

	w = newWorld(t) // all left the files, and one comes back
	w.promoteFully("v2")
	w.version("v3", nil)
	delete(w.in.Versions, "v1")
	delete(w.in.Versions, "v2")
	w.advance()
	w.last(KindDegraded)
	w.ack()
	w.pass(time.Second)
	w.version("v1", func(v *VersionInfo) { v.URI, v.Digest, v.Ready = "s3://m/1", "sha256:1", yes() })
	w.advance()
	w.weights(map[string]int{"v1": 100})
	if w.s.Withdrawal != nil {
		t.Errorf("a rollback of nothing: %+v", w.s.Withdrawal)
	}
}
