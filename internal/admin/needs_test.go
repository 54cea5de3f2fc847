package admin

import (
	"slices"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/release"
)

// Whatever automation leaves alone is a need, which an alert looks at, and a problem
// in status, and the other way round.
func TestWhatNeedsAPersonIsAProblem(t *testing.T) {
	not, yes := false, true
	done := release.Withdrawal{Kind: release.KindRollback, From: []string{"v2"}, To: "v1", Decided: now.Add(-time.Hour), Done: now, By: "ann", Helped: &not}
	withdrawn := func(edit func(*release.State, *release.Withdrawal)) func(*release.State) {
		return func(s *release.State) {
			w := done
			s.Withdrawal = &w
			edit(s, &w)
		}
	}
	for name, c := range map[string]struct {
		change func(*release.State)
		want   Need // empty: none
	}{
		"nothing":           {func(*release.State) {}, ""},
		"bound":             {func(s *release.State) { s.Bound = &release.Bound{} }, NeedBound},
		"common cause":      {func(s *release.State) { s.Incident = &release.Incident{} }, NeedCommonCause},
		"its end is waited": {func(s *release.State) { s.Incident = &release.Incident{Ended: now} }, ""},
		"paused by itself": {func(s *release.State) {
			s.Rollout = &release.Rollout{Steps: []release.Step{{}}, Paused: &release.Paused{By: release.By}}
		}, NeedPaused},
		"paused by a person": {func(s *release.State) {
			s.Rollout = &release.Rollout{Steps: []release.Step{{}}, Paused: &release.Paused{By: "ann"}}
		}, ""},
		"not helped": {withdrawn(func(*release.State, *release.Withdrawal) {}), NeedNotHelped},
		"helped":     {withdrawn(func(_ *release.State, w *release.Withdrawal) { w.Helped = &yes }), ""},
		"an abort":   {withdrawn(func(_ *release.State, w *release.Withdrawal) { w.Kind = release.KindAborted }), ""},
		"long ago":   {withdrawn(func(_ *release.State, w *release.Withdrawal) { w.Decided = now.Add(-newsFor) }), ""},
		"a person decided since": {withdrawn(func(s *release.State, _ *release.Withdrawal) {
			s.Marks = map[string]release.Mark{"v3": {At: now}}
		}), ""},
		"the person's own mark": {withdrawn(func(s *release.State, w *release.Withdrawal) {
			s.Marks = map[string]release.Mark{"v1": {At: w.Decided}}
		}), NeedNotHelped},
	} {
		s := release.New("default/fraud")
		c.change(&s)
		m := ModelOf(s, release.Input{}, nil, now)
		if want := slices.DeleteFunc([]Need{c.want}, func(n Need) bool { return n == "" }); !slices.Equal(m.Needs, want) {
			t.Errorf("%s: needs %q, want %q", name, m.Needs, want)
		}
		status := Status{Now: now, Store: Store{Well: true}, Leader: Leader{Replica: "a"}, Models: []Model{m}, Proxies: Proxies{Expected: 1}}
		if got := status.judged(); got.Well == (c.want != "") {
			t.Errorf("%s: well is %v: %+v", name, got.Well, got.Troubles)
		}
	}
	refused := ModelOf(release.New("a/b"), release.Input{Refused: &release.Refused{}}, nil, now)
	if !slices.Equal(refused.Needs, []Need{NeedRefused}) {
		t.Errorf("%q", refused.Needs)
	}
}
