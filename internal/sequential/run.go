package sequential

import (
	"math"
	"time"
)

const (
	runs   = 10
	groups = 16
	all    = groups // the index of the evidence that leaves nobody out
)

// Run is the evidence for one alternative, restarted where it falls to nothing.
type Run struct {
	// Height is the logarithm of the likelihood ratio since the run began, without
	// each of the groups and, last, with all.
	Height [groups + 1]float64 `json:"height"`
	// Life is the same with all since the version got its first request, never
	// restarted; not kept below lowest.
	Life float64 `json:"life"`
	// Starts is how many runs of the last day began, decayed.
	Starts float64 `json:"starts"`
	// Since is when the run began, Own what the version and Control what its
	// control answered in it; OwnBad and ControlBad are the bad ones by group.
	Since      time.Time      `json:"since,omitzero"`
	Own        Tally          `json:"own"`
	Control    Tally          `json:"control"`
	OwnBad     [groups]uint64 `json:"ownBad"`
	ControlBad [groups]uint64 `json:"controlBad"`

	quiet bool // no height is over 0
}

const (
	lowest = -50 // of Run.Life
	above  = 10  // by which evidence may be over what is needed, so that a recovery shows
)

func (r *Run) begin(now time.Time, credit float64) {
	for i := range r.Height {
		r.Height[i] = credit
	}
	r.Since = now
}

// forget lets the comparison with the control begin anew.
func (r *Run) forget() {
	r.Own, r.Control = Tally{}, Tally{}
	r.OwnBad, r.ControlBad = [groups]uint64{}, [groups]uint64{}
}

// take counts the version's answers. Their order within a lump is not known, and
// none is assumed.
func (r *Run) take(now time.Time, l *lump, g *alternative, need float64) {
	whole := l.b*g.gain - (l.n-l.b)*g.cost
	if r.Life > lowest {
		r.Life = max(lowest, r.Life+whole)
	}
	if l.b == 0 && r.quiet {
		return
	}
	if r.Height[all] == 0 && whole > 0 {
		r.Starts++
		r.Since = now
	}
	top := need + g.credit + math.Log1p(r.Starts) + above // so that a recovery shows soon
	r.quiet = true
	for i := range r.Height {
		n, b := l.n, l.b
		if i != all {
			n, b = n-l.by[i], b-l.bads[i]
		}
		r.Height[i] = min(top, max(0, r.Height[i]+b*g.gain-(n-b)*g.cost))
		r.quiet = r.quiet && r.Height[i] == 0
	}
	if r.Height[all] == 0 {
		r.forget()
		return
	}
	r.Own.add(l.n, l.b)
	if l.b > 0 {
		for i, b := range l.bads {
			r.OwnBad[i] += uint64(b)
		}
	}
}

// level is the logarithm of the e-value of the run, with all or without a group:
// its height less what it began with and what the starts of a day cost.
func (r *Run) level(without int, g *alternative) float64 {
	return r.Height[without] - g.credit - math.Log1p(r.Starts)
}

// skew is how long after a run began its control's good answers do not count:
// they may have been asked for before that.
const skew = 100 * time.Millisecond

// beside counts the control's answers.
func (r *Run) beside(now time.Time, l *lump) {
	if r.Height[all] == 0 {
		return
	}
	n := l.n
	if now.Sub(r.Since) < skew {
		n = l.b
	}
	r.Control.add(n, l.b)
	if l.b > 0 {
		for i, b := range l.bads {
			r.ControlBad[i] += uint64(b)
		}
	}
}
