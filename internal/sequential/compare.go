package sequential

import (
	"math"
	"time"
)

// concurrent says whether what the control answers now was answered beside the
// version: not long after the version stopped to answer, as it does when its
// breaker opens. The first few answers are waited for.
func (m *Monitor) concurrent(now time.Time, r *Run) bool {
	silent := now.Sub(m.Answered)
	return silent <= max(graceful, min(longest, m.gap(3))) || r.Control.N < few && silent <= longest
}

const (
	graceful = time.Second
	few      = 4
	longest  = time.Minute
)

// stopped says that the version has stopped to answer: it is silent for longer
// than it ever is at its traffic of the last minute.
func (m *Monitor) stopped(now time.Time) bool {
	return now.Sub(m.Answered) >= max(2*skew, min(longest, m.gap(5)))
}

// gap is the time in which so many answers of the version are to be expected.
func (m *Monitor) gap(answers float64) time.Duration { return expect(m.Rate, answers) }

func expect(t Tally, answers float64) time.Duration {
	if !(t.N > 0) {
		return 0
	}
	return time.Duration(min(answers/t.N*float64(recentOver), float64(day)))
}

// compared is what the control says of a run.
type compared uint8

const (
	unclear compared = iota // too few of its answers
	apart                   // the version is worse
	alike                   // it fails too
	alone                   // there is none
)

// compare holds a run against the control, with all or without a group.
// less is how much weaker the evidence may be.
func (m *Monitor) compare(now time.Time, run, without int, less float64, p *Params) compared {
	r := &m.Runs[run]
	own, control := r.Own, r.Control
	begin := m.Begin.Control
	if without != all {
		left := 1 - m.share(without)
		own = own.less(float64(r.OwnBad[without]), left)
		control = control.less(float64(r.ControlBad[without]), left)
		begin = Tally{begin.N * left, begin.B * left}
	}
	times := math.Log1p(m.Times)
	waited := now.Sub(later(m.Crossed, r.Since))
	ratio := apartness(own, control, m.grid.p0)
	strict := max(1, m.needApart(now, own, p)-less) + times
	switch {
	case ratio >= strict:
		return apart
	case m.sudden(now, r, m.grid.of[run].credit, p)+contrast(own, control, m.grid.p0) >= p.weakNeed()+times && apartness(own, control.plus(begin), m.grid.p0) >= strict:
		return apart
	case control.B == 0 && own.B > 0 && !m.lately(now) && m.outwaited(now, waited, own, control, p):
		return alone
	case control.B > 0 && ratio < 0 && raised(own, control, m.grid.p0) >= math.Log(1/apartAlpha):
		return alike
	}
	return unclear
}

// less is a count without a group: without its bad answers, and with so much of
// the clean ones as the others have of the requests.
func (t Tally) less(bad, left float64) Tally {
	return Tally{t.B - bad + (t.N-t.B)*left, t.B - bad}
}

// apartAlpha is how likely a cause that both have in common is taken for the
// version's own, while more answers of both come.
const apartAlpha = 0.001

// lately says that both have failed alike just now.
func (m *Monitor) lately(now time.Time) bool {
	return !m.Alike.IsZero() && now.Sub(m.Alike) < 5*time.Minute
}

// needApart is the evidence that a version is worse than its control: that of
// the weak level where the version has stopped to answer and a third or more of
// its answers were bad, as far as so few can say.
func (m *Monitor) needApart(now time.Time, own Tally, p *Params) float64 {
	need := math.Log(1 / apartAlpha)
	switch {
	case m.lately(now):
		return need + p.weakNeed()
	case !m.stopped(now):
		return need
	}
	return p.weakNeed() + max(0, need-p.weakNeed())*max(0, 1-3*own.B/(own.N+2))
}

// masked is a group that has nearly all of the control's bad answers: one caller
// who fails at both does not hide a version that fails for all. It is all where
// there is none.
func (m *Monitor) masked(run int, p *Params) int {
	r := &m.Runs[run]
	for i, bad := range r.ControlBad {
		if bad >= 5 && float64(bad) >= 0.8*r.Control.B && m.share(i) <= p.CallerShare && m.logE(i) >= p.need() {
			return i
		}
	}
	return all
}

