package release

import (
	"reflect"
	"time"
)

// Advance does what safestate does by itself: it takes over the files' weights
// before the first release, notes what the proxies have, rolls back, goes on
// with the rollout and watches what became of it. It is pure and, with equal
// arguments, does nothing the second time. changed says whether next has to be
// written; wake is when to call again without new input, zero for not at all.
// A state that fails Validate, and an Input without versions, change nothing.
func Advance(s State, in Input, now time.Time) (next State, changed bool, wake time.Time) {
	next = s
	// One pass may make room for another: a step of no time at all, or a
	// recovery. Each pass that changes something moves on, so they end.
	for range 2 * maxSteps {
		t, err := begin(next, in, now)
		if err != nil || len(in.Versions) == 0 {
			return s, false, time.Time{}
		}
		t.pass()
		if reflect.DeepEqual(t.s, next) {
			return next, changed, t.wake
		}
		next, changed = t.s, true
	}
	return next, changed, now
}

// pass looks at everything once, in the order in which it matters.
func (t *turn) pass() {
	t.register()
	t.adopt()
	t.leave()
	t.follow()
	t.prove()
	t.refuse()
	t.incident()
	t.measure()
	t.rollback()
	t.advance()
	t.settle()
	t.hold()
	t.help()
}
