package sequential

import (
	"fmt"
	"math"
	"time"
)

// Count is answers that were judged, and the bad ones among them.
type Count struct {
	Requests uint64 `json:"requests"`
	Bad      uint64 `json:"bad"`
}

// Monitor is the test of one version, at any moment of its life; as JSON it is
// some 5 KB, and never 16 KiB. The zero value is ready. It is not safe for concurrent use.
type Monitor struct {
	At      time.Time       `json:"at,omitzero"` // the newest Observe
	Total   Count           `json:"total"`       // of the version
	Control Count           `json:"control"`
	Runs    [runs]Run       `json:"runs"`
	Shares  [groups]float64 `json:"shares"` // requests by group, of both, of the last hour
	Normal  Normal          `json:"normal"`
	Begin   Begin           `json:"begin"`
	// Proof is the logarithm of the evidence that the rate is not over normal by
	// the margin.
	Proof float64 `json:"proof"`
	// Rate is the version's requests of the last minute, Beside its control's.
	Rate   Tally `json:"rate"`
	Beside Tally `json:"beside"`
	// Hour is the control's requests of the last hour.
	Hour float64 `json:"hour"`
	// Answered is when the version last answered, Heard when its control did.
	Answered time.Time `json:"answered,omitzero"`
	Heard    time.Time `json:"heard,omitzero"`
	// Crossed is when the evidence became enough, zero: it is not.
	Crossed time.Time `json:"crossed,omitzero"`
	// Alike is when both were last seen to fail alike; Times is how often in the
	// last day, decayed, there was enough evidence, and no failure.
	Alike time.Time `json:"alike,omitzero"`
	Times float64   `json:"times"`
	// Failed is why it was called failing; empty: it was not, or it recovered.
	Failed string `json:"failed,omitempty"`

	grid grid
}

// Begin is what the control did until the version got traffic, or its share
// changed.
type Begin struct {
	At      time.Time `json:"at,omitzero"` // zero: not yet
	Control Tally     `json:"control"`     // of the last minute before
	Shift   bool      `json:"shift,omitempty"`
}

// Tally is a count that decays.
type Tally struct {
	N float64 `json:"n"`
	B float64 `json:"b"`
}

func (t *Tally) add(n, b float64)  { t.N += n; t.B += b }
func (t *Tally) decay(f float64)   { t.N *= f; t.B *= f }
func (t Tally) plus(o Tally) Tally { return Tally{t.N + o.N, t.B + o.B} }
func (t Tally) rate() float64 {
	if t.N <= 0 {
		return 0
	}
	return t.B / t.N
}

// largest is the most that one Observe takes as a count: what float64 has exactly.
const largest = 1 << 53

// lump is what came in one Observe, by group.
type lump struct {
	n, b     float64
	by, bads [groups]float64
}

func lumpOf(counts []Count) (l lump, total Count, err error) {
	for i, c := range counts {
		if c.Requests == 0 && c.Bad == 0 {
			continue
		}
		if c.Bad > c.Requests || c.Requests > largest || total.Requests+c.Requests > largest {
			return lump{}, Count{}, fmt.Errorf("%d bad of %d answers cannot be", c.Bad, c.Requests)
		}
		total.Requests += c.Requests
		total.Bad += c.Bad
		l.by[i%groups] += float64(c.Requests)
		l.bads[i%groups] += float64(c.Bad)
	}
	l.n, l.b = float64(total.Requests), float64(total.Bad)
	return l, total, nil
}

// Observe takes in what came since the last call, of the version and of its
// control, by caller's place (index modulo 64; nil: nothing came), and says what
// all that was seen says. It may be called as often as one likes: clean answers
// in two calls are the same as in one. now must not go backwards: then, and
// where counts cannot be true, the decision is Error and nothing is counted.
func (m *Monitor) Observe(now time.Time, candidate, control []Count, p Params) Decision {
	p = p.withDefaults()
	own, total, err := lumpOf(candidate)
	beside, besideTotal, err2 := lumpOf(control)
	switch {
	case err != nil:
		return m.wrong(p, "the version's counts: "+err.Error())
	case err2 != nil:
		return m.wrong(p, "the control's counts: "+err2.Error())
	case now.IsZero():
		return m.wrong(p, "there is no time")
	case now.Before(m.At):
		d := m.wrong(p, fmt.Sprintf("time goes backwards: %s after %s", now.Format(time.RFC3339Nano), m.At.Format(time.RFC3339Nano)))
		m.rewind(now)
		return d
	case m.Total.Requests > largest || m.Control.Requests > largest:
		return m.wrong(p, "there are too many answers")
	}
	m.pass(now, &p)
	if own.n > 0 && m.Begin.At.IsZero() {
		m.begin(now)
	}
	m.Total.Requests += total.Requests
	m.Total.Bad += total.Bad
	m.Control.Requests += besideTotal.Requests
	m.Control.Bad += besideTotal.Bad
	m.collect(now, &own, &beside, &p)
	return m.decide(now, &p)
}