// hazard is how long it takes for a feed to break by itself as likely as a
// version is to fail by being released: 1 % of releases fail, a feed breaks
// about ten times a day.
const hazard = 100 * time.Second

// sudden is the logarithm of the odds that a fault which came with the version's
// traffic, or with a change of its share, is its own.
func (m *Monitor) sudden(now time.Time, r *Run, credit float64, p *Params) float64 {
	if m.Begin.Control.N == 0 {
		return math.Inf(-1)
	}
	if m.Begin.Shift {
		if late := r.Since.Sub(m.Begin.At); late < 0 || late > 2*time.Second {
			return math.Inf(-1)
		}
	} else if r.Height[all]-credit-r.Life > p.weakNeed() {
		return math.Inf(-1) // it was well at first
	}
	return max(0, math.Log(float64(hazard)/max(float64(now.Sub(m.Begin.At)), float64(time.Millisecond))))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// outwaited says that evidence has waited for long enough for a control that
// gives no answer, or some good ones, but too few.
//
// Of one that is known to get requests, eight have to be missing for it to count
// as gone. At thin traffic that is long, and three minutes are enough for a
// version most of whose answers are bad; a weak fault, which a passing
// disturbance of both looks like, waits for up to an hour. Where some answers
// came, 15 minutes are enough if all of the version's are bad, longer the fewer
// are, and nothing is if less than a tenth is, or ten times what is normal.
func (m *Monitor) outwaited(now time.Time, waited time.Duration, own, control Tally, p *Params) bool {
	rate := own.rate()
	if control.N > 0 {
		return rate >= max(0.1, 10*m.grid.p0) && rate*float64(waited) >= float64(15*time.Minute)
	}
	most := 3*time.Minute + time.Duration(max(0, 1-2*rate)*float64(57*time.Minute))
	gone := m.Heard.IsZero() || now.Sub(m.Heard).Hours()*m.Hour >= 8
	return waited >= most || gone && waited >= p.Patience
}

// apartness is the logarithm of the e-value against "both have the same rate,
// whatever it is", for a version that is worse; -Inf where it is not.
func apartness(own, control Tally, p0 float64) float64 {
	if own.N <= 0 || own.B*control.N <= control.B*own.N && control.N > 0 {
		return math.Inf(-1)
	}
	apart := bernoulli(own, own.rate()) + mix(0.75, bernoulli(control, p0), krichevsky(control))
	both := own.plus(control)
	return apart - bernoulli(both, both.rate())
}

// contrast is the logarithm of the likelihood ratio of "the version's own rate,
// and a control as normal" against the best common rate: 0 where the control has
// nothing to say, less where it fails too.
func contrast(own, control Tally, p0 float64) float64 {
	both := own.plus(control)
	return bernoulli(own, own.rate()) + bernoulli(control, p0) - bernoulli(both, both.rate())
}

// raised is the logarithm of the likelihood ratio of the control's answers: the
// rate of both against what is normal.
func raised(own, control Tally, p0 float64) float64 {
	rate := own.plus(control).rate()
	if rate <= p0 {
		return 0
	}
	return bernoulli(control, rate) - bernoulli(control, p0)
}

func bernoulli(t Tally, p float64) float64 {
	var l float64
	if t.B > 0 {
		l += t.B * math.Log(p)
	}
	if t.N > t.B {
		l += (t.N - t.B) * math.Log1p(-p)
	}
	return l
}

// krichevsky is the logarithm of the likelihood under a rate from Beta(½, ½):
// Krichevsky and Trofimov's mixture, within ½ ln n of the best rate.
func krichevsky(t Tally) float64 {
	return gamma(t.B+0.5) + gamma(t.N-t.B+0.5) - gamma(t.N+1) - math.Log(math.Pi)
}

func gamma(x float64) float64 {
	l, _ := math.Lgamma(x)
	return l
}

// mix is ln(w e^a + (1-w) e^b).
func mix(w, a, b float64) float64 {
	a, b = a+math.Log(w), b+math.Log(1-w)
	if a < b {
		a, b = b, a
	}
	return a + math.Log1p(math.Exp(b-a))
}
