package release

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Apply does what a person asks for, or says in one line for that person why
// not. A state that fails Validate is refused. It does not advance: call
// Advance with what it returns.
func Apply(s State, c Command, in Input, now time.Time) (State, error) {
	t, err := begin(s, in, now)
	if err != nil {
		return s, err
	}
	if err := c.check(); err != nil {
		return s, err
	}
	if len(in.Versions) == 0 {
		return s, refusal("the files of %s were not read yet", s.Model)
	}
	if c.Generation != 0 && c.Generation != s.Generation {
		return s, refusal("%s is at generation %d and not at %d any more: look again", s.Model, s.Generation, c.Generation)
	}
	c.By, c.Reason = line(c.By), line(c.Reason)
	t.register()
	t.adopt()
	t.leave()
	t.suspend()
	t.heed()
	t.follow()
	if err := t.mayKilled(c); err != nil {
		return s, err
	}
	if err := t.do(c); err != nil {
		return s, err
	}
	t.forget()
	t.fit()
	if err := t.s.Validate(); err != nil {
		return s, fmt.Errorf("what would follow from generation %d is wrong: %w", s.Generation, err)
	}
	return t.s, nil
}

func (t *turn) do(c Command) error {
	switch c.Do {
	case Start:
		return t.doStart(c)
	case Rollback:
		return t.doRollback(c)
	}
	r := t.s.Rollout
	if r == nil {
		return refusal("no rollout of %s runs%s", t.s.Model, map[Verb]string{Abort: "; rollback goes back from a version that was promoted"}[c.Do])
	}
	switch c.Do {
	case Pause:
		if r.Paused != nil {
			return refusal("the rollout of %s is paused already, by %s", r.Version, r.Paused.By)
		}
		t.pause(c.By, c.Reason)
	case Resume:
		return t.doResume(c)
	case Promote:
		return t.doPromote(c)
	case Abort:
		t.doAbort(c)
	}
	return nil
}

// refusal is an error for the person who asked.
func refusal(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrRefused}, args...)...)
}

// doStart begins a rollout. It starts the evidence of both versions anew: what
// was seen of the stable one before does not end a rollout that a person began
// in the knowledge of it.
func (t *turn) doStart(c Command) error {
	steps := c.Steps
	if len(steps) == 0 {
		steps = t.plan.Steps
	}
	if err := ValidateSteps(steps); err != nil {
		return err
	}
	if err := t.maystart(c); err != nil {
		return err
	}
	s, v, before := &t.s, c.Version, t.s.Weights
	stable := t.against(v)
	origin := Standing{Generation: s.Generation, Weights: given(s.Weights), At: t.now}
	drop(&s.Condemned, v)
	t.mark(v)
	t.force(c, v)
	s.Released, s.Bound, s.Checks, s.Origin = true, nil, nil, origin
	s.Stable, s.Candidate = stable, v
	if stable == "" { // degraded: there is nothing to hold it against
		t.setWeights(map[string]int{v: 100}, true)
	} else {
		if t.unfit(stable) == "" && judged(t.in.Evidence[stable].Requests, s.Marks[stable].Requests) > 0 {
			t.good(stable)
		}
		t.mark(stable)
		s.Rollout = &Rollout{Version: v, Steps: slices.Clone(steps), Started: t.now, By: c.By, Reason: c.Reason}
		t.enter(0)
	}
	r := Record{Kind: KindStarted, By: c.By, Version: v, Target: stable, Reason: c.Reason, Forced: c.Force}
	t.record(t.seen(t.changedWeights(r, before), v, stable))
	if r := s.Rollout; r != nil && len(steps) == 1 && steps[0].Weight == 100 && steps[0].bare() {
		t.promote(c.By, "all at once", c.Force)
	}
	return nil
}

// against is the version that one which is started is held against.
func (t *turn) against(version string) string {
	if main := t.s.main(); main != version && t.s.Weights[main] > 0 {
		return main
	}
	return heaviest(t.s.Weights, version)
}

// sharers are the versions that would lose their share of the traffic when a
// version is started, and are neither what it is held against nor a holdback.
func (t *turn) sharers(version string) []string {
	stable := t.against(version)
	return slices.DeleteFunc(t.s.serving(), func(v string) bool {
		return v == version || v == stable || t.s.promoted() && v == t.s.Stable
	})
}

