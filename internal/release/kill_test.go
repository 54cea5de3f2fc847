package release

import (
	"slices"
	"testing"
	"time"
)

// kill kills a version, or with an empty one the model, and advances.
func (w *world) kill(version string) {
	w.t.Helper()
	k := Kill{Target: "version/shop/fraud/" + version, Since: w.now, By: "eve", Reason: "it leaks names", Mode: "degrade", Order: "1"}
	if version == "" {
		k.Target = "model/shop/fraud"
		w.in.Killed.Whole = &k
	} else {
		put(&w.in.Killed.Versions, version, k)
	}
	w.advance()
}

func (w *world) revive(version string) {
	w.t.Helper()
	if version == "" {
		w.in.Killed.Whole = nil
	} else {
		drop(&w.in.Killed.Versions, version)
	}
	w.in.Killed.Revived = w.now
	w.advance()
}

func TestAKilledCandidateLeavesAtOnce(t *testing.T) {
	w := newWorld(t)
	w.apply(Command{Do: Start, Version: "v2"})
	w.see("v2", 500)
	w.pass(2 * time.Minute)
	w.weights(map[string]int{"v1": 90, "v2": 10})
	w.kill("v2")
	w.weights(map[string]int{"v1": 100})
	r := w.last(KindKilled)
	if r.By != "eve" || r.Version != "v2" || r.Target != "v1" || r.Reason != "v2 was killed by eve: it leaks names" || r.Kill == nil || r.Kill.Target != "version/shop/fraud/v2" {
		t.Errorf("%+v", r)
	}
	if w.s.Rollout != nil || w.s.Stable != "v1" || w.s.Withdrawal.Kind != KindKilled {
		t.Errorf("%s", text(w.s))
	}
	w.ack()
	w.pass(2 * time.Second)
	w.last(KindRollbackDone)
}

func TestNoForceBringsBackWhatIsKilled(t *testing.T) {
	w := newWorld(t)
	w.promoteFully("v2")
	w.kill("v2")
	w.weights(map[string]int{"v1": 100})
	for _, c := range []Command{
		{Do: Start, Version: "v2", Again: true, Force: true},
		{Do: Rollback, Version: "v2", Force: true},
	} {
		refused(t, w.try(c), "v2 of shop/fraud", "killed by eve: it leaks names", "safestate revive version/shop/fraud/v2 --generation 0 --reason")
	}
	w.revive("v2")
	w.pass(time.Hour)
	w.weights(map[string]int{"v1": 100})
	refused(t, w.try(Command{Do: Start, Version: "v2"}), "again")
	w.apply(Command{Do: Start, Version: "v2", Again: true})
	w.weights(map[string]int{"v1": 99, "v2": 1})
}

func TestAKilledStableVersionIsReplacedByWhatHasTraffic(t *testing.T) {
	w := newWorld(t)
	w.apply(Command{Do: Start, Version: "v2"})
	w.kill("v1")
	w.weights(map[string]int{"v2": 100})
	if w.s.Rollout != nil || w.s.Stable != "v2" || w.s.Candidate != "" {
		t.Errorf("%s", text(w.s))
	}
	w.revive("v1")
	w.pass(time.Hour)
	w.weights(map[string]int{"v2": 100})
}

func TestAKilledHoldbackLeavesThePromotedVersion(t *testing.T) {
	w := newWorld(t)
	w.promoteFully("v2")
	w.kill("v1")
	w.weights(map[string]int{"v2": 100})
	if w.s.Phase() != PhasePromoted || w.last(KindKilled).Target != "v2" {
		t.Errorf("%s", text(w.s))
	}
	w.revive("v1")
	w.pass(time.Hour)
	w.weights(map[string]int{"v2": 100})
}

// The files' own split keeps its proportions.
func TestOneOfSeveralIsKilled(t *testing.T) {
	w := &world{t: t, s: New("shop/fraud"), now: start, in: Input{Versions: map[string]VersionInfo{
		"v1": {FileWeight: 50}, "v2": {FileWeight: 30}, "v3": {FileWeight: 20},
	}}}
	w.advance()
	w.kill("v1")
	w.weights(map[string]int{"v2": 60, "v3": 40})
	w.kill("v3")
	w.weights(map[string]int{"v2": 100})
}

func TestTheOnlyVersionIsBackWithItsRevive(t *testing.T) {
	w := newWorld(t)
	w.in.Versions["v1"] = VersionInfo{URI: "s3://m/1", Digest: "sha256:1", FileWeight: 1, Ready: yes()}
	w.kill("v1")
	w.weights(nil)
	if !w.s.Degraded || w.last(KindKilled).Target != "" {
		t.Fatalf("%s", text(w.s))
	}
	w.pass(time.Hour)
	w.weights(nil)
	w.fail("v1") // what was seen before its revive is no evidence
	w.now = w.now.Add(time.Second)
	w.revive("v1")
	w.weights(map[string]int{"v1": 100})
	if r := w.last(KindRevived); r.Version != "v1" || w.s.Taken != nil || w.s.Stable != "v1" {
		t.Errorf("%+v %s", r, text(w.s))
	}
	if _, bad := w.s.Condemned["v1"]; bad {
		t.Error("it is condemned")
	}
}

// Another has taken over meanwhile: the killed one is as after a rollback.
func TestWhatHasTakenOverStays(t *testing.T) {
	w := newWorld(t)
	w.kill("v1")
	w.apply(Command{Do: Start, Version: "v2", Again: true})
	w.weights(map[string]int{"v2": 100})
	w.revive("v1")
	w.pass(time.Hour)
	w.weights(map[string]int{"v2": 100})
	refused(t, w.try(Command{Do: Start, Version: "v1"}), "again")
}

