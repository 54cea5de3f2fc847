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
	for _, f := range faults {
		if b, is := t.rail(f.version); is {
			stopped = append(stopped, b)
		} else {
			allowed = append(allowed, f)
		}
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

// rail is what keeps automation from rolling a version back, as far as that does not
// depend on where it would go; false: nothing does.
func (t *turn) rail(version string) (Bound, bool) {
	w, recent := t.s.Withdrawal, t.recent()
	b := Bound{Since: t.now, Version: version}
	switch {
	case t.now.Before(t.s.Holds[version].Until):
		b.Rail, b.Until = RailHold, t.s.Holds[version].Until
	case *t.plan.RollbacksPerHour == 0:
		b.Rail = RailOff
	case t.homeward(version):
		return b, false
	case w != nil && w.By == By && w.To == version && t.now.Before(w.Decided.Add(time.Duration(t.plan.CoolDown))):
		b.Rail, b.Until = RailCoolDown, clean(w.Decided.Add(time.Duration(t.plan.CoolDown)))
	case len(recent) >= *t.plan.RollbacksPerHour:
		b.Rail = RailPerHour
		b.Until = clean(recent[len(recent)-*t.plan.RollbacksPerHour].Add(time.Hour))
	default:
		return b, false
	}
	return b, true
}

// homeward says that a version is the one that is being rolled out, and that the
// stable one, which is fit, can take its traffic back. That is always towards safe:
// nothing but a person begins a rollout, so that it cannot go to and fro by itself.
func (t *turn) homeward(version string) bool {
	r := t.s.Rollout
	return r != nil && version == r.Version && t.unfit(t.s.Stable) == "" && t.incompatible(t.s.Stable, []string{version}) == ""
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
func (t *turn) recent() []time.Time { return t.lastHour(t.s.Automatic) }

// lastHour are those of the last hour, the oldest first.
func (t *turn) lastHour(times []time.Time) []time.Time {
	return slices.DeleteFunc(slices.Clone(times), func(at time.Time) bool { return !t.now.Before(at.Add(time.Hour)) })
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
		t.record(t.seen(Record{Kind: KindBound, Version: b.Version, Reason: b.Says() + "; " + faults[i].why}, slices.Collect(maps.Keys(s.Weights))...))
	}
	if s.Bound != nil {
		t.at(s.Bound.Until)
	}
	for _, b := range stopped {
		t.at(b.Until)
	}
}

// Says is the rail in a sentence for a person.
func (b Bound) Says() string {
	stays := b.Version + " fails and stays"
	if !b.Until.IsZero() {
		stays += " until " + b.Until.Format(clock)
	}
	switch b.Rail {
	case RailHold:
		return stays + ": a person forced it"
	case RailOff:
		return stays + ": automatic rollbacks are turned off for this model, a person has to decide"
	case RailNoTarget:
		return stays + ": no other version is fit to take over, and the ladder answers what fails; a person has to decide"
	case RailCoolDown:
		return stays + ": the last automatic rollback went to it, so that the cause is likelier elsewhere"
	}
	return stays + ": the model had as many automatic rollbacks as it may have in an hour"
}
