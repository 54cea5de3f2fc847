package release

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestRolloutByTheDefaultPlan(t *testing.T) {
	w := newWorld(t)
	w.weights(map[string]int{"v1": 100})
	w.apply(Command{Do: Start, Version: "v2", Reason: "better recall"})
	w.advance()
	w.weights(map[string]int{"v1": 99, "v2": 1})
	if !w.wake.Equal(w.now.Add(time.Minute)) {
		t.Errorf("wakes at %s", w.wake)
	}
	for _, step := range []struct {
		requests uint64
		after    time.Duration
		weight   int
	}{
		{99, time.Minute, 1}, // one request short
		{1, 0, 10},
		{300, 2*time.Minute - 1, 10}, // one nanosecond short
		{0, 1, 50},
		{1000, 5 * time.Minute, 99},
	} {
		w.see("v2", step.requests)
		w.pass(step.after)
		w.weights(map[string]int{"v1": 100 - step.weight, "v2": step.weight})
	}
	if w.s.Phase() != PhasePromoted || w.s.Stable != "v1" || w.s.Candidate != "v2" {
		t.Errorf("%s, stable %s, candidate %s", w.s.Phase(), w.s.Stable, w.s.Candidate)
	}
	if got := w.kinds(); got != "registered registered files started step step promoted good" {
		t.Errorf("history: %s", got)
	}
	p := w.one(KindPromoted)
	if p.By != By || p.Took.Rollout != Duration(8*time.Minute) || p.Took.Step != Duration(5*time.Minute) || p.Evidence["v2"].Requests != 1400 {
		t.Errorf("promoted: %+v", p)
	}
	if s := w.one(KindStarted); s.By != "mia" || s.Reason != "better recall" || s.Before["v1"] != 100 || s.After["v2"] != 1 {
		t.Errorf("started: %+v", s)
	}
}

func TestWhatHoldsAStep(t *testing.T) {
	ok := func(w *world) CheckResult { return CheckResult{Verdict: Success, At: w.now} }
	for _, c := range []struct {
		name string
		hold func(*world)
		says string
	}{
		{"nothing", func(*world) {}, ""},
		{"no evidence at all", func(w *world) { w.fresh() }, "0 of 100 requests"},
		{"evidence that is an error", func(w *world) {
			w.in.Evidence["v2"] = Evidence{Verdict: Error, Why: "latency is NaN", Requests: 500}
		}, "latency is NaN"},
		{"an unknown verdict", func(w *world) { w.in.Evidence["v2"] = Evidence{Verdict: "fine", Requests: 500} }, "fine"},
		{"a failure from before the start", func(w *world) {
			w.in.Evidence["v2"] = Evidence{Verdict: Failure, Requests: 500, Bad: 9, FirstBad: start.Add(-time.Hour)}
		}, "failure"},
		{"a failure that does not say when", func(w *world) {
			w.in.Evidence["v2"] = Evidence{Verdict: Failure, Requests: 500, Bad: 9}
		}, "failure"},
		{"a failure of no request", func(w *world) {
			w.in.Evidence["v2"] = Evidence{Verdict: Failure, FirstBad: w.now}
		}, "failure"},
		{"no ready endpoint", func(w *world) { w.version("v2", func(v *VersionInfo) { v.Ready = no() }) }, "no ready endpoint"},
		{"a check without a result", func(w *world) { delete(w.in.Checks, "latency") }, "no result yet"},
		{"a check from before the step", func(w *world) {
			w.in.Checks["latency"] = CheckResult{Verdict: Success, At: start.Add(-1)}
		}, "no result of this step"},
		{"a check of the future", func(w *world) {
			w.in.Checks["latency"] = CheckResult{Verdict: Success, At: w.now.Add(time.Hour)}
		}, "no result of this step"},
		{"a check that failed once", func(w *world) {
			w.in.Checks["latency"] = CheckResult{Verdict: Failure, At: w.now}
		}, "latency: failure"},
		{"a check that is an error", func(w *world) {
			w.in.Checks["latency"] = CheckResult{Verdict: Error, Why: "timeout", At: w.now}
		}, "timeout"},
		{"a person's pause", func(w *world) { w.apply(Command{Do: Pause, Reason: "lunch"}) }, "lunch"},
		{"a common cause", func(w *world) {
			w.in.Evidence["v2"] = Evidence{Verdict: CommonCause, Requests: 500, Bad: 99}
		}, "common cause"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.in.Plan.Checks = []string{"latency"}
			w.apply(Command{Do: Start, Version: "v2"})
			w.now = w.now.Add(time.Hour)
			w.see("v2", 5000)
			w.in.Checks["latency"] = ok(w)
			c.hold(w)
			w.advance()
			says := strings.Join(Explain(w.s, w.in, w.now), "\n")
			if c.says == "" {
				w.weights(map[string]int{"v1": 90, "v2": 10})
				return
			}
			w.weights(map[string]int{"v1": 99, "v2": 1})
			if !strings.Contains(says, c.says) {
				t.Errorf("it does not say that it waits for %q:\n%s", c.says, says)
			}
		})
	}
}

