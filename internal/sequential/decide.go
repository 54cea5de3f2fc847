package sequential

import (
	"fmt"
	"math"
	"time"
)

// share is a group's part of the requests of the last hour.
func (m *Monitor) share(group int) float64 {
	var sum float64
	for _, n := range m.Shares {
		sum += n
	}
	if sum <= 0 {
		return 0
	}
	return m.Shares[group] / sum
}

// logE is the evidence of all runs together, with all or without a group.
func (m *Monitor) logE(without int) float64 {
	most := math.Inf(-1)
	var levels [runs]float64
	for i := range m.Runs {
		levels[i] = m.Runs[i].level(without, &m.grid.of[i])
		most = max(most, levels[i])
	}
	var sum float64
	for _, l := range levels {
		sum += math.Exp(l - most)
	}
	return most + math.Log(sum) - runsCost
}

// strongest is the run with the most evidence.
func (m *Monitor) strongest() int {
	best, most := 0, math.Inf(-1)
	for i := range m.Runs {
		if l := m.Runs[i].level(all, &m.grid.of[i]); l > most {
			best, most = i, l
		}
	}
	return best
}

// seen is a decision of nothing: what was counted.
func (m *Monitor) seen(p *Params) Decision {
	if m.grid.p0 == 0 {
		m.grid = gridOf(m.Normal.p0(p))
	}
	d := Decision{Verdict: Inconclusive, P0: m.grid.p0, LogE: m.logE(all)}
	d.Requests, d.Bad = m.Total.Requests, m.Total.Bad
	d.ControlRequests, d.ControlBad = m.Control.Requests, m.Control.Bad
	return d
}

func (m *Monitor) decide(now time.Time, p *Params) Decision {
	d := m.seen(p)
	if m.Total.Requests == 0 {
		d.LogE, d.Why = 0, "no request was judged"
		return d
	}
	run := m.strongest()
	if m.Runs[run].Height[all] > 0 {
		d.Since = m.Runs[run].Since
	}
	if m.Failed != "" {
		if d.LogE >= p.need()/2 {
			d.Verdict, d.Why = Failure, m.Failed
			return d
		}
		m.Failed = ""
	}
	if d.LogE < p.need() {
		m.uncross()
		return m.well(d, p)
	}
	if m.Crossed.IsZero() {
		m.Crossed = now
	}
	group, one := m.oneCaller(p)
	if one {
		d.Why = fmt.Sprintf("%s, but without the one caller who has most of them that is not enough", m.story(run))
		return d
	}
	return m.judge(d, now, run, group, p)
}

// well is the decision where nothing points to a failure.
func (m *Monitor) well(d Decision, p *Params) Decision {
	d.Why = "not enough was seen"
	if m.Proof >= p.weakNeed() && d.LogE < p.weakNeed() && (p.MaxBad == 0 || m.Rate.rate() <= p.MaxBad) {
		d.Verdict, d.Why = Success, "no worse than normal"
	}
	return d
}

// prove counts the evidence that the rate is normal rather than worse by the
// margin. It is bounded, so that it soon falls when that ends.
func (m *Monitor) prove(own *lump, p *Params) {
	p0, p1 := m.grid.p0, m.grid.p0+p.Margin
	if p.MaxBad > p0 {
		p1 = min(p1, p.MaxBad)
	}
	m.Proof += (own.n-own.b)*math.Log((1-p0)/(1-p1)) + own.b*math.Log(p0/p1)
	m.Proof = max(-10, min(p.weakNeed()+3, m.Proof))
}

// uncross notes that the evidence is not enough any more.
func (m *Monitor) uncross() {
	if m.Crossed.IsZero() {
		return
	}
	m.Crossed = time.Time{}
	m.Times++
}

// others is the evidence that a failure takes without any one caller: in a day
// of one whose answers are all bad, chance makes the others confirm it once in
// seven at most. More would be asked of a version whose breaker opened after
// five answers than those five can say.
const others = 2

// oneCaller says whether the evidence is that of one caller, and which group has
// most of the bad answers of the strongest run; all: one that is everybody.
func (m *Monitor) oneCaller(p *Params) (group int, one bool) {
	worst, least := all, math.Inf(1)
	for i := range groups {
		if m.Shares[i] == 0 || m.share(i) > p.CallerShare {
			continue
		}
		if e := m.logE(i); e < least {
			worst, least = i, e
		}
	}
	return worst, least < others
}

// judge asks the control about every run that has enough evidence alone, and
// about the strongest.
func (m *Monitor) judge(d Decision, now time.Time, strongest, group int, p *Params) Decision {
	found := unclear
	for i := range m.Runs {
		r := &m.Runs[i]
		if i != strongest && r.level(all, &m.grid.of[i])-runsCost < p.need() {
			continue
		}
		c := m.compare(now, i, m.masked(i, p), 0, p)
		if group != all && (c == apart || c == alone) {
			c = m.compare(now, i, group, p.weakNeed(), p)
		}
		if c == apart || c == alone {
			return m.fail(d, i, c, p)
		}
		if i == strongest {
			found = c
		}
	}
	if found != alike {
		d.Why = m.story(strongest) + "; too few of the control's answers say whether it fails alike"
		return d
	}
	d.Verdict, d.Why = CommonCause, m.story(strongest)+": it fails alike"
	r := &m.Runs[strongest]
	m.Alike = now
	if now.Sub(r.Since) > recentOver && now.Sub(m.Crossed) > recentOver {
		// What holds is compared anew, so that a version that fails after the
		// common cause has gone is seen to.
		m.Times++
		m.Crossed = now
		for i := range m.Runs {
			m.Runs[i].forget()
		}
	}
	return d
}

func (m *Monitor) fail(d Decision, run int, c compared, p *Params) Decision {
	d.Verdict, d.Why = Failure, m.story(run)
	if c == alone {
		d.Why += ", waited for in vain"
	}
	d.Since = m.Runs[run].Since
	m.Failed = d.Why
	return d
}

// story is a run in words.
func (m *Monitor) story(run int) string {
	r := &m.Runs[run]
	text := fmt.Sprintf("%.0f of %.0f answers bad since %s (%s; up to %s is normal)", r.Own.B, r.Own.N,
		r.Since.UTC().Format("15:04:05Z"), percent(r.Own.rate()), percent(m.grid.p0))
	if r.Control.N == 0 {
		return text + ", no control"
	}
	return text + fmt.Sprintf(", control %.0f of %.0f", r.Control.B, r.Control.N)
}

func percent(p float64) string { return fmt.Sprintf("%.3g %%", 100*p) }