// maystart says why a version may not be started.
func (t *turn) maystart(c Command) error {
	s, v := &t.s, c.Version
	if _, in := t.in.Versions[v]; !in {
		return refusal("version %q of %s is not in the files; there are %s", v, s.Model, t.files())
	}
	if s.Rollout != nil {
		return refusal("a rollout of %s runs: %s; abort it first", s.Rollout.Version, s.Rollout.says(t.now))
	}
	if s.Weights == nil {
		return refusal("no route gives %s traffic: name one of its versions in a route first", s.Model)
	}
	if s.Weights[v] == 100 || s.promoted() && v == s.Candidate && s.Weights[v] >= 100-*t.plan.Holdback {
		return refusal("version %s has the traffic already", v)
	}
	if c.Force {
		return nil
	}
	if !c.Again && t.condemned(v) {
		return refusal("version %s %s; again tries it all the same", v, t.absent(v))
	}
	if !t.ready(v) {
		return refusal("version %s has no ready endpoint; force starts it all the same", v)
	}
	if !c.Again && s.Degraded {
		return refusal("%s is degraded, there is no version to share the traffic with; again gives %s all of it at once", s.Model, v)
	}
	if others := t.sharers(v); len(others) > 0 {
		return refusal("%s has its traffic on more than one version, and a rollout of %s leaves %s alone beside it: %s would get none; force does it all the same",
			s.Model, v, t.against(v), list(others))
	}
	return nil
}

// force keeps automation from undoing a forced decision for a while.
func (t *turn) force(c Command, version string) {
	drop(&t.s.Holds, version)
	if !c.Force {
		return
	}
	hold := DefaultHold
	if c.Hold != nil {
		hold = *c.Hold
	}
	if hold > 0 {
		put(&t.s.Holds, version, Hold{Until: clean(t.now.Add(time.Duration(hold))), By: c.By})
	}
}

// doResume goes on from a pause: with the step's weights, where a refusal took
// them back, and with the counts of its checks from 0.
func (t *turn) doResume(c Command) error {
	r, before := t.s.Rollout, t.s.Weights
	if r.Paused == nil {
		return refusal("the rollout of %s is not paused: %s", r.Version, r.says(t.now))
	}
	if r.Since = r.Since.Add(time.Duration(between(r.Paused.At, t.now))); r.Since.After(t.now) {
		r.Since = t.now
	}
	r.Paused, t.s.Bound = nil, nil
	t.forgive()
	t.weigh(r.Weight())
	t.record(t.changedWeights(Record{Kind: KindResumed, By: c.By, Version: r.Version, Reason: c.Reason}, before))
	return nil
}

// doPromote passes the gate, or skips what is left of the step, or of all.
func (t *turn) doPromote(c Command) error {
	r := t.s.Rollout
	if p := r.Paused; p != nil {
		return refusal("the rollout of %s is paused by %s (%s): resume it first", r.Version, p.By, orElse(p.Reason, "no reason given"))
	}
	if !c.Force {
		if e := t.in.Evidence[r.Version]; e.Verdict == Failure || e.Verdict == CommonCause {
			return refusal("%s fails: %s; force promotes it all the same", r.Version, orElse(e.Why, string(e.Verdict)))
		}
		if f, fails := t.fault(r.Version); fails {
			return refusal("%s fails: %s; force promotes it all the same", r.Version, f.why)
		}
		if !t.ready(r.Version) {
			return refusal("%s has no ready endpoint; force promotes it all the same", r.Version)
		}
	}
	reason := orElse(c.Reason, "promoted")
	t.s.Bound = nil
	gate := r.Steps[r.Step].Gate && !r.GatePassed
	if gate && !c.Full {
		r.GatePassed = true
		t.record(Record{Kind: KindGatePassed, By: c.By, Version: r.Version, Reason: c.Reason, Forced: c.Force})
		if len(t.waits()) > 0 && !c.Force {
			return nil // the rest of the step is still to pass
		}
	}
	t.forgive()
	t.force(c, r.Version)
	if c.Full {
		t.promote(c.By, reason, c.Force)
	} else {
		t.next(c.By, reason, c.Force)
	}
	t.mark(t.s.Candidate)
	return nil
}

