package release

import (
	"maps"
	"slices"
	"time"
)

// rails takes out the faults that automation may not act on, and calls a person
// for the first of them.
func (t *turn) rails(faults []fault) []fault {
	var allowed []fault
	var stopped []Bound
	recent := t.recent()
	for _, f := range faults {
		w := t.s.Withdrawal
		b := Bound{Since: t.now, Version: f.version}
		switch {
		case t.now.Before(t.s.Holds[f.version].Until):
			b.Rail, b.Until = RailHold, t.s.Holds[f.version].Until
		case w != nil && w.By == By && w.To == f.version && t.now.Before(w.Decided.Add(time.Duration(t.plan.CoolDown))):
			b.Rail, b.Until = RailCoolDown, clean(w.Decided.Add(time.Duration(t.plan.CoolDown)))
		case *t.plan.RollbacksPerHour == 0:
			b.Rail = RailOff
		case len(recent) >= *t.plan.RollbacksPerHour:
			b.Rail = RailPerHour
			b.Until = clean(recent[len(recent)-*t.plan.RollbacksPerHour].Add(time.Hour))
		default:
			allowed = append(allowed, f)
			continue
		}
		stopped = append(stopped, b)
	}
	if len(allowed) > 0 && t.needless(allowed) {
		for _, f := range allowed {
			stopped = append(stopped, Bound{Since: t.now, Version: f.version, Rail: RailNoTarget})
		}
		allowed = nil
	}
	t.bound(stopped, faults)
	return allowed
}

// mostlyBad is the share of bad answers from which on the ladder alone serves
// callers better than a version and the ladder together.
const mostlyBad = 0.5

// needless says that taking the versions out of traffic would leave none and help
// nobody: either none of them is new, so that it is not a release that went wrong,
// and while they fail their breakers have the ladder answer anyway, and end it when
// they recover; or most of a new one's answers are good.
func (t *turn) needless(faults []fault) bool {
	var versions []string
	for _, f := range faults {
		known := t.in.Evidence[f.version].Rate
		if f.version == t.s.Candidate && (known == 0 || known >= mostlyBad) {
			return false
		}
		versions = append(versions, f.version)
	}
	target, _ := t.target(versions)
	return target == ""
}

// recent are the automatic rollbacks of the last hour, the oldest first.
func (t *turn) recent() []time.Time {
	return slices.DeleteFunc(slices.Clone(t.s.Automatic), func(at time.Time) bool { return !t.now.Before(at.Add(time.Hour)) })
}

// bound notes the rail that was met, once, and when it ends.
func (t *turn) bound(stopped []Bound, faults []fault) {
	s := &t.s
	same := func(b Bound) bool { return s.Bound != nil && b.Version == s.Bound.Version && b.Rail == s.Bound.Rail }
	if b := s.Bound; b != nil {
		over := !b.Until.IsZero() && !t.now.Before(b.Until) ||
			b.Rail == RailNoTarget && !slices.ContainsFunc(stopped, same)
		if over || s.Weights[b.Version] == 0 && b.Version != s.Candidate {
			s.Bound = nil
		}
	}
	if len(stopped) > 0 && !slices.ContainsFunc(stopped, same) {
		b := stopped[0]
		s.Bound = &b
		i := slices.IndexFunc(faults, func(f fault) bool { return f.version == b.Version })
		t.record(t.seen(Record{Kind: KindBound, Version: b.Version, Reason: b.says() + "; " + faults[i].why}, slices.Collect(maps.Keys(s.Weights))...))
	}
	if s.Bound != nil {
		t.at(s.Bound.Until)
	}
	for _, b := range stopped {
		t.at(b.Until)
	}
}

// says is the rail in a sentence.
func (b Bound) says() string {
	until := ""
	if !b.Until.IsZero() {
		until = " until " + b.Until.Format(clock)
	}
	switch b.Rail {
	case RailHold:
		return b.Version + " fails and stays: a person forced it" + until
	case RailOff:
		return b.Version + " fails and stays: the model's rollout has rollbacks turned off; a person has to decide"
	case RailNoTarget:
		return b.Version + " fails and stays: there is no version to take over, and it is no new one or most of its answers are good; what fails is answered by the ladder"
	case RailCoolDown:
		return b.Version + " fails and stays: the last rollback went to it, cool-down" + until
	}
	return b.Version + " fails and stays: the bound of automatic rollbacks an hour is reached" + until + "; a person has to decide"
}
