package control

import (
	"fmt"
	"time"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/signals"
)

// killWindow counts the answers of one version of the last while, for one criterion
// of automatic kills. The zero value is empty. It is not safe for concurrent use.
type killWindow struct{ slots []killSlot } // the oldest first

// killSlot counts the answers of a part of the window.
type killSlot struct {
	at    time.Time               // of the first
	first time.Time               // of the first that was bad; zero: none was
	by    [callerGroups]killCount // by who asked, bad by any detector
	bad   uint64                  // by the criterion's detector
}

type killCount struct{ requests, bad uint64 }

const (
	// killSlots is into how many parts a window is divided: so much sooner, at most,
	// does an answer stop to count.
	killSlots = 20
	// callerGroups is into how many groups the 64 places of callers fall, as with
	// rollbacks: see package sequential.
	callerGroups = 16
)

// add counts what came, and forgets what is too old.
func (w *killWindow) add(now time.Time, c *compile.KillCriterion, came *signals.Counts) {
	w.forget(now, c)
	if came == nil || came.Clean+came.Bad == 0 {
		return
	}
	if n := len(w.slots); n == 0 || now.Sub(w.slots[n-1].at) >= c.Within/killSlots {
		w.slots = append(w.slots, killSlot{at: now})
	}
	s := &w.slots[len(w.slots)-1]
	for place, k := range came.Callers {
		g := &s.by[place%callerGroups]
		g.requests += k.Clean + k.Bad
		g.bad += k.Bad
	}
	bad := came.Bad
	if c.Detector != "" {
		bad = min(bad, came.Detectors[c.Detector])
	}
	if s.bad += bad; bad > 0 && s.first.IsZero() {
		s.first = now
	}
}

func (w *killWindow) forget(now time.Time, c *compile.KillCriterion) {
	old := 0
	for old < len(w.slots) && now.Sub(w.slots[old].at) >= c.Within {
		old++
	}
	w.slots = append(w.slots[:0], w.slots[old:]...)
}

// over says whether the criterion is met, by all answers and by those without any one
// group of callers. A group with more than half of the answers is no one caller's
// whim, and is never left out.
func (w *killWindow) over(c *compile.KillCriterion) (release.Alarm, bool) {
	var by [callerGroups]killCount
	var all killCount
	var first time.Time
	for i := range w.slots {
		s := &w.slots[i]
		all.bad += s.bad
		if first.IsZero() {
			first = s.first
		}
		for g := range by {
			by[g].requests += s.by[g].requests
			by[g].bad += s.by[g].bad
			all.requests += s.by[g].requests
		}
	}
	if !all.meets(c) {
		return release.Alarm{}, false
	}
	for _, g := range by {
		// Which detector found which caller's answers bad is not known: all that
		// were may have been this one's.
		rest := killCount{all.requests - g.requests, all.bad - min(all.bad, g.bad)}
		if 2*g.requests <= all.requests && !rest.meets(c) {
			return release.Alarm{}, false
		}
	}
	return release.Alarm{Why: why(c, all), Safety: c.Safety, Requests: all.requests, Bad: all.bad, Since: first}, true
}

func (k killCount) meets(c *compile.KillCriterion) bool {
	return k.requests >= max(c.MinRequests, 1) && k.bad > 0 && 100*float64(k.bad) >= c.BadPercent*float64(k.requests)
}

func why(c *compile.KillCriterion, k killCount) string {
	found, safety := "", ""
	if c.Detector != "" {
		found = " (" + c.Detector + ")"
	}
	if c.Safety {
		safety = ", a criterion of safety"
	}
	return fmt.Sprintf("%d of %d answers within %s bad%s: %.3g %%, and from %.3g %% on it is killed%s",
		k.bad, k.requests, c.Within, found, 100*float64(k.bad)/float64(k.requests), c.BadPercent, safety)
}
