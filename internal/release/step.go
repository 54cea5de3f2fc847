package release

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// wait is one thing that a step waits for.
type wait struct {
	text  string
	until time.Time // when time alone ends it; zero: it does not
	gate  bool
}

// waits lists what the step that runs waits for, empty where it passes. Evidence
// that is missing, or that could not be measured, never passes a step.
func (t *turn) waits() []wait {
	r := t.s.Rollout
	step, e := r.Steps[r.Step], t.in.Evidence[r.Version]
	var out []wait
	hold := func(format string, args ...any) { out = append(out, wait{text: fmt.Sprintf(format, args...)}) }
	if p := r.Paused; p != nil {
		hold("paused by %s at %s: %s", p.By, p.At.Format(clock), orElse(p.Reason, "no reason given"))
	}
	if i := t.s.Incident; i != nil {
		hold("a common cause: %s fails and so does its control", i.Version)
	}
	switch e.Verdict {
	case "", Inconclusive, Success:
	case CommonCause:
		if t.s.Incident == nil {
			hold("a common cause: %s", orElse(e.Why, "its control fails alike"))
		}
	default:
		hold("%s: %s: %s", r.Version, e.Verdict, orElse(e.Why, "no reason given"))
	}
	if !t.ready(r.Version) {
		hold("%s has no ready endpoint", r.Version)
	}
	if end := r.Since.Add(time.Duration(step.Duration)); t.now.Before(end) {
		w := wait{text: fmt.Sprintf("%s more at %d %%", end.Sub(t.now).Round(time.Second), step.Weight)}
		if r.Paused == nil {
			w.until = end
		}
		out = append(out, w)
	}
	if n, need := judged(e.Requests, r.Base), step.requests(); n < need {
		hold("%d of %d requests judged", n, need)
	}
	for _, name := range t.plan.Checks {
		c, is := t.in.Checks[name]
		switch at := clean(c.At); {
		case !is || c.Verdict == Inconclusive || c.Verdict == "":
			hold("check %s: no result yet", name)
		case c.Verdict != Success:
			hold("check %s: %s: %s", name, c.Verdict, c.Why)
		case at.Before(r.Since) || at.After(t.now):
			hold("check %s: no result of this step yet", name)
		}
	}
	if step.Gate && !r.GatePassed {
		out = append(out, wait{text: "a person's promote", gate: true})
	}
	return out
}

// advance goes on with the rollout where its step passes.
func (t *turn) advance() {
	r := t.s.Rollout
	if r == nil {
		return
	}
	waits := t.waits()
	for _, w := range waits {
		t.at(w.until)
	}
	switch {
	case len(waits) == 0:
		t.next(By, "the step passed", false)
	case len(waits) == 1 && waits[0].gate && r.GateReached.IsZero():
		r.GateReached = t.now
		t.record(t.seen(Record{Kind: KindGate, Version: r.Version, Reason: fmt.Sprintf("step %d of %d passed but for a person's promote", r.Step+1, len(r.Steps))}, r.Version, t.s.Stable))
	}
}

// next ends the step that runs: the rollout's next one begins, or it is over.
func (t *turn) next(by, reason string, forced bool) {
	r := t.s.Rollout
	i := r.Step + 1
	if i == len(r.Steps) || i == len(r.Steps)-1 && r.Steps[i].Weight == 100 && r.Steps[i].bare() {
		t.promote(by, reason, forced)
		return
	}
	before, took := t.s.Weights, Took{Step: between(r.Since, t.now)}
	t.enter(i)
	text := fmt.Sprintf("step %d of %d: %s", i+1, len(r.Steps), reason)
	t.record(t.seen(t.changedWeights(Record{Kind: KindStep, By: by, Version: r.Version, Reason: text, Forced: forced, Took: took}, before), r.Version, t.s.Stable))
}

// enter begins a step.
func (t *turn) enter(i int) {
	r := t.s.Rollout
	r.Step, r.Since, r.Base = i, t.now, t.in.Evidence[r.Version].Requests
	r.GateReached, r.GatePassed = time.Time{}, false
	t.weigh(r.Steps[i].Weight)
}

// weigh gives the candidate a percentage and the stable version the rest, which
// is never less than the holdback.
func (t *turn) weigh(candidate int) {
	candidate = min(candidate, 100-t.holdback())
	t.setWeights(map[string]int{t.s.Candidate: candidate, t.s.Stable: 100 - candidate}, true)
}

// promote ends the rollout with the candidate at everything but the holdback.
func (t *turn) promote(by, reason string, forced bool) {
	r, before := t.s.Rollout, t.s.Weights
	took := Took{Step: between(r.Since, t.now), Rollout: between(r.Started, t.now)}
	t.s.Rollout = nil
	t.weigh(100)
	t.record(t.seen(t.changedWeights(Record{Kind: KindPromoted, By: by, Version: r.Version, Reason: reason, Forced: forced, Took: took}, before), r.Version, t.s.Stable))
}

// pause lets the weights stand.
func (t *turn) pause(by, reason string) {
	t.s.Rollout.Paused = &Paused{At: t.now, By: by, Reason: line(reason)}
	t.record(t.seen(Record{Kind: KindPaused, By: by, Version: t.s.Rollout.Version, Reason: reason}, slices.Collect(maps.Keys(t.s.Weights))...))
}
