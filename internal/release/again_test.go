package release

import (
	"strings"
	"testing"
	"time"
)

// A version that was rolled back may be tried again without switching off what
// watches it.
func TestAgainTriesWhatWasRolledBackAndWatchesIt(t *testing.T) {
	w := newWorld(t)
	w.apply(Command{Do: Start, Version: "v2"})
	w.pass(time.Second)
	w.fail("v2")
	w.advance()
	refused(t, w.try(Command{Do: Start, Version: "v2"}), "rolled back", "again")
	w.version("v2", func(v *VersionInfo) { v.Ready = no() })
	refused(t, w.try(Command{Do: Start, Version: "v2", Again: true}), "no ready endpoint", "force")
	w.version("v2", func(v *VersionInfo) { v.Ready = yes() })
	w.pass(time.Second)
	w.apply(Command{Do: Start, Version: "v2", Again: true, Reason: "the feed is back"})
	w.fresh()
	w.advance()
	w.weights(map[string]int{"v1": 99, "v2": 1})
	if len(w.s.Condemned) != 0 || len(w.s.Holds) != 0 {
		t.Errorf("condemned %v, held %v", w.s.Condemned, w.s.Holds)
	}
	w.fresh()
	w.pass(time.Second)
	w.fail("v2")
	w.advance()
	w.weights(map[string]int{"v1": 100})
	if len(w.s.Condemned) != 1 {
		t.Errorf("condemned %v", w.s.Condemned)
	}
}

func TestAgainLeavesDegradedAndWatches(t *testing.T) {
	w := newWorld(t)
	w.version("v3", nil)
	w.promoteFully("v2")
	w.pass(time.Second)
	w.fail("v1")
	w.fail("v2")
	w.advance()
	w.weights(map[string]int{})
	for _, v := range []string{"v1", "v3"} { // condemned, and not
		refused(t, w.try(Command{Do: Start, Version: v}), "again")
		w.apply(Command{Do: Start, Version: v, Again: true})
		w.fresh()
		w.pass(time.Second)
		w.weights(map[string]int{v: 100})
		w.fail(v)
		w.advance()
		w.weights(map[string]int{})
		w.last(KindDegraded)
	}
}

func TestHowLongAForcedDecisionHolds(t *testing.T) {
	for name, c := range map[string]struct {
		hold *Duration
		want time.Duration
	}{
		"as it does": {nil, 30 * time.Minute},
		"longer":     {lasting(2 * time.Hour), 2 * time.Hour},
		"not at all": {lasting(0), 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.version("v2", func(v *VersionInfo) { v.Ready = no() })
			w.apply(Command{Do: Start, Version: "v2", Force: true, Hold: c.hold})
			w.pass(time.Second)
			w.fail("v2")
			if w.advance(); c.want > 0 {
				w.weights(map[string]int{"v1": 99, "v2": 1})
				w.pass(c.want - time.Second - 1)
				w.weights(map[string]int{"v1": 99, "v2": 1})
				w.pass(1)
			}
			w.weights(map[string]int{"v1": 100})
		})
	}
	w := newWorld(t)
	for says, c := range map[string]Command{
		"goes with force": {Do: Start, Version: "v2", Hold: lasting(0)},
		"from 0s to":      {Do: Start, Version: "v2", Force: true, Hold: lasting(time.Duration(maxDuration) + 1)},
		"goes with start": {Do: Rollback, Again: true},
	} {
		refused(t, w.try(c), says)
	}
}

// Whoever splits traffic in the files is told what a rollout makes of it.
func TestAStartThatWouldTakeAThirdVersionsShare(t *testing.T) {
	split := func() *world {
		w := newWorld(t)
		w.version("v1", func(v *VersionInfo) { v.FileWeight = 90 })
		w.version("v2", func(v *VersionInfo) { v.FileWeight = 10 })
		w.version("v3", nil)
		w.advance()
		w.weights(map[string]int{"v1": 90, "v2": 10})
		return w
	}
	w := split()
	refused(t, w.try(Command{Do: Start, Version: "v3"}), "more than one version", "leaves v1 alone beside it", "v2 would get none", "force")
	w.apply(Command{Do: Start, Version: "v2"}) // between the two of them nothing is unsaid
	w.weights(map[string]int{"v1": 99, "v2": 1})

	w = split()
	w.apply(Command{Do: Start, Version: "v3", Force: true, Hold: lasting(0)})
	w.weights(map[string]int{"v1": 99, "v3": 1})

	w = newWorld(t) // a holdback is no share of its own
	w.version("v3", nil)
	w.promoteFully("v2")
	w.apply(Command{Do: Start, Version: "v3"})
	w.weights(map[string]int{"v2": 99, "v3": 1})
}

// A version is good once its answers were judged, whether it was promoted or had
// its traffic by the files.
func TestWhatIsGood(t *testing.T) {
	good := func(w *world) string {
		var out []string
		for _, g := range w.s.Good {
			out = append(out, g.Version)
		}
		return strings.Join(out, " ")
	}
	w := newWorld(t)
	w.fresh()
	w.pass(time.Hour)
	w.apply(Command{Do: Start, Version: "v2"})
	if got := good(w); got != "" {
		t.Errorf("%s: nothing was judged", got)
	}

	w = newWorld(t)
	w.see("v1", 1000)
	w.advance()
	if got := good(w); got != "v1" || w.last(KindGood).Version != "v1" {
		t.Errorf("%s: v1 carried the traffic and was judged", got)
	}

	w = newWorld(t)
	w.fresh()
	w.promoteFully("v2") // nothing of v1 was judged: it is the stable one all the same
	w.pass(time.Second)
	w.fail("v2")
	w.advance()
	w.weights(map[string]int{"v1": 100})
}
