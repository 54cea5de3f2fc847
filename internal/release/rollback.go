package release

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// rollback takes versions that fail out of traffic, in whatever state the model
// is, as far as the rails allow. While a common cause is seen nothing is moved.
func (t *turn) rollback() {
	if t.s.Degraded {
		t.recover()
		return
	}
	if t.s.Incident != nil && t.s.Incident.Ended.IsZero() {
		return
	}
	faults := t.faults()
	if t.controlFails(faults) {
		t.endHoldback(faults[0].version + " fails: " + faults[0].why)
		return
	}
	if faults = t.rails(faults); len(faults) == 0 {
		return
	}
	var bad, why []string
	first := faults[0].since
	for _, f := range faults {
		bad, why = append(bad, f.version), append(why, f.version+": "+f.why)
		if f.since.Before(first) {
			first = f.since
		}
	}
	w := t.away(bad, By, strings.Join(why, "; "))
	w.first, w.condemn = first, slices.Clone(bad)
	for _, g := range t.s.Good { // a target that fails as well is none later on
		_, fails := t.fault(g.Version)
		if fails && t.s.Weights[g.Version] == 0 && g.Version != w.to && g.Version != t.s.Lapsed && !slices.Contains(bad, g.Version) {
			w.condemn = append(w.condemn, g.Version)
		}
	}
	if len(bad) > 1 || !t.homeward(bad[0]) {
		t.s.Automatic = append(t.recent(), t.now)
	}
	t.withdraw(w)
}

// controlFails says that the holdback alone fails, and the promoted version does
// without it: nothing is rolled back then. It need not be the version's fault, its
// last pod may have been taken away; and were it condemned, and the promoted one be
// in its cool-down, none could be rolled back to, nor the other.
func (t *turn) controlFails(faults []fault) bool {
	s := &t.s
	return s.promoted() && len(faults) == 1 && faults[0].version == s.Stable && s.Weights[s.Stable] > 0 && t.ready(s.Candidate) &&
		*t.plan.RollbacksPerHour > 0 && !t.now.Before(s.Holds[s.Stable].Until)
}

// recover leaves the degraded state once there is a target that is known to be
// ready. A version that failed is condemned, and so never one.
func (t *turn) recover() {
	var bad []string
	if w := t.s.Withdrawal; w != nil {
		bad = slices.DeleteFunc(slices.Clone(w.From), func(v string) bool { return !t.condemned(v) })
	}
	w := t.away(bad, By, "there is a good version again")
	if ready := t.in.Versions[w.to].Ready; w.to == "" || ready == nil || !*ready {
		return
	}
	w.kind = KindRecovered
	t.withdraw(w)
}

// withdrawal is all traffic going to one version, or to none.
type withdrawal struct {
	kind    Kind
	from    []string // at least these lose their traffic
	condemn []string
	to      string // empty: the model degrades
	by      string
	reason  string
	forced  bool
	first   time.Time      // the first bad answer; zero: none
	rest    map[string]int // weights of several that take over; nil: to has all
	kill    *Kill          // that it is because of; nil: none is
}

// away is a rollback from versions to the best target that there is.
func (t *turn) away(bad []string, by, reason string) withdrawal {
	w := withdrawal{kind: KindRollback, from: bad, by: by, reason: reason}
	var rejected []string
	if w.to, rejected = t.target(bad); w.to == "" {
		w.kind = KindDegraded
	}
	if len(rejected) > 0 {
		w.reason += " (no target: " + strings.Join(rejected, "; ") + ")"
	}
	return w
}

// withdraw makes a withdrawal: of the versions that lose their traffic nothing
// is left, no weight, no rollout and no role.
func (t *turn) withdraw(w withdrawal) {
	s, before := &t.s, t.s.Weights
	from := append(slices.Clone(w.from), s.serving()...)
	if last := s.Withdrawal; last != nil && last.Done.IsZero() { // to be proved still
		for _, v := range last.From {
			if _, in := t.in.Versions[v]; in { // else no proxy that has these weights can ask it
				from = append(from, v)
			}
		}
	}
	slices.Sort(from)
	from = slices.DeleteFunc(slices.Compact(from), func(v string) bool { return v == w.to || w.rest[v] > 0 })

	var took Took
	if r := s.Rollout; r != nil {
		took.Rollout, took.Step = between(r.Started, t.now), between(r.Since, t.now)
	}
	took.Decide = between(w.first, t.now)
	target := t.in.Evidence[w.to]
	kind := w.kind
	if kind == KindRecovered {
		kind = KindRollback
	}
	next := &Withdrawal{
		Kind: kind, From: from, To: w.to, By: w.by, Reason: line(w.reason), FirstBad: w.first, Decided: t.now,
		Rate: t.worst(w.from), Base: target.Requests, BaseBad: target.Bad,
	}
	for _, v := range w.condemn {
		put(&s.Condemned, v, Condemned{At: t.now, By: w.by, Reason: line(w.reason)})
		drop(&s.Holds, v)
	}
	s.Rollout, s.Candidate, s.Stable, s.Checks = nil, "", w.to, nil
	s.Released, s.Bound = true, nil
	weights := maps.Clone(w.rest)
	if weights == nil {
		weights = map[string]int{}
	}
	if w.to != "" && w.rest == nil {
		weights[w.to] = 100
	}
	t.setWeights(weights, false)
	next.Generation = s.Generation
	if s.Withdrawal = next; w.kind == KindRecovered && len(from) == 0 {
		s.Withdrawal = nil // of nothing
	}
	r := Record{Kind: w.kind, By: w.by, Version: strings.Join(w.from, ", "), Target: w.to, Reason: w.reason, Forced: w.forced, Took: took, Kill: w.kill}
	t.record(t.seen(t.changedWeights(r, before), append(slices.Clone(from), w.to)...))
}

// rate is the share of bad answers since the failure began.
func (e Evidence) rate() float64 {
	if e.Rate > 0 {
		return e.Rate
	}
	return rate(e.Bad, e.Requests)
}

// worst is the highest share of bad answers of versions.
func (t *turn) worst(versions []string) float64 {
	worst := 0.0
	for _, v := range versions {
		worst = max(worst, t.in.Evidence[v].rate())
	}
	return worst
}
