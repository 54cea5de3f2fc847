package release

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestStatesThatAreNotValid(t *testing.T) {
	w := newWorld(t)
	w.promoteFully("v2")
	w.version("v3", nil)
	w.apply(Command{Do: Start, Version: "v3"})
	for _, c := range []struct {
		says   string
		change func(*State)
	}{
		{"format 2", func(s *State) { s.Format = 2 }},
		{"sum to 101 %", func(s *State) { s.Weights["v1"] = 1 }},
		{"-1 %", func(s *State) { s.Weights["v1"], s.Weights["v2"] = -1, 100 }},
		{"sum to 0 %", func(s *State) { clear(s.Weights) }},
		{"sum to 100 %", func(s *State) { s.Degraded = true }},
		{"sum to 7 %", func(s *State) { s.Acked.Weights = map[string]int{"v1": 7} }},
		{"not registered", func(s *State) { delete(s.Versions, "v2") }},
		{"is condemned", func(s *State) { s.Condemned = map[string]Condemned{"v2": {}} }},
		{"without a generation", func(s *State) { s.Generation, s.Origin = 0, Standing{} }},
		{"came before", func(s *State) { s.Acked.Generation = s.Generation + 1 }},
		{"without weights", func(s *State) { s.Weights = nil }},
		{"a release without one", func(s *State) { s.Released = false }},
		{"generation", func(s *State) { s.Generation = math.MaxUint64 }},
		{`"v7" has a part`, func(s *State) { s.Good = append(s.Good, Good{Version: "v7"}) }},
		{`"v7" has a part`, func(s *State) { s.Withdrawal = &Withdrawal{From: []string{"v7"}} }},
		{"a withdrawal of generation", func(s *State) { s.Withdrawal = &Withdrawal{Generation: s.Generation + 1} }},
		{"stable and candidate", func(s *State) { s.Stable = "v3" }},
		{"step 5 of 4", func(s *State) { s.Rollout.Step = 4 }},
		{"step 0 of 4", func(s *State) { s.Rollout.Step = -1 }},
		{"there are 0", func(s *State) { s.Rollout.Steps = nil }},
		{`with the candidate "v3"`, func(s *State) { s.Rollout.Version = "v2" }},
		{"began at no time", func(s *State) { s.Rollout.Since = time.Time{} }},
		{"out of range", func(s *State) { s.Rollout.Since = start.AddDate(500, 0, 0) }},
		{"at sequence 0", func(s *State) { s.Sequence, s.Outbox = 0, []Record{{}} }},
		{"where", func(s *State) { s.Outbox = []Record{{Sequence: s.Sequence - 1}} }},
		{"record", func(s *State) { s.Outbox = []Record{{Sequence: s.Sequence, At: start.AddDate(500, 0, 0)}} }},
	} {
		s := w.s.clone()
		c.change(&s)
		err := s.Validate()
		refused(t, err, "shop/fraud", c.says)
		if next, changed, wake, err := Advance(s, w.in, w.now.Add(time.Hour)); err == nil || changed || !wake.IsZero() || text(next) != text(s) {
			t.Errorf("%s: advanced", c.says)
		}
		if _, err := Decode([]byte(text(s))); err == nil {
			t.Errorf("%s: was decoded", c.says)
		}
		if got := strings.Join(Explain(s, w.in, w.now), ""); !strings.Contains(got, c.says) {
			t.Errorf("%s: explained as %s", c.says, got)
		}
	}
	if _, err := Decode([]byte("{")); err == nil {
		t.Error("no JSON was decoded")
	}
}

func TestSteps(t *testing.T) {
	for _, c := range []struct {
		steps []Step
		says  string // empty: valid
	}{
		{steps, ""},
		{[]Step{{Weight: 200}}, "step 1"},
		{make([]Step, 51), "there are 51"},
		{nil, "there are 0"},
		{[]Step{{Weight: 5}, {Weight: 5, Duration: -1}}, "step 2: the duration"},
	} {
		err := ValidateSteps(c.steps)
		if c.says != "" {
			refused(t, err, c.says)
		} else if err != nil {
			t.Error(err)
		}
	}
}

// A plan that says nothing, or what cannot be, is the default.
func TestWhatAPlanLeavesOpen(t *testing.T) {
	for _, p := range []Plan{
		{},
		{Holdback: number(51), RollbacksPerHour: number(-1), CoolDown: -1},
		{Holdback: number(-1), RollbacksPerHour: number(1001), CoolDown: Duration(365 * 24 * time.Hour)},
	} {
		if p = p.withDefaults(); *p.Holdback != 1 || *p.RollbacksPerHour != 3 || p.CoolDown != Duration(5*time.Minute) {
			t.Errorf("%d %d %s", *p.Holdback, *p.RollbacksPerHour, p.CoolDown)
		}
	}
	if p := (Plan{Holdback: number(0), RollbacksPerHour: number(0), CoolDown: 1}).withDefaults(); *p.Holdback != 0 || *p.RollbacksPerHour != 0 || p.CoolDown != 1 {
		t.Errorf("%d %d %s", *p.Holdback, *p.RollbacksPerHour, p.CoolDown)
	}
}

func TestWhatComesFromElsewhereIsMadeFitForJSON(t *testing.T) {
	w := newWorld(t)
	w.apply(Command{Do: Start, Version: "v2", By: "mia\xff", Reason: "two\nlines"})
	w.pass(time.Second)
	w.fail("v2")
	e := w.in.Evidence["v2"]
	e.LogE, e.Why, e.FirstBad = math.Inf(1), strings.Repeat("é\x00\xff", 9000), w.now.In(time.FixedZone("", 3600))
	w.in.Evidence["v2"] = e
	w.advance()
	if r := w.last(KindRollback); len(r.Reason) > 2*maxLine || r.Evidence["v2"].LogE != 0 {
		t.Errorf("%+v", r)
	}
	if r := w.one(KindStarted); r.By != "mia?" || r.Reason != "two lines" {
		t.Errorf("%+v", r)
	}
	var d Duration
	if err := d.UnmarshalText([]byte("1 minute")); err == nil {
		t.Error("a duration that is none")
	}
}
