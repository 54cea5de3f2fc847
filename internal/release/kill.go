package release

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Killed is what is killed of a model. It goes ahead of releases: the proxies give
// what is killed no traffic, whatever Weights say.
type Killed struct {
	// Whole is the kill of the model, or of everything; nil: neither is killed.
	Whole *Kill `json:"whole,omitempty"`
	// Versions are those that are killed one by one, by name.
	Versions map[string]Kill `json:"versions,omitempty"`
	// Revived is when any of it was revived last, the start of a ramp; zero: never.
	Revived time.Time `json:"revived,omitzero"`
}

// Kill is one that is in force.
type Kill struct {
	// Target is its key, as people name it: version/shop/fraud/v2.
	Target string    `json:"target"`
	Since  time.Time `json:"since"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Mode   string    `json:"mode"`
	// Generation of the target, which whoever revives it has to name.
	Generation uint64 `json:"generation"`
	// Order is the ID of the order that it came of.
	Order string `json:"order,omitempty"`
}

// says is the kill in a few words.
func (k Kill) says() string { return "killed by " + line(k.By) + ": " + line(k.Reason) }

// undone says how the kill is ended.
func (k Kill) undone() string {
	return fmt.Sprintf("safestate revive %s --generation %d --reason … gives it back", line(k.Target), k.Generation)
}

// told is the kill as a record holds it.
func (k Kill) told() *Kill {
	k.Target, k.Since, k.By, k.Reason, k.Mode = line(k.Target), clean(k.Since), line(k.By), line(k.Reason), line(k.Mode)
	k.Order = line(k.Order)
	return &k
}

// Suspended is a model that nothing goes on with, because it is killed as a whole.
type Suspended struct {
	Since time.Time `json:"since"`
	Kill  Kill      `json:"kill"`
}

// killed is the kill of a version.
func (t *turn) killed(version string) (Kill, bool) {
	k, is := t.in.Killed.Versions[version]
	return k, is
}

// suspend lets a model stand still while it is killed as a whole: its weights stay
// for the day that it is revived, and what is seen meanwhile is no evidence.
func (t *turn) suspend() {
	whole, s := t.in.Killed.Whole, &t.s
	switch {
	case whole != nil && s.Suspended == nil:
		s.Suspended = &Suspended{Since: t.now, Kill: *whole.told()}
		t.record(Record{Kind: KindKilled, By: line(whole.By), Kill: whole.told(), Reason: whole.says() + "; releases stand still until it is revived"})
	case whole == nil && s.Suspended != nil:
		since := s.Suspended.Since
		s.Suspended = nil
		t.goOn(since)
		t.record(Record{Kind: KindRevived, Reason: "releases go on, and evidence begins anew"})
	}
}

// goOn begins the evidence of all versions anew; the time since the model was killed
// does not count for a rollout's step.
func (t *turn) goOn(since time.Time) {
	s := &t.s
	for v, part := range s.parts() {
		if part && v != "" {
			t.mark(v)
		}
	}
	for v := range t.in.Versions {
		t.mark(v)
	}
	s.Bound, s.KillBound = nil, nil
	t.forgive()
	r := s.Rollout
	if r == nil {
		return
	}
	r.Base = t.in.Evidence[r.Version].Requests
	end := t.now
	if p := r.Paused; p != nil && p.At.Before(end) { // the pause's own time is made up for when it ends
		end = p.At
	}
	if r.Since.After(since) {
		since = r.Since
	}
	if r.Since = r.Since.Add(time.Duration(between(since, end))); r.Since.After(t.now) {
		r.Since = t.now
	}
}

// heed takes versions that are killed out of the release: they lose their weight
// and their rollout to what is fit, and are as after a rollback when they are
// revived. Where nothing is fit the model degrades, and they get back what they had.
func (t *turn) heed() {
	t.giveBack()
	s, bad := &t.s, t.struck()
	if len(bad) == 0 {
		return
	}
	w := t.killing(bad)
	rest := map[string]int{}
	for _, v := range s.serving() {
		if !slices.Contains(bad, v) && t.unfit(v) == "" && t.incompatible(v, bad) == "" {
			rest[v] = s.Weights[v]
		}
	}
	switch {
	case s.promoted() && len(bad) == 1 && bad[0] == s.Stable && rest[s.Candidate] > 0:
		t.endControl(w)
		return
	case len(rest) > 0:
		w.rest = scaled(rest)
		w.to = heaviest(w.rest, "")
	default:
		var rejected []string
		if w.to, rejected = t.target(bad); w.to == "" {
			w.condemn = t.bereave(bad)
		}
		if len(rejected) > 0 {
			w.reason += " (no target: " + strings.Join(rejected, "; ") + ")"
		}
	}
	t.withdraw(w)
}

// struck are the killed versions that have weight, or are being rolled out.
func (t *turn) struck() []string {
	versions := t.s.serving()
	if r := t.s.Rollout; r != nil && !slices.Contains(versions, r.Version) {
		versions = append(versions, r.Version)
	}
	return slices.DeleteFunc(versions, func(v string) bool { _, is := t.killed(v); return !is })
}

// killing is the withdrawal of killed versions, to nobody yet.
func (t *turn) killing(bad []string) withdrawal {
	var why []string
	for _, v := range bad {
		k, _ := t.killed(v)
		why = append(why, v+" was "+k.says())
	}
	first, _ := t.killed(bad[0])
	return withdrawal{kind: KindKilled, from: bad, condemn: slices.Clone(bad), by: line(first.By), reason: strings.Join(why, "; "), kill: first.told()}
}

// endControl ends the holdback of a version that was killed; the promoted one stays
// what it is.
func (t *turn) endControl(w withdrawal) {
	s, before := &t.s, t.s.Weights
	put(&s.Condemned, s.Stable, Condemned{At: t.now, By: w.by, Reason: line(w.reason)})
	drop(&s.Holds, s.Stable)
	t.setWeights(map[string]int{s.Candidate: 100}, false)
	r := Record{Kind: KindKilled, By: w.by, Version: s.Stable, Target: s.Candidate, Reason: w.reason, Kill: w.kill}
	t.record(t.changedWeights(r, before))
}

// bereave notes what versions lose that nothing takes over from, and returns those
// that do not get it back: the one that was being rolled out beside another.
func (t *turn) bereave(bad []string) (condemn []string) {
	taken := map[string]int{}
	for _, v := range bad {
		if r := t.s.Rollout; r != nil && v == r.Version && len(bad) > 1 || t.s.Weights[v] == 0 {
			condemn = append(condemn, v)
			continue
		}
		taken[v] = t.s.Weights[v]
	}
	if len(taken) > 0 {
		t.s.Taken = taken
	}
	return condemn
}

// giveBack gives versions that are revived what their kill took, while nothing has
// taken over. Those that are killed still are then as after a rollback.
func (t *turn) giveBack() {
	s, back := &t.s, map[string]int{}
	for v, weight := range s.Taken {
		if _, is := t.killed(v); is || t.condemned(v) {
			continue
		}
		if _, in := t.in.Versions[v]; in {
			back[v] = weight
		}
	}
	if len(back) == 0 || !s.Degraded {
		return
	}
	before, weights := s.Weights, scaled(back)
	t.convict()
	for v := range weights {
		t.mark(v)
	}
	s.Stable, s.Candidate, s.Bound, s.KillBound = heaviest(weights, ""), "", nil, nil
	t.setWeights(weights, false)
	names := slices.Sorted(maps.Keys(weights))
	reason := "revived, and nothing has taken over what it had"
	t.record(t.changedWeights(Record{Kind: KindRevived, Version: list(names), Reason: reason}, before))
}

// convict condemns the versions that are killed and will not get back what they had.
func (t *turn) convict() {
	for _, v := range slices.Sorted(maps.Keys(t.s.Taken)) {
		if k, is := t.killed(v); is {
			put(&t.s.Condemned, v, Condemned{At: t.now, By: line(k.By), Reason: k.says()})
		}
	}
	t.s.Taken = nil
}

// scaled are weights that sum to 100, in proportion.
func scaled(weights map[string]int) map[string]int {
	parts := make(map[string]VersionInfo, len(weights))
	for v, weight := range weights {
		parts[v] = VersionInfo{FileWeight: weight}
	}
	return percent(parts, func(string) bool { return false })
}

// mayKilled says why a command is not done because of a kill: no force does it, and
// what goes back is done.
func (t *turn) mayKilled(c Command) error {
	if k, is := t.killed(c.Version); is {
		return refusal("version %s of %s is %s since %s; %s first", c.Version, t.s.Model, k.says(), k.Since.Format(clock), k.undone())
	}
	k := t.in.Killed.Whole
	if k == nil || c.Do != Start && c.Do != Promote && c.Do != Resume {
		return nil
	}
	what := t.s.Model
	if !strings.HasSuffix(k.Target, what) {
		what = "everything"
	}
	return refusal("%s is %s since %s; %s first", what, k.says(), k.Since.Format(clock), k.undone())
}

// explainKilled says what kills make of the model.
func (t *turn) explainKilled(say func(string, ...any)) {
	if s := t.s.Suspended; s != nil {
		say("%s: nothing goes on until it is revived", s.Kill.says())
	}
	for _, v := range slices.Sorted(maps.Keys(t.in.Killed.Versions)) {
		say("%s is %s", v, t.in.Killed.Versions[v].says())
	}
	if len(t.s.Taken) > 0 {
		say("when it is revived it has its traffic again: %s", list(slices.Sorted(maps.Keys(t.s.Taken))))
	}
}
