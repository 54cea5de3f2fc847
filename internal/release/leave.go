package release

import "time"

// Leave ends the rollout of a model that the files do not have any more: its stable
// version has the weight, for when the model is back. It is pure; changed says
// whether next has to be written. A state that fails Validate is left as it is.
func Leave(s State, now time.Time) (next State, changed bool) {
	t, err := begin(s, Input{}, now)
	if err != nil || t.s.Rollout == nil {
		return s, false
	}
	t.withdraw(withdrawal{
		kind: KindAborted, from: []string{t.s.Candidate}, to: t.s.Stable, by: By, reason: "the files do not have the model any more",
	})
	return t.s, true
}
