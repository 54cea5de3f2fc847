package release

import (
	"fmt"
	"testing"
	"time"
)

// A rollout that fails goes back to its stable version however many did before:
// and none of them counts against a promoted version that fails.
func TestARolloutGoesBackHoweverManyDid(t *testing.T) {
	w := newWorld(t)
	for i := range 6 {
		v := fmt.Sprintf("build-%d", i)
		w.version(v, nil)
		w.apply(Command{Do: Start, Version: v})
		w.pass(time.Minute)
		w.fail(v)
		w.advance()
		w.weights(map[string]int{"v1": 100})
	}
	for i := range 4 {
		v := fmt.Sprintf("promoted-%d", i)
		w.version(v, nil)
		w.apply(Command{Do: Start, Version: v, Steps: []Step{{Weight: 100}}})
		w.pass(time.Second)
		w.fail(v)
		w.advance()
		if bound := w.s.Bound != nil && w.s.Bound.Rail == RailPerHour; bound != (i == 3) {
			t.Errorf("%s: %+v", v, w.s.Bound)
		}
	}
}

// What is left to the rails of a rollout's way back.
func TestWhatHoldsARolloutsWayBack(t *testing.T) {
	spent := func(w *world) {
		for range 3 {
			w.s.Automatic = append(w.s.Automatic, w.now)
		}
	}
	for name, c := range map[string]struct {
		change func(*world)
		rail   Rail
	}{
		"nothing":                          {func(*world) {}, ""},
		"automatic rollbacks are off":      {func(w *world) { w.in.Plan.RollbacksPerHour = number(0) }, RailOff},
		"the stable version is not ready":  {func(w *world) { w.version("v3", func(v *VersionInfo) { v.Ready = no() }) }, RailPerHour},
		"the stable version fails as well": {func(w *world) { w.fail("v3") }, RailPerHour},
		"the stable version is not compatible": {func(w *world) {
			w.version("v4", func(v *VersionInfo) { v.CompatibleWith = []string{"v1"} })
		}, RailPerHour},
	} {
		w := four(t)
		spent(w)
		c.change(w)
		w.fail("v4")
		w.advance()
		if back := w.s.Weights["v4"] == 0; back != (c.rail == "") {
			t.Errorf("%s: %v", name, w.s.Weights)
		}
		if c.rail != "" && (w.s.Bound == nil || w.s.Bound.Rail != c.rail) {
			t.Errorf("%s: %+v", name, w.s.Bound)
		}
	}
}

// The cool-down of a version that an automatic rollback went to does not protect
// it from its own rollout.
func TestTheCoolDownDoesNotHoldARolloutsWayBack(t *testing.T) {
	w := four(t)
	w.fail("v4")
	w.advance()
	w.weights(map[string]int{"v3": 100})                                                     // and is protected
	w.apply(Command{Do: Start, Version: "v2", Steps: []Step{{Weight: 100}}})                 // a person moves on
	w.apply(Command{Do: Start, Version: "v3", Steps: []Step{{Weight: 10, MinRequests: 10}}}) // and back again
	w.fresh()
	w.pass(time.Minute)
	w.fail("v3")
	w.advance()
	w.weights(map[string]int{"v2": 100})
}
