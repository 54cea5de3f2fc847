package release

import (
	"strings"
	"testing"
	"time"
)

func TestARollbackIsDoneWhenProvedAndQuiet(t *testing.T) {
	w := newWorld(t)
	w.promoteFully("v2")
	w.ack()
	w.pass(time.Minute)
	w.fail("v2")
	w.pass(30 * time.Millisecond)
	at := func(ms int) time.Time { return w.s.Changed.Add(time.Duration(ms) * time.Millisecond) }
	step := func(ms int, p Proof) {
		p.Generation, p.Expected = w.s.Generation, 3
		w.in.Proof, w.now = p, at(ms)
		w.advance()
	}
	explained := func() string { return strings.Join(Explain(w.s, w.in, w.now), "\n") }

	step(5, Proof{Pushed: at(2), Acked: 2, Missing: []string{"edge-3 (silent for 4s)"}})
	if says := explained(); !strings.Contains(says, "2 of 3 proxies") || !strings.Contains(says, "missing: edge-3 (silent for 4s)") {
		t.Error(says)
	}
	if w.s.Acked.Generation == w.s.Generation {
		t.Error("applied with a proxy missing")
	}
	step(50, Proof{Pushed: at(2), Applied: true, AppliedAt: at(40), Acked: 3, BadSeen: at(39)})
	w.last(KindApplied)
	if !w.wake.Equal(at(1040)) {
		t.Errorf("wakes at %s", w.wake)
	}
	step(500, Proof{Pushed: at(2), Applied: true, AppliedAt: at(40), Acked: 3, BadSeen: at(140)}) // a retry in flight
	step(1139, Proof{Applied: true, AppliedAt: at(40), Acked: 3, BadSeen: at(140)})
	if len(w.find(KindRollbackDone)) != 0 {
		t.Error("done before it was quiet")
	}
	step(1140, Proof{Applied: true, AppliedAt: at(40), Acked: 3, BadSeen: at(140)})
	r := w.last(KindRollbackDone)
	want := Took{Decide: Duration(30 * time.Millisecond), Push: Duration(2 * time.Millisecond), Ack: Duration(38 * time.Millisecond), Empty: Duration(100 * time.Millisecond)}
	if r.Took != want {
		t.Errorf("took %+v, not %+v", r.Took, want)
	}
	if w.s.Acked.Generation != w.s.Generation {
		t.Error("not noted as applied")
	}
}

func TestAProofOfAnotherGenerationIsNone(t *testing.T) {
	w := newWorld(t)
	w.apply(Command{Do: Start, Version: "v2"})
	w.in.Proof = Proof{Generation: w.s.Generation - 1, Applied: true}
	w.in.Refused = &Refused{Generation: w.s.Generation - 1, Message: "no"}
	w.pass(time.Second)
	if w.s.Acked.Generation != 0 || w.s.Refused != nil {
		t.Errorf("%s", text(w.s))
	}
}

func TestASecondWithdrawalProvesTheFirstOnesVersionsToo(t *testing.T) {
	w := four(t)
	w.apply(Command{Do: Abort})
	w.pass(time.Second)
	w.apply(Command{Do: Rollback, Version: "v1"})
	if got := list(w.s.Withdrawal.From); got != "v3, v4" {
		t.Errorf("from %s", got)
	}
	w.apply(Command{Do: Start, Version: "v4"}) // asked again: nothing is left to prove
	if w.s.Withdrawal != nil {
		t.Errorf("%+v", w.s.Withdrawal)
	}
}

func TestARefusedStepIsTakenBack(t *testing.T) {
	refuse := func(w *world) {
		w.in.Refused = &Refused{Generation: w.s.Generation, Proxy: "edge-1", Message: "no such\n cluster"}
		w.advance()
	}
	t.Run("to the last applied weights", func(t *testing.T) {
		w := newWorld(t)
		w.apply(Command{Do: Start, Version: "v2"})
		w.ack()
		w.see("v2", 1000)
		w.pass(time.Minute)
		w.weights(map[string]int{"v1": 90, "v2": 10})
		generation := w.s.Generation
		refuse(w)
		w.weights(map[string]int{"v1": 99, "v2": 1})
		r := w.last(KindRefusedConfig)
		if r.Reason != "edge-1: no such cluster" || w.s.Generation != generation+1 || r.Before["v2"] != 10 {
			t.Errorf("%+v", r)
		}
		if w.s.Phase() != PhasePaused || !strings.Contains(w.s.Rollout.Paused.Reason, "no such cluster") {
			t.Errorf("%s", text(w.s))
		}
		w.see("v2", 10000)
		w.pass(time.Hour) // not tried again
		w.weights(map[string]int{"v1": 99, "v2": 1})
		refuse(w) // what is refused now is what was applied before: nothing is left to go back to
		w.weights(map[string]int{"v1": 99, "v2": 1})
		w.apply(Command{Do: Resume})
		w.weights(map[string]int{"v1": 90, "v2": 10})
	})
	t.Run("a promotion, to a gate", func(t *testing.T) {
		w := newWorld(t)
		w.promoteFully("v2")
		w.in.Proof = Proof{}
		w.s.Acked = Standing{Generation: w.s.Generation - 1, Weights: map[string]int{"v1": 50, "v2": 50}}
		refuse(w)
		w.weights(map[string]int{"v1": 50, "v2": 50})
		if w.s.Phase() != PhasePaused {
			t.Errorf("phase %s", w.s.Phase())
		}
		w.see("v2", 1)
		w.pass(time.Hour)
		w.apply(Command{Do: Resume})
		w.advance()
		w.last(KindGate)
		w.apply(Command{Do: Promote})
		w.weights(map[string]int{"v1": 1, "v2": 99})
	})
	t.Run("to those before the rollout, where a silent proxy never had later ones", func(t *testing.T) {
		w := newWorld(t)
		w.ack()
		w.promoteFully("v2") // the silent proxy
		w.version("v3", nil)
		w.apply(Command{Do: Start, Version: "v3"})
		refuse(w)
		w.weights(map[string]int{"v1": 1, "v2": 99})
	})
	t.Run("but not an abort", func(t *testing.T) {
		w := newWorld(t)
		w.apply(Command{Do: Start, Version: "v2"})
		w.ack()
		w.apply(Command{Do: Abort})
		refuse(w)
		w.weights(map[string]int{"v1": 100})
	})
	t.Run("nor the files' weights", func(t *testing.T) {
		w := newWorld(t)
		w.ack()
		w.version("v2", func(v *VersionInfo) { v.FileWeight = 1 })
		w.advance()
		refuse(w)
		w.weights(map[string]int{"v1": 50, "v2": 50})
		if w.s.Generation != 2 {
			t.Errorf("generation %d", w.s.Generation)
		}
	})
	t.Run("and never a rollback", func(t *testing.T) {
		w := newWorld(t)
		w.promoteFully("v2")
		w.ack()
		w.pass(time.Second)
		w.fail("v2")
		w.advance()
		refuse(w)
		w.last(KindRefusedConfig)
		w.weights(map[string]int{"v1": 100})
		w.pass(time.Hour)
		w.one(KindRefusedConfig)
	})
}