func TestEvidenceThatStartsAnewCountsFromZero(t *testing.T) {
	w := newWorld(t)
	w.see("v2", 50) // of an earlier life
	w.apply(Command{Do: Start, Version: "v2"})
	w.pass(time.Hour)
	w.weights(map[string]int{"v1": 99, "v2": 1})
	delete(w.in.Evidence, "v2") // lost for a moment: no reason to count it again
	w.advance()
	w.see("v2", 149)
	w.advance()
	w.weights(map[string]int{"v1": 99, "v2": 1})
	w.fresh()
	w.see("v2", 30)
	w.advance()
	w.see("v2", 69)
	w.advance()
	w.weights(map[string]int{"v1": 99, "v2": 1})
	w.see("v2", 1)
	w.advance()
	w.weights(map[string]int{"v1": 90, "v2": 10})
}

func TestGateWaitsForAPersonAndForAllElse(t *testing.T) {
	w := newWorld(t)
	steps := []Step{{Weight: 5, Duration: Duration(time.Minute), MinRequests: 10, Gate: true}, {Weight: 100}}
	w.apply(Command{Do: Start, Version: "v2", Steps: steps})
	w.pass(time.Hour)
	if len(w.find(KindGate)) != 0 {
		t.Error("called a person for a step without evidence")
	}
	w.see("v2", 10)
	w.pass(time.Hour)
	w.pass(time.Hour)
	w.one(KindGate)
	if w.s.Phase() != PhaseGate {
		t.Errorf("phase %s", w.s.Phase())
	}
	w.apply(Command{Do: Promote})
	w.weights(map[string]int{"v1": 1, "v2": 99})

	w = newWorld(t)
	w.apply(Command{Do: Start, Version: "v2", Steps: steps})
	w.apply(Command{Do: Promote}) // early: the gate only
	w.pass(time.Minute)
	w.weights(map[string]int{"v1": 95, "v2": 5})
	w.see("v2", 10)
	w.advance()
	w.weights(map[string]int{"v1": 1, "v2": 99})
}

func TestEachGateNeedsAPromoteOfItsOwn(t *testing.T) {
	w := newWorld(t)
	w.apply(Command{Do: Start, Version: "v2", Steps: []Step{{Weight: 5, Gate: true}, {Weight: 10, Gate: true}}})
	for _, weight := range []int{5, 10} {
		w.see("v2", 10)
		w.pass(time.Hour)
		w.weights(map[string]int{"v1": 100 - weight, "v2": weight})
		if w.s.Phase() != PhaseGate {
			t.Errorf("phase %s", w.s.Phase())
		}
		w.apply(Command{Do: Promote})
	}
	w.weights(map[string]int{"v1": 1, "v2": 99})
}

func TestPromoteSkips(t *testing.T) {
	w := newWorld(t)
	w.apply(Command{Do: Start, Version: "v2"})
	w.apply(Command{Do: Promote})
	w.advance()
	w.weights(map[string]int{"v1": 90, "v2": 10})
	if r := w.last(KindStep); r.By != "mia" {
		t.Errorf("by %s", r.By)
	}
	w.apply(Command{Do: Promote, Full: true})
	w.advance()
	w.weights(map[string]int{"v1": 1, "v2": 99})
	if len(w.find(KindGood)) != 0 {
		t.Error("a version is good that nobody judged")
	}
	w.see("v2", 1000)
	w.advance()
	w.last(KindGood)
}

func TestPauseStopsTheStepsClock(t *testing.T) {
	w := newWorld(t)
	w.apply(Command{Do: Start, Version: "v2"})
	w.see("v2", 1000)
	w.pass(30 * time.Second)
	w.apply(Command{Do: Pause})
	w.pass(time.Hour)
	w.weights(map[string]int{"v1": 99, "v2": 1})
	refused(t, w.try(Command{Do: Promote}), "paused by mia", "resume")
	w.apply(Command{Do: Resume})
	w.pass(30*time.Second - 1)
	w.weights(map[string]int{"v1": 99, "v2": 1})
	w.pass(1)
	w.weights(map[string]int{"v1": 90, "v2": 10})
}