// doAbort goes back to the stable version at once, or to another good one where
// that is not there any more.
func (t *turn) doAbort(c Command) {
	bad, reason := []string{t.s.Candidate}, orElse(c.Reason, "aborted")
	w := withdrawal{kind: KindAborted, from: bad, to: t.s.Stable, by: c.By, reason: reason}
	if _, in := t.in.Versions[w.to]; !in {
		w = t.away(bad, c.By, reason)
	}
	if w.to != "" {
		t.mark(w.to)
	}
	t.withdraw(w)
}

// doRollback goes back to a version, or to the newest good one.
func (t *turn) doRollback(c Command) error {
	s := &t.s
	if s.Weights == nil {
		return refusal("no route gives %s traffic", s.Model)
	}
	bad := t.blamed(c.Version)
	w := withdrawal{kind: KindRollback, from: bad, condemn: bad, to: c.Version, by: c.By, reason: orElse(c.Reason, "rolled back"), forced: c.Force}
	if w.to == "" {
		if last := t.justDone(); last != nil {
			return refusal("%s was rolled back to %s at %s by %s; to go further back, name the version",
				list(last.From), last.To, last.Decided.Format(clock), last.By)
		}
		to, rejected := t.target(bad)
		if to == "" {
			return refusal("there is no version to go back to%s; name one to go to it all the same", because(rejected))
		}
		w.to = to
	} else if err := t.mayreturn(c, bad); err != nil {
		return err
	}
	w.from = slices.DeleteFunc(slices.Clone(bad), func(v string) bool { return v == w.to })
	drop(&s.Condemned, w.to)
	t.mark(w.to)
	t.force(c, w.to)
	t.withdraw(w)
	return nil
}

// justDone is the rollback that somebody who asks for one has in mind, most likely,
// and has not heard of yet: safestate's own, or another person's, of less than a
// cool-down ago.
func (t *turn) justDone() *Withdrawal {
	w := t.s.Withdrawal
	if t.s.Candidate != "" || w == nil || w.Kind != KindRollback || w.To != t.s.main() ||
		!t.now.Before(w.Decided.Add(time.Duration(t.plan.CoolDown))) {
		return nil
	}
	return w
}

// blamed are the versions that a person's rollback condemns: the candidate and,
// where that is not the target either, the one that carries the traffic.
func (t *turn) blamed(to string) []string {
	var out []string
	for _, v := range []string{t.s.Candidate, t.s.main()} {
		if v == "" || v == to || slices.Contains(out, v) || to == "" && len(out) > 0 {
			continue
		}
		out = append(out, v)
	}
	return out
}

// mayreturn says why a rollback may not go to the version that it names.
func (t *turn) mayreturn(c Command, bad []string) error {
	s, v := &t.s, c.Version
	if _, in := t.in.Versions[v]; !in {
		return refusal("version %q of %s is not in the files; there are %s", v, s.Model, t.files())
	}
	if v == s.Candidate && s.Rollout != nil {
		return refusal("%s is being rolled out: promote gives it more, and promote in full everything", v)
	}
	if s.Weights[v] == 100 && s.Rollout == nil || v == s.Candidate {
		return refusal("version %s has the traffic already", v)
	}
	if c.Force {
		return nil
	}
	why := t.unfit(v)
	if why == "" {
		why = t.incompatible(v, bad)
	}
	if why != "" {
		return refusal("version %s %s; force goes to it all the same", v, why)
	}
	return nil
}

// files lists the versions of the files, by name.
func (t *turn) files() string { return list(slices.Sorted(maps.Keys(t.in.Versions))) }

func because(reasons []string) string {
	if len(reasons) == 0 {
		return ""
	}
	return " (" + list(reasons) + ")"
}

// says is a rollout in a few words.
func (r *Rollout) says(now time.Time) string {
	text := fmt.Sprintf("step %d of %d at %d %%, started %s ago by %s", r.Step+1, len(r.Steps), r.Weight(), between(r.Started, now).round(), r.By)
	if p := r.Paused; p != nil {
		text += ", paused by " + p.By
	}
	return text
}

// round is a duration for a person.
func (d Duration) round() time.Duration { return time.Duration(d).Round(time.Second) }
