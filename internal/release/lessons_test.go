package release

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// What Argo Rollouts and Flagger learned the hard way. Each test is named for
// the issue that tells it.

// flagger#1801: failures at a gate were counted by nobody.
func TestFlagger1801FailuresAtAGateRollBack(t *testing.T) {
	w := newWorld(t)
	w.apply(Command{Do: Start, Version: "v2", Steps: []Step{{Weight: 50, Gate: true}, {Weight: 100}}})
	w.see("v2", 500)
	w.pass(time.Hour)
	if w.s.Phase() != PhaseGate {
		t.Fatalf("phase %s", w.s.Phase())
	}
	w.fail("v2")
	w.advance()
	w.weights(map[string]int{"v1": 100})

	w = newWorld(t) // and failed checks
	w.in.Plan.Checks = []string{"errors"}
	w.apply(Command{Do: Start, Version: "v2", Steps: []Step{{Weight: 50, Gate: true}, {Weight: 100}}})
	w.see("v2", 500)
	for range 2 {
		w.now = w.now.Add(time.Second)
		w.in.Checks["errors"] = CheckResult{Verdict: Failure, At: w.now}
		w.advance()
	}
	w.weights(map[string]int{"v1": 100})
}

// flagger#1898: a rollback went to a version that was broken itself.
func TestFlagger1898ABrokenTargetIsNotUsed(t *testing.T) {
	w := four(t)
	w.fail("v4")
	w.fail("v3") // it has 99 % and breaks as well
	w.advance()
	w.weights(map[string]int{"v2": 100})

	w = newWorld(t) // and where there is no other
	w.promoteFully("v2")
	w.pass(time.Second)
	w.fail("v2")
	w.version("v1", func(v *VersionInfo) { v.Ready = no() })
	w.advance()
	w.weights(map[string]int{})
	if r := w.last(KindDegraded); !strings.Contains(r.Reason, "v1 has no ready endpoint") {
		t.Errorf("%s", r.Reason)
	}
}

// argo-rollouts#4841: an abort left weight on the version that was aborted.
func TestArgo4841AnAbortLeavesNoWeight(t *testing.T) {
	for _, steps := range [][]Step{{{Weight: 1}}, {{Weight: 50, Gate: true}}, {{Weight: 99, MinRequests: 5}}, {{Weight: 100, Gate: true}}, {{Weight: 0, Gate: true}}} {
		for _, pause := range []bool{false, true} {
			w := newWorld(t)
			w.apply(Command{Do: Start, Version: "v2", Steps: steps})
			if pause {
				w.apply(Command{Do: Pause})
			}
			w.apply(Command{Do: Abort})
			w.advance()
			if got, is := w.s.Weights["v2"]; got != 0 || !is || w.s.Weights["v1"] != 100 {
				t.Errorf("%v: weights %v", steps, w.s.Weights)
			}
			if _, yes := w.s.Condemned["v2"]; yes {
				t.Error("an abort condemns nothing")
			}
			w.apply(Command{Do: Start, Version: "v2"}) // which may be tried again
		}
	}
}

// argo-rollouts#1838: callers with affinity stayed on the aborted version. Here
// affinity follows the weights, so that an abort has to leave no part either:
// no candidate, no rollout, and the version is watched until it is asked no
// more.
func TestArgo1838AnAbortLeavesNoAffinity(t *testing.T) {
	w := newWorld(t)
	w.apply(Command{Do: Start, Version: "v2", Steps: []Step{{Weight: 50, MinRequests: 10}}})
	w.ack()
	w.apply(Command{Do: Abort})
	w.ack()
	if w.s.Candidate != "" || w.s.Rollout != nil || w.s.Phase() != PhaseSteady {
		t.Errorf("%s", text(w.s))
	}
	for range 10 { // a caller that sticks to it
		w.now = w.now.Add(time.Second)
		w.in.Proof.BadSeen = w.now
		w.advance()
	}
	if len(w.find(KindRollbackDone)) != 0 {
		t.Error("done, while the version is still asked")
	}
	if says := strings.Join(Explain(w.s, w.in, w.now), "\n"); !strings.Contains(says, "not quiet yet") {
		t.Error(says)
	}
	w.pass(time.Second)
	w.last(KindRollbackDone)
}

// argo-rollouts#4479: measurements that failed counted as successful ones.
func TestArgo4479AFailedMeasurementIsNoSuccess(t *testing.T) {
	limit := 0.5
	w := newWorld(t)
	w.in.Plan.Checks = []string{"errors"}
	w.apply(Command{Do: Start, Version: "v2"})
	w.see("v2", 10000)
	for i := range 20 {
		w.now = w.now.Add(time.Minute)
		w.in.Checks["errors"] = Limit{Max: &limit}.Judge(0, errors.New("the query timed out"), w.now)
		if i%2 == 0 {
			delete(w.in.Checks, "errors")
		}
		w.advance()
		w.weights(map[string]int{"v1": 99, "v2": 1})
	}
	if w.s.Phase() != PhasePaused {
		t.Errorf("phase %s", w.s.Phase())
	}
}