// Learn tells what is known of the stable version's rate in the long run, when a
// monitor starts anew. Counts that cannot be true are ignored.
func (m *Monitor) Learn(base Count) {
	if base.Bad <= base.Requests && base.Requests <= largest {
		m.Normal.Base.add(float64(base.Requests), float64(base.Bad))
		m.Normal.known = 0
	}
}

// Shift tells that the version's share of the traffic changes now. It is
// optional: a fault that begins with a change of share is found sooner, and
// counts of before and after are not mixed.
func (m *Monitor) Shift(now time.Time) {
	if m.Begin.At.IsZero() || now.Before(m.Begin.At) {
		return
	}
	m.Begin = Begin{At: now, Control: m.Beside, Shift: true}
	for i := range m.Runs {
		m.Runs[i].forget()
	}
}

func (m *Monitor) wrong(p Params, why string) Decision {
	d := m.seen(&p)
	d.Verdict, d.Why = Error, why
	return d
}

// rewind takes over a clock that was set back, so that one step back is one
// Error and not all that come until the time is made up.
func (m *Monitor) rewind(now time.Time) {
	back := m.At.Sub(now)
	earlier := func(t *time.Time) {
		if !t.IsZero() {
			*t = t.Add(-back)
		}
	}
	m.At = now
	for _, t := range []*time.Time{&m.Begin.At, &m.Answered, &m.Heard, &m.Crossed, &m.Normal.Opened, &m.Normal.Turned, &m.Alike} {
		earlier(t)
	}
	for i := range m.Runs {
		earlier(&m.Runs[i].Since)
	}
}

// The times over which counts are forgotten.
const (
	day        = 24 * time.Hour
	shareOver  = time.Hour
	recentOver = time.Minute
)

// pass lets time go by: old counts fade, and what is normal is learned.
func (m *Monitor) pass(now time.Time, p *Params) {
	past := now.Sub(m.At)
	if m.At.IsZero() {
		past = 0
	}
	m.At = now
	if m.grid.p0 == 0 {
		m.grid = gridOf(m.Normal.p0(p))
	}
	if past > 0 {
		f := fade(past, shareOver)
		for i := range m.Shares {
			m.Shares[i] *= f
		}
		m.Hour *= f
		f = fade(past, recentOver)
		m.Rate.decay(f)
		m.Beside.decay(f)
		f = fade(past, day)
		m.Times *= f
		for i := range m.Runs {
			m.Runs[i].Starts *= f
		}
	}
	m.Normal.pass(now, m.grid.p0, m.Crossed.IsZero() && !m.lately(now))
	if p0 := m.Normal.p0(p); p0 != m.grid.p0 {
		m.grid = gridOf(p0)
	}
}

func fade(past, over time.Duration) float64 { return math.Exp(-float64(past) / float64(over)) }

// begin notes how the control was when the first answer of the version came, and
// gives every run its credit.
func (m *Monitor) begin(now time.Time) {
	m.Begin = Begin{At: now, Control: m.Beside}
	for i := range m.Runs {
		m.Runs[i].begin(now, m.grid.of[i].credit)
	}
}

// collect counts what came.
func (m *Monitor) collect(now time.Time, own, beside *lump, p *Params) {
	for i := range m.Shares {
		m.Shares[i] += own.by[i] + beside.by[i]
	}
	m.Normal.Own.add(own.n, own.b)
	m.Normal.Control.add(beside.n, beside.b)
	m.Rate.add(own.n, own.b)
	m.Beside.add(beside.n, beside.b)
	m.Hour += beside.n
	if own.n > 0 {
		need := p.need() + runsCost
		for i := range m.Runs {
			m.Runs[i].take(now, own, &m.grid.of[i], need)
		}
		m.prove(own, p)
		m.Answered = now
	}
	if beside.n > 0 {
		m.Heard = now
		for i := range m.Runs {
			if r := &m.Runs[i]; m.concurrent(now, r) {
				r.beside(now, beside)
			}
		}
	}
}
