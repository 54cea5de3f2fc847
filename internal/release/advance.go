package release

import (
	"fmt"
	"reflect"
	"time"
)

// Advance does what safestate does by itself: it takes over the files' weights
// before the first release, notes what the proxies have, rolls back, goes on
// with the rollout and watches what became of it. It is pure and, with equal
// arguments, does nothing the second time. changed says whether next has to be
// written; wake is when to call again without new input, zero for not at all.
// An Input without versions changes nothing, and neither does a state that fails
// Validate: that is an error. So is a next state that would fail it, which is a
// mistake in this package: next is then the last one that would not. What is killed
// is heeded first, and while the model is killed as a whole that is nearly all.
func Advance(s State, in Input, now time.Time) (next State, changed bool, wake time.Time, err error) {
	t, err := begin(s, in, now)
	if err != nil || len(t.in.Versions) == 0 {
		return s, false, time.Time{}, err
	}
	next = s
	// One pass may make room for another: a step of no time at all, or a
	// recovery. Each pass that changes something moves on, so they end.
	for range 2 * maxSteps {
		if t.pass(); reflect.DeepEqual(t.s, next) {
			return next, changed, t.wake, nil
		}
		t.fit()
		if err := t.s.Validate(); err != nil {
			return next, changed, time.Time{}, fmt.Errorf("what would follow from generation %d is wrong: %w", next.Generation, err)
		}
		next, changed = t.s, true
		t = t.again()
	}
	return next, changed, t.now, nil
}

// pass looks at everything once, in the order in which it matters.
func (t *turn) pass() {
	t.register()
	t.adopt()
	t.leave()
	t.suspend()
	t.heed()
	t.follow()
	t.prove()
	t.refuse()
	if t.s.Suspended == nil {
		t.incident()
		t.measure()
		t.rollback()
		t.stop()
		t.advance()
		t.settle()
		t.hold()
		t.help()
	}
	t.stopped()
	t.forget()
}