func TestPlansOfTheirOwn(t *testing.T) {
	for _, c := range []struct {
		name     string
		steps    []Step
		holdback *int
		want     []map[string]int // at the start, and after each request
	}{
		{"all at once", []Step{{Weight: 100}}, nil, []map[string]int{{"v1": 1, "v2": 99}}},
		{"all at once without holdback", []Step{{Weight: 100}}, number(0), []map[string]int{{"v2": 100}}},
		{"a weight of 0 first", []Step{{Weight: 0}, {Weight: 50}}, number(10),
			[]map[string]int{{"v1": 100}, {"v1": 10, "v2": 90}}},
		{"a last step that waits", []Step{{Weight: 100, MinRequests: 2}}, nil,
			[]map[string]int{{"v1": 1, "v2": 99}, {"v1": 1, "v2": 99}, {"v1": 1, "v2": 99}}},
		{"less than the holdback", []Step{{Weight: 95}}, number(20), []map[string]int{{"v1": 20, "v2": 80}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.in.Plan.Holdback = c.holdback
			w.apply(Command{Do: Start, Version: "v2", Steps: c.steps})
			w.weights(c.want[0])
			for _, want := range c.want[1:] {
				w.advance()
				w.see("v2", 1)
				w.advance()
				w.weights(want)
			}
		})
	}
}

func TestChecksPauseOnErrorsAndRollBackOnFailures(t *testing.T) {
	measure := func(w *world, v float64, err error) {
		limit := 0.5
		w.now = w.now.Add(10 * time.Second)
		w.in.Checks["latency"] = Limit{Max: &limit}.Judge(v, err, w.now)
		w.advance()
	}
	begin := func() *world {
		w := newWorld(t)
		w.in.Plan.Checks = []string{"latency"}
		w.apply(Command{Do: Start, Version: "v2"})
		w.see("v2", 5000)
		return w
	}
	w := begin()
	for range 4 {
		measure(w, math.NaN(), nil)
	}
	w.one(KindCheckError) // once for all of them
	if w.s.Phase() != PhaseRollout {
		t.Errorf("phase %s", w.s.Phase())
	}
	measure(w, 0, errors.New("no route to host"))
	w.weights(map[string]int{"v1": 99, "v2": 1})
	if r := w.last(KindPaused); r.By != By || !strings.Contains(r.Reason, "no route to host") {
		t.Errorf("paused: %+v", r)
	}
	w.apply(Command{Do: Resume})
	measure(w, 0.4, nil)
	w.pass(time.Minute)
	w.weights(map[string]int{"v1": 90, "v2": 10})

	w = begin()
	measure(w, 0.6, nil)
	measure(w, 0.4, nil)
	measure(w, 0.6, nil)
	w.advance()
	w.weights(map[string]int{"v1": 99, "v2": 1}) // never twice in a row
	measure(w, 0.6, nil)
	w.weights(map[string]int{"v1": 100})
	if r := w.last(KindRollback); !strings.Contains(r.Reason, "latency failed 2 times in a row: 0.6 is more than 0.5") {
		t.Errorf("rolled back: %s", r.Reason)
	}
}

func TestAMeasurementFromBeforeAPersonsDecisionIsNotCounted(t *testing.T) {
	for _, decide := range []func(*world){
		func(w *world) { w.apply(Command{Do: Promote}) },
		func(w *world) { w.apply(Command{Do: Pause}); w.apply(Command{Do: Resume}) },
		func(w *world) { w.apply(Command{Do: Abort}); w.apply(Command{Do: Start, Version: "v2"}) },
	} {
		w := newWorld(t)
		w.in.Plan.Checks = []string{"latency"}
		w.apply(Command{Do: Start, Version: "v2"})
		fail := func() {
			w.now = w.now.Add(time.Second)
			w.in.Checks["latency"] = CheckResult{Verdict: Failure, At: w.now}
			w.advance()
		}
		fail()
		decide(w)
		w.pass(time.Second)
		fail()
		if w.s.Rollout == nil {
			t.Errorf("rolled back: %s", w.kinds())
		}
		fail()
		w.weights(map[string]int{"v1": 100})
	}
}

func TestLimit(t *testing.T) {
	low, high := 1.0, 2.0
	for _, c := range []struct {
		limit Limit
		value float64
		err   error
		want  Verdict
	}{
		{Limit{Max: &high}, 2, nil, Success},
		{Limit{Max: &high}, 2.1, nil, Failure},
		{Limit{Min: &low}, 1, nil, Success},
		{Limit{Min: &low}, 0.9, nil, Failure},
		{Limit{Max: &high}, math.Inf(1), nil, Failure},
		{Limit{Max: &high}, math.NaN(), nil, Error},
		{Limit{}, math.NaN(), nil, Error},
		{Limit{Max: &high}, 0, errors.New("timeout"), Error},
	} {
		if got := c.limit.Judge(c.value, c.err, start); got.Verdict != c.want {
			t.Errorf("%v with %v: %s, not %s", c.value, c.err, got.Verdict, c.want)
		}
	}
}
