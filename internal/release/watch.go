package release

import (
	"fmt"
	"strings"
	"time"
)

// incident notes a cause that a version and its control have in common, once,
// and when it was gone for long enough.
func (t *turn) incident() {
	version := ""
	for _, v := range t.s.serving() {
		if t.in.Evidence[v].Verdict == CommonCause {
			version = v
			break
		}
	}
	if c := t.s.Candidate; t.in.Evidence[c].Verdict == CommonCause {
		version = c
	}
	i := t.s.Incident
	switch {
	case version != "" && i == nil:
		why := line(t.in.Evidence[version].Why)
		t.s.Incident = &Incident{Since: t.now, Version: version, Why: why}
		reason := orElse(why, "it fails and so does its control") + "; nothing is rolled back, the ladder answers, a person is needed"
		t.record(t.seen(Record{Kind: KindCommonCause, Version: version, Reason: reason}, t.s.serving()...))
	case version != "":
		i.Ended = time.Time{}
	case i == nil:
	case i.Ended.IsZero():
		i.Ended = t.now
		t.at(i.Ended.Add(time.Duration(t.plan.CoolDown)))
	case t.now.Before(i.Ended.Add(time.Duration(t.plan.CoolDown))):
		t.at(i.Ended.Add(time.Duration(t.plan.CoolDown)))
	default:
		t.s.Incident = nil
		t.record(t.seen(Record{Kind: KindCauseOver, Version: i.Version, Reason: fmt.Sprintf("not seen since %s", i.Ended.Format(clock))}, t.s.serving()...))
	}
}

// settle makes the version that carries the traffic a good one, once enough was
// judged.
func (t *turn) settle() {
	v := t.s.main()
	if v == "" || t.s.Incident != nil {
		return
	}
	if n := len(t.s.Good); n > 0 && t.s.Good[n-1].Version == v {
		return
	}
	need := uint64(1)
	e := t.in.Evidence[v]
	switch e.Verdict {
	case Success:
	case Inconclusive, "":
		for _, s := range t.plan.Steps {
			need = max(need, s.MinRequests)
		}
	default:
		return
	}
	if _, fails := t.fault(v); fails || judged(e.Requests, t.s.Marks[v].Requests) < need {
		return
	}
	t.good(v)
	t.record(t.seen(Record{Kind: KindGood, Version: v, Reason: fmt.Sprintf("%d requests judged, %d bad", e.Requests, e.Bad)}, v))
}

// hold ends the holdback where the stable version can serve it no more, or the
// plan has none any more, and gives it back once the stable version was fit for
// a cool-down again: a pod that restarts does not take the control away for good.
func (t *turn) hold() {
	s := &t.s
	if !s.promoted() || s.Stable == "" {
		s.Returns = time.Time{}
		return
	}
	switch has := s.Weights[s.Stable] > 0; {
	case has && !t.ready(s.Candidate): // it has to bear more, not less
	case has && !t.ready(s.Stable):
		t.endHoldback(s.Stable + " has no ready endpoint")
	case has && *t.plan.Holdback == 0:
		t.endHoldback("the plan has no holdback")
	case has:
		s.Returns = time.Time{}
	case !t.ready(s.Stable):
		s.Returns, s.Lapsed = time.Time{}, s.Stable
	case t.holdback() == 0, s.Incident != nil:
		s.Returns = time.Time{}
	case s.Returns.IsZero():
		s.Returns = clean(t.now.Add(time.Duration(t.plan.CoolDown)))
		t.at(s.Returns)
	case t.now.Before(s.Returns):
		t.at(s.Returns)
	default:
		before, back := s.Weights, t.holdback()
		t.setWeights(map[string]int{s.Candidate: 100 - back, s.Stable: back}, false)
		s.Returns = time.Time{}
		reason := fmt.Sprintf("%s can serve it again, for %s now", s.Stable, time.Duration(t.plan.CoolDown))
		t.record(t.changedWeights(Record{Kind: KindHoldbackAgain, Version: s.Stable, Target: s.Candidate, Reason: reason}, before))
	}
}

func (t *turn) endHoldback(reason string) {
	before := t.s.Weights
	if t.setWeights(map[string]int{t.s.Candidate: 100}, false) {
		r := Record{Kind: KindHoldback, Version: t.s.Stable, Target: t.s.Candidate, Reason: reason}
		t.record(t.seen(t.changedWeights(r, before), t.s.Stable))
	}
}

// help says whether a rollback helped: once enough was judged at its target, or
// some was for long enough, the share of bad answers has to be less than half
// of what it was.
func (t *turn) help() {
	w := t.s.Withdrawal
	if w == nil || w.Kind != KindRollback || w.To == "" || w.Acked.IsZero() || w.Helped != nil || !(w.Rate > 0) {
		return
	}
	e := t.in.Evidence[w.To]
	n, bad := judged(e.Requests, w.Base), judged(e.Bad, w.BaseBad)
	_, fails := t.fault(w.To)
	fails = fails || e.Verdict == CommonCause
	late := w.Acked.Add(helpAfter)
	if enough := n >= helpRequests || n > 0 && !t.now.Before(late); !fails && !enough {
		t.at(late)
		return
	}
	w.After = rate(bad, n)
	helped := !fails && w.After < w.Rate/2
	w.Helped = &helped
	r := Record{Kind: KindHelped, Version: list(w.From), Target: w.To,
		Reason: fmt.Sprintf("%.3g %% of answers bad before, %.3g %% of %d since", 100*w.Rate, 100*w.After, n)}
	if !helped {
		r.Kind = KindNotHelped
		r.Reason += ": the cause is likely elsewhere, a person is needed"
	}
	t.record(t.seen(r, w.To))
}

// list is names in a line.
func list(versions []string) string { return strings.Join(versions, ", ") }
