package release

import (
	"testing"
	"time"
)

// A holdback that a restart took away comes back, once the stable version has
// been ready for a cool-down.
func TestTheHoldbackComesBack(t *testing.T) {
	w := newWorld(t)
	w.promoteFully("v2")
	w.version("v1", func(v *VersionInfo) { v.Ready = no() })
	w.pass(time.Second)
	w.last(KindHoldback)
	w.weights(map[string]int{"v2": 100})

	w.pass(time.Hour)
	w.version("v1", func(v *VersionInfo) { v.Ready = yes() })
	w.pass(time.Second)
	w.weights(map[string]int{"v2": 100})
	if !w.wake.Equal(w.now.Add(5 * time.Minute)) {
		t.Errorf("wakes at %s", w.wake)
	}
	w.version("v1", func(v *VersionInfo) { v.Ready = no() }) // not for long
	w.pass(4 * time.Minute)
	w.version("v1", func(v *VersionInfo) { v.Ready = yes() })
	w.pass(time.Minute)
	w.pass(5*time.Minute - 1)
	w.weights(map[string]int{"v2": 100})
	w.pass(1)
	w.weights(map[string]int{"v1": 1, "v2": 99})
	if r := w.last(KindHoldbackAgain); r.Version != "v1" || r.Target != "v2" || r.After["v1"] != 1 {
		t.Errorf("%+v", r)
	}
	w.pass(time.Hour)
	w.weights(map[string]int{"v1": 1, "v2": 99})
}

func TestAPromotionWithoutAReadyStableVersionGetsItsHoldbackLater(t *testing.T) {
	w := newWorld(t)
	w.version("v1", func(v *VersionInfo) { v.Ready = no() })
	w.promoteFully("v2")
	w.weights(map[string]int{"v2": 100})
	w.version("v1", func(v *VersionInfo) { v.Ready = yes() })
	w.pass(time.Second)
	w.pass(5 * time.Minute)
	w.weights(map[string]int{"v1": 1, "v2": 99})
}

func TestNoHoldbackThatNobodyWants(t *testing.T) {
	for name, change := range map[string]func(*world){
		"the plan has none":            func(w *world) { w.in.Plan.Holdback = number(0) },
		"it left the files":            func(w *world) { delete(w.in.Versions, "v1") },
		"a common cause is being seen": func(w *world) { w.in.Evidence["v2"] = Evidence{Verdict: CommonCause, Requests: 1000, Bad: 9} },
	} {
		w := newWorld(t)
		w.promoteFully("v2")
		w.version("v1", func(v *VersionInfo) { v.Ready = no() })
		w.pass(time.Second)
		w.version("v1", func(v *VersionInfo) { v.Ready = yes() })
		change(w)
		w.pass(time.Second)
		w.pass(time.Hour)
		if w.s.Weights["v1"] != 0 || !w.s.Returns.IsZero() {
			t.Errorf("%s: %v, returns %s", name, w.s.Weights, w.s.Returns)
		}
	}
}

// A holdback whose only pod is taken away fails at once: when the pod is back, it is
// a control again, and judged anew, and before that a target.
func TestAHoldbackThatFailedForWantOfAnEndpoint(t *testing.T) {
	restarted := func() *world {
		w := newWorld(t)
		w.promoteFully("v2")
		w.pass(time.Second)
		w.fail("v1")
		w.pass(time.Second)
		w.last(KindHoldback)
		w.version("v1", func(v *VersionInfo) { v.Ready = no() })
		w.pass(time.Second)
		w.version("v1", func(v *VersionInfo) { v.Ready = yes() })
		w.pass(time.Second)
		w.weights(map[string]int{"v2": 100})
		return w
	}
	w := restarted()
	w.pass(5 * time.Minute)
	w.weights(map[string]int{"v1": 1, "v2": 99})
	if !w.s.EvidenceSince("v1").Equal(w.now) {
		t.Errorf("its evidence counts from %s", w.s.EvidenceSince("v1"))
	}
	w.pass(time.Hour) // the old failure is none
	w.weights(map[string]int{"v1": 1, "v2": 99})

	w = restarted()
	w.fail("v2")
	w.advance()
	w.weights(map[string]int{"v1": 100})
	w.pass(time.Hour)
	w.weights(map[string]int{"v1": 100})

	w = restarted()
	w.version("v1", func(v *VersionInfo) { v.Ready = no() })
	w.fail("v2")
	w.advance()
	w.weights(map[string]int{})
	w.version("v1", func(v *VersionInfo) { v.Ready = yes() })
	w.advance()
	w.last(KindRecovered)
	w.weights(map[string]int{"v1": 100})
}