func TestWhetherARollbackHelped(t *testing.T) {
	for _, c := range []struct {
		name  string
		after func(*world)
		want  Kind
		says  string
	}{
		{"no request since", func(w *world) { w.pass(time.Hour) }, "", ""},
		{"too few, too early", func(w *world) { w.see("v1", 99); w.pass(59 * time.Second) }, "", ""},
		{"enough clean ones", func(w *world) { w.see("v1", 100); w.advance() }, KindHelped, "100 % of answers bad before, 0 % of 100 since"},
		{"few clean ones for long enough", func(w *world) { w.see("v1", 1); w.pass(time.Minute) }, KindHelped, "of 1 since"},
		{"no fewer bad ones", func(w *world) {
			w.in.Evidence["v1"] = Evidence{Requests: 600, Bad: 60}
			w.advance()
		}, KindNotHelped, "60 % of 100 since"},
		{"the target fails", func(w *world) { w.pass(time.Second); w.fail("v1"); w.advance() }, KindNotHelped, "a person is needed"},
		{"the target and its control fail alike", func(w *world) {
			w.in.Evidence["v1"] = Evidence{Verdict: CommonCause, Requests: 501}
			w.advance()
		}, KindNotHelped, "a person is needed"},
		{"evidence that was started anew", func(w *world) {
			w.in.Evidence["v1"] = Evidence{Requests: 100, Bad: 1}
			w.advance()
		}, KindHelped, "1 % of 100 since"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(Command{Do: Start, Version: "v2"})
			w.see("v1", 490)
			w.pass(time.Second)
			w.fail("v2")
			w.advance()
			w.ack()
			n := len(w.history)
			c.after(w)
			w.pass(time.Millisecond)
			var got Kind
			for _, r := range w.history[n:] {
				if r.Kind == KindHelped || r.Kind == KindNotHelped {
					got = r.Kind
					if !strings.Contains(r.Reason, c.says) {
						t.Errorf("reason: %s", r.Reason)
					}
				}
			}
			if got != c.want {
				t.Errorf("%q, not %q: %s", got, c.want, w.kinds())
			}
		})
	}
}

// What hosts have not said is no proof that nobody asked: the rollback is done once
// all have been heard after the quiet, or are not waited for any more.
func TestSilenceIsNoProof(t *testing.T) {
	w := newWorld(t)
	w.promoteFully("v2")
	w.ack()
	w.pass(time.Minute)
	w.fail("v2")
	w.pass(30 * time.Millisecond)
	at := func(ms int) time.Time { return w.s.Changed.Add(time.Duration(ms) * time.Millisecond) }
	step := func(ms int, heard time.Time, silent ...string) {
		w.in.Proof = Proof{Generation: w.s.Generation, Expected: 1, Acked: 1, Applied: true, AppliedAt: at(40), Heard: heard, Silent: silent}
		w.now = at(ms)
		w.advance()
	}
	step(50, at(45))
	step(1100, at(1039), "host-1 (silent for 4s)")
	if len(w.find(KindRollbackDone)) != 0 {
		t.Fatal("done, and what was asked in the quiet is not known")
	}
	if !w.wake.Equal(at(1200)) {
		t.Errorf("looks again at %s", w.wake)
	}
	if says := strings.Join(Explain(w.s, w.in, w.now), "\n"); !strings.Contains(says, "waits for hosts that count its requests: host-1 (silent for 4s)") {
		t.Error(says)
	}
	step(3000, at(1040), "host-1 (silent for 1m0s)", "b", "c", "d", "e")
	r := w.last(KindRollbackDone)
	if !strings.HasSuffix(r.Reason, "by the hosts that were heard; silent: host-1 (silent for 1m0s), b, c and 2 more") {
		t.Error(r.Reason)
	}
}
