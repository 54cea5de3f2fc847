package sequential

import "time"

// Tail is the version's last answers, as long as bad ones are among them: what
// came within tailSpan, and what its control answered since.
//
// The order of the answers in a report is not known. But where a version stops
// to answer while its control goes on, the bad ones were the last: that is what
// a breaker does which opens after five bad answers in a row. Those five would
// else be lost among the good answers of the same tenth of a second.
type Tail struct {
	At         time.Time      `json:"at,omitzero"` // of the first; zero: the last answers were clean
	Bad        float64        `json:"bad"`
	OwnBad     [groups]uint64 `json:"ownBad"`
	Control    Tally          `json:"control"`
	ControlBad [groups]uint64 `json:"controlBad"`
	Ended      bool           `json:"ended,omitempty"` // and it stopped: the runs know
}

const tailSpan = 250 * time.Millisecond

// take counts the version's answers.
func (t *Tail) take(now time.Time, l *lump) {
	if l.b == 0 {
		t.At = time.Time{}
		return
	}
	if t.At.IsZero() || t.Ended || now.Sub(t.At) > tailSpan {
		*t = Tail{At: now}
	}
	t.Bad += l.b
	for i, b := range l.bads {
		t.OwnBad[i] += uint64(b)
	}
}

// beside counts the control's.
func (t *Tail) beside(now time.Time, l *lump) {
	if t.At.IsZero() || t.Ended {
		return
	}
	n := l.n
	if now.Sub(t.At) < skew {
		n = l.b
	}
	t.Control.add(n, l.b)
	for i, b := range l.bads {
		t.ControlBad[i] += uint64(b)
	}
}

// end lets a run begin with the tail, where that is more than it has.
func (r *Run) end(t *Tail, g *alternative, need float64) {
	if t.Bad*g.gain <= r.Height[all] {
		return
	}
	if r.Height[all] == 0 {
		r.Starts++
	}
	top := r.top(g, need)
	for i := range r.Height {
		bad := t.Bad
		if i != all {
			bad -= float64(t.OwnBad[i])
		}
		r.Height[i] = min(top, max(r.Height[i], bad*g.gain))
	}
	r.quiet = false
	r.Since = t.At
	r.Own, r.OwnBad = Tally{t.Bad, t.Bad}, t.OwnBad
	r.Control, r.ControlBad = t.Control, t.ControlBad
}
