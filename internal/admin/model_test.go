package admin

import (
	"slices"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/release"
)

// rolledBack is a state in which v2 was taken back, and what was seen of it.
func rolledBack() (release.State, release.Input) {
	ready := false
	s := release.New("default/fraud")
	s.Generation, s.Weights, s.Changed, s.Released, s.Stable = 18, map[string]int{"v1": 100}, now, true, "v1"
	s.Versions = map[string]release.Registered{"v0": {URI: "s3://fraud/0", Digest: "sha256:00"}, "v1": {}, "v2": {}}
	s.Good = []release.Good{{Version: "v1", At: now.Add(-time.Hour)}}
	s.Condemned = map[string]release.Condemned{"v2": {At: now, By: release.By, Reason: "bad"}}
	s.Holds = map[string]release.Hold{"v1": {Until: now.Add(time.Hour), By: "local"}}
	s.Withdrawal = &release.Withdrawal{Kind: release.KindRollback, From: []string{"v2"}, To: "v1", Generation: 18, By: release.By, Decided: now}
	s.Outbox = []release.Record{{Sequence: 4}, {Sequence: 5}}
	return s, release.Input{
		Versions: map[string]release.VersionInfo{"v1": {FileWeight: 1, URI: "s3://fraud/1"}, "v2": {FileWeight: 1, Ready: &ready}},
		Evidence: map[string]release.Evidence{"v1": {Requests: 10}, "v2": {Verdict: release.Failure}},
		Proof:    release.Proof{Generation: 18, Expected: 2, Acked: 1, Missing: []string{"edge-3"}},
	}
}

func TestModelOf(t *testing.T) {
	s, in := rolledBack()
	m := ModelOf(s, in, nil, now)
	if m.Model != "default/fraud" || m.Generation != 18 || m.Phase != release.PhaseSteady || m.Proof.Acked != 1 || m.Last.Sequence != 5 || len(m.Drift) != 2 {
		t.Errorf("%+v", m)
	}
	var names []string
	for _, v := range m.Versions {
		names = append(names, v.Name)
	}
	if !slices.Equal(names, []string{"v0", "v1", "v2"}) {
		t.Fatalf("versions %q", names)
	}
	v0, v1, v2 := m.Versions[0], m.Versions[1], m.Versions[2]
	if !v0.Gone || v0.Digest != "sha256:00" || v0.Evidence != nil {
		t.Errorf("v0: %+v", v0)
	}
	if v1.Weight != 100 || v1.Role != "stable" || v1.Ready != nil || v1.Good.IsZero() || v1.Hold == nil || v1.URI != "s3://fraud/1" || v1.Evidence.Verdict != release.Inconclusive {
		t.Errorf("v1: %+v", v1)
	}
	if v2.Weight != 0 || v2.Role != "" || *v2.Ready || v2.Condemned == nil || v2.Evidence.Verdict != release.Failure || v2.Gone {
		t.Errorf("v2: %+v", v2)
	}
	if m := ModelOf(s, in, &release.Record{Sequence: 3}, now); m.Last.Sequence != 3 {
		t.Errorf("last: %+v", m.Last)
	}
	if m := ModelOf(release.New("a/b"), release.Input{}, nil, now); m.Last != nil || len(m.Versions) != 0 || m.Phase != release.PhaseFiles {
		t.Errorf("a new model: %+v", m)
	}
}

func TestProven(t *testing.T) {
	s, in := rolledBack()
	m := ModelOf(s, in, nil, now)
	if m.Proven(18) {
		t.Error("proven before it is done")
	}
	m.Withdrawal.Done = now
	if !m.Proven(18) || m.Proven(17) || m.Proven(19) {
		t.Error("the proof is of another generation")
	}
}