func TestTwoThatAreKilledTogetherInARollout(t *testing.T) {
	w := newWorld(t)
	w.apply(Command{Do: Start, Version: "v2"})
	put(&w.in.Killed.Versions, "v2", Kill{By: "eve", Reason: "x"})
	w.kill("v1")
	w.weights(nil)
	w.revive("v2")
	w.weights(nil) // it was being tried beside another
	w.revive("v1")
	w.weights(map[string]int{"v1": 100})
}

func TestAKilledVersionIsNoTarget(t *testing.T) {
	w := newWorld(t)
	w.promoteFully("v2")
	w.version("v3", nil)
	w.see("v2", 2000)
	w.pass(time.Hour)
	w.promoteFully("v3")
	w.kill("v2") // the holdback
	w.fail("v3")
	w.advance()
	w.weights(map[string]int{"v1": 100})
	if r := w.one(KindRollback); r.Target != "v1" {
		t.Errorf("%+v", r)
	}
}

func TestNothingGoesOnWhileTheModelIsKilled(t *testing.T) {
	w := newWorld(t)
	w.apply(Command{Do: Start, Version: "v2"})
	w.pass(30 * time.Second)
	w.kill("")
	before := w.s
	w.see("v2", 5000)
	w.pass(10 * time.Minute)
	w.fail("v2")
	w.pass(10 * time.Minute)
	w.in.Evidence["v2"] = Evidence{Verdict: CommonCause, Requests: 10, Bad: 10, FirstBad: w.now}
	w.pass(10 * time.Minute)
	if w.s.Generation != before.Generation || w.s.Sequence != before.Sequence || w.s.Rollout == nil {
		t.Fatalf("something went on: %s", w.kinds())
	}
	for _, do := range []Verb{Promote, Resume} {
		refused(t, w.try(Command{Do: do, Force: true}), "shop/fraud is killed by eve", "safestate revive model/shop/fraud")
	}
	refused(t, w.try(Command{Do: Start, Version: "v1", Force: true}), "is killed by eve")

	// Evidence begins anew: what failed, and what would have promoted, both.
	w.in.Evidence["v2"] = Evidence{Verdict: Failure, Requests: 10, Bad: 10, FirstBad: w.now}
	w.now = w.now.Add(time.Second)
	w.revive("")
	if w.s.Suspended != nil || w.s.Rollout == nil || w.last(KindRevived).Kind == "" {
		t.Fatalf("%s", text(w.s))
	}
	w.weights(map[string]int{"v1": 99, "v2": 1})
}

// The time of a kill does not count for a step, nor does what was judged before.
func TestAStepGoesOnWhereItStood(t *testing.T) {
	for _, paused := range []bool{false, true} {
		w := newWorld(t)
		w.apply(Command{Do: Start, Version: "v2"})
		w.see("v2", 99)
		w.pass(30 * time.Second)
		w.kill("")
		w.see("v2", 5000)
		w.pass(5 * time.Minute)
		if paused {
			w.apply(Command{Do: Pause})
		}
		w.pass(5 * time.Minute)
		w.revive("")
		if paused {
			w.pass(5 * time.Minute)
			w.apply(Command{Do: Resume})
		}
		w.pass(29 * time.Second)
		w.see("v2", 99)
		w.pass(2 * time.Second)
		w.weights(map[string]int{"v1": 99, "v2": 1})
		w.see("v2", 1)
		w.advance()
		w.weights(map[string]int{"v1": 90, "v2": 10})

		w.see("v2", 300)
		w.pass(time.Minute)
		w.kill("")
		w.pass(5 * time.Minute)
		if paused {
			w.apply(Command{Do: Pause})
		}
		w.pass(5 * time.Minute)
		w.revive("")
		if paused {
			w.apply(Command{Do: Resume})
		}
		w.see("v2", 300)
		w.pass(59 * time.Second)
		w.weights(map[string]int{"v1": 90, "v2": 10})
		w.pass(time.Second)
		w.weights(map[string]int{"v1": 50, "v2": 50})
	}
}

func TestAPersonMayGoBackBeforeTheRevive(t *testing.T) {
	w := newWorld(t)
	w.promoteFully("v2")
	w.kill("")
	w.apply(Command{Do: Rollback, Version: "v1"})
	w.weights(map[string]int{"v1": 100})
	w.revive("")
	w.weights(map[string]int{"v1": 100})
}

func TestEverythingIsSaidOfAKillOfEverything(t *testing.T) {
	w := newWorld(t)
	w.in.Killed.Whole = &Kill{Target: "all", By: "eve", Reason: "poison"}
	w.advance()
	refused(t, w.try(Command{Do: Start, Version: "v2"}), "everything is killed by eve: poison", "safestate revive all")
	if got := Explain(w.s, w.in, w.now); !slices.Contains(got, "killed by eve: poison: nothing goes on until it is revived") {
		t.Errorf("%q", got)
	}
}

func TestAVersionKilledWhileTheModelIs(t *testing.T) {
	w := newWorld(t)
	w.promoteFully("v2")
	w.kill("")
	w.kill("v2")
	w.weights(map[string]int{"v1": 100})
	w.revive("")
	w.weights(map[string]int{"v1": 100})
}

func TestTheFilesGiveNothingToWhatIsKilled(t *testing.T) {
	w := newWorld(t)
	w.apply(Command{Do: Start, Version: "v2", Steps: []Step{{Weight: 50}, {Weight: 100}}})
	w.in.Versions["v3"] = VersionInfo{FileWeight: 1}
	w.kill("v3")
	delete(w.in.Versions, "v1")
	delete(w.in.Versions, "v2")
	w.advance()
	w.weights(nil)
	for _, r := range w.history {
		if r.After["v3"] > 0 {
			t.Errorf("%+v", r)
		}
	}
}
