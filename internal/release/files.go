package release

import (
	"slices"
	"strings"
)

// adopt lets the weights follow the files until the first release.
func (t *turn) adopt() {
	if t.s.Released {
		return
	}
	weights := percent(t.in.Versions, t.condemned)
	if weights == nil { // no route gives the model traffic
		if t.s.Weights != nil {
			before := t.s.Weights
			t.s.Weights, t.s.Stable = nil, ""
			t.s.Generation, t.s.Changed = t.s.Generation+1, t.now
			t.record(Record{Kind: KindFiles, Reason: "no route gives the model traffic", Before: before})
		}
		return
	}
	t.takeFiles(weights, "the weights of the files")
}

func (t *turn) takeFiles(weights map[string]int, reason string) {
	before := t.s.Weights
	if !t.setWeights(weights, false) {
		return
	}
	t.s.Stable, t.s.Candidate = heaviest(weights, ""), ""
	t.record(t.changedWeights(Record{Kind: KindFiles, Version: t.s.Stable, Reason: reason}, before))
}

func (t *turn) condemned(version string) bool {
	_, yes := t.s.Condemned[version]
	return yes
}

// leave takes the traffic from versions that the files do not have any more: no
// proxy can be told of them. It goes where a rollback would go, and nothing is
// condemned; the files' weights are the last resort, since nobody released what
// they name.
func (t *turn) leave() {
	gone := func(v string) bool { _, in := t.in.Versions[v]; return !in }
	if r := t.s.Rollout; r != nil && gone(r.Version) && !gone(t.s.Stable) {
		t.withdraw(withdrawal{kind: KindAborted, from: []string{r.Version}, to: t.s.Stable, by: By, reason: r.Version + " left the files"})
		return
	}
	lost := slices.DeleteFunc(t.s.serving(), func(v string) bool { return !gone(v) })
	if len(lost) == 0 {
		return
	}
	reason := strings.Join(lost, ", ") + " left the files"
	if t.s.promoted() && !gone(t.s.Candidate) {
		t.endHoldback(reason)
		return
	}
	w := t.away(lost, By, reason)
	weights := percent(t.in.Versions, func(v string) bool { _, is := t.killed(v); return is || t.condemned(v) })
	if w.to != "" || weights == nil {
		if w.to != "" {
			w.kind = KindAborted
		}
		t.withdraw(w)
		return
	}
	t.s.Rollout = nil
	t.takeFiles(weights, reason+": their weights hold")
}

// main is the version that carries the traffic: what a candidate is held
// against while it is rolled out, and the candidate once it was promoted.
func (s State) main() string {
	if s.promoted() {
		return s.Candidate
	}
	return s.Stable
}

// promoted says whether a candidate was promoted and is watched.
func (s State) promoted() bool { return s.Rollout == nil && s.Candidate != "" }

// good notes that a version carried the traffic and was judged, as the newest
// that was.
func (t *turn) good(version string) {
	const most = 64
	t.s.Good = slices.DeleteFunc(t.s.Good, func(g Good) bool { return g.Version == version })
	t.s.Good = append(t.s.Good, Good{Version: version, At: t.now})
	t.s.Good = t.s.Good[max(0, len(t.s.Good)-most):]
}

// holdback is the percentage that stays on the stable version while the
// candidate has the rest.
func (t *turn) holdback() int {
	if why := t.unfit(t.s.Stable); why != "" {
		return 0
	}
	return *t.plan.Holdback
}