func TestTroubles(t *testing.T) {
	helped, not := true, false
	well := func() Status {
		return Status{
			Now: now, Store: Store{Well: true}, Leader: Leader{Replica: "a"},
			Models: []Model{{Model: "default/fraud"}}, Proxies: Proxies{Expected: 1, Acked: 1, Proxies: []Proxy{{Node: "edge-1", State: ProxyAcked}}},
		}
	}
	withdrawal := func(w release.Withdrawal) func(*Status) {
		return func(s *Status) {
			w.Kind, w.From, w.To, w.Decided = release.KindRollback, []string{"v2"}, "v1", now.Add(-time.Minute)
			s.Models[0].Withdrawal = &w
			s.Models[0].Needs = NeedsOf(release.State{Withdrawal: &w}, nil, now)
		}
	}
	paused := func(by string) func(*Status) {
		return func(s *Status) {
			s.Models[0].Rollout = &release.Rollout{Version: "v2", Paused: &release.Paused{By: by, Reason: "x"}}
		}
	}
	for name, c := range map[string]struct {
		change func(*Status)
		level  Level // empty: no trouble
		about  string
	}{
		"nothing":            {func(*Status) {}, "", ""},
		"store":              {func(s *Status) { s.Store.Well = false }, LevelProblem, "store"},
		"leader":             {func(s *Status) { s.Leader.Replica = "" }, LevelProblem, "leader"},
		"files":              {func(s *Status) { s.Configuration.Problems = []string{"x"} }, LevelProblem, "configuration"},
		"degraded":           {func(s *Status) { s.Models[0].Degraded = true }, LevelProblem, "default/fraud"},
		"bound":              {func(s *Status) { s.Models[0].Bound = &release.Bound{} }, LevelProblem, "default/fraud"},
		"incident":           {func(s *Status) { s.Models[0].Incident = &release.Incident{} }, LevelProblem, "default/fraud"},
		"incident, going":    {func(s *Status) { s.Models[0].Incident = &release.Incident{Ended: now} }, LevelNotice, "default/fraud"},
		"refused":            {func(s *Status) { s.Models[0].Refused = &release.Refused{} }, LevelProblem, "default/fraud"},
		"paused by itself":   {paused(release.By), LevelProblem, "default/fraud"},
		"paused by a person": {paused("local"), LevelNotice, "default/fraud"},
		"running":            {func(s *Status) { s.Models[0].Rollout = &release.Rollout{} }, "", ""},
		"gate": {func(s *Status) {
			s.Models[0].Rollout, s.Models[0].Phase = &release.Rollout{}, release.PhaseGate
		}, LevelNotice, "default/fraud"},
		"not proven":        {withdrawal(release.Withdrawal{By: "local"}), LevelProblem, "default/fraud"},
		"proven":            {withdrawal(release.Withdrawal{By: "local", Done: now}), "", ""},
		"proven, by itself": {withdrawal(release.Withdrawal{By: release.By, Done: now}), LevelNotice, "default/fraud"},
		"helped":            {withdrawal(release.Withdrawal{By: "local", Done: now, Helped: &helped}), "", ""},
		"did not help":      {withdrawal(release.Withdrawal{By: "local", Done: now, Helped: &not}), LevelProblem, "default/fraud"},
		"drift":             {func(s *Status) { s.Models[0].Drift = []release.Drift{{Version: "v1"}} }, LevelNotice, "default/fraud"},
		"a proxy refused":   {func(s *Status) { s.Proxies.Proxies[0].State = ProxyRefused }, LevelProblem, "proxy edge-1"},
		"a proxy is silent": {func(s *Status) { s.Proxies.Proxies[0].State = ProxySilent }, LevelProblem, "proxy edge-1"},
		"a proxy is behind": {func(s *Status) { s.Proxies.Proxies[0].State = ProxyBehind }, "", ""},
		"no proxy":          {func(s *Status) { s.Proxies = Proxies{} }, LevelNotice, "proxies"},
		"named already":     {func(s *Status) { s.Troubles = []Trouble{{LevelProblem, "copy", "x", now}} }, LevelProblem, "copy"},
		"gone, whatever it was in": {func(s *Status) {
			withdrawal(release.Withdrawal{By: "local", Helped: &not})(s)
			paused(release.By)(s)
			m := &s.Models[0]
			m.Gone, m.Degraded, m.Bound, m.Incident, m.Refused = true, true, &release.Bound{}, &release.Incident{}, &release.Refused{}
			m.Drift = []release.Drift{{Version: "v1"}}
		}, LevelNotice, "default/fraud"},
		"a held policy is gone": {func(s *Status) { s.Policies = []Policy{{Policy: "a/b", Pinned: true, Gone: true}} }, LevelNotice, "a/b"},
		"a policy is pinned":    {func(s *Status) { s.Policies = []Policy{{Policy: "a/b", Pinned: true}} }, LevelNotice, "a/b"},
		"an old rollback": {func(s *Status) {
			withdrawal(release.Withdrawal{By: release.By, Done: now})(s)
			s.Models[0].Withdrawal.Decided = now.Add(-newsFor)
		}, "", ""},
	} {
		s := well()
		c.change(&s)
		got := Troubles(s)
		if c.level == "" {
			if len(got) > 0 {
				t.Errorf("%s: %+v", name, got)
			}
			continue
		}
		if len(got) != 1 || got[0].Level != c.level || got[0].About != c.about || got[0].What == "" {
			t.Errorf("%s: %+v, want one %s about %s", name, got, c.level, c.about)
		}
	}
	s := well()
	s.Troubles = []Trouble{{LevelNotice, "x", "x", now}}
	s.judged()
	if len(s.Troubles) != 1 {
		t.Errorf("what was given has changed: %+v", s.Troubles)
	}
	s = well()
	s.Models[0].Drift = []release.Drift{{Version: "v1"}}
	s.Proxies.Proxies[0].State = ProxySilent
	if got := Troubles(s); got[0].Level != LevelProblem || got[1].Level != LevelNotice {
		t.Errorf("notices come first: %+v", got)
	}
}
