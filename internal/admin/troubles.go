package admin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/release"
)

// newsFor is how long a rollback that is over is told of.
const newsFor = 24 * time.Hour

// judged returns the status with what is not well in it, and without absent
// lists.
func (s Status) judged() Status {
	s.Troubles = Troubles(s)
	s.Well = !slices.ContainsFunc(s.Troubles, func(t Trouble) bool { return t.Level == LevelProblem })
	s.Configuration.Problems = list(s.Configuration.Problems)
	s.Proxies.Refused, s.Proxies.Silent, s.Proxies.Proxies = list(s.Proxies.Refused), list(s.Proxies.Silent), list(s.Proxies.Proxies)
	s.Policies, s.Kills = list(s.Policies), list(s.Kills)
	s.Models = slices.Clone(list(s.Models))
	for i := range s.Models {
		s.Models[i] = s.Models[i].filled()
	}
	return s
}

// filled returns the model without absent lists.
func (m Model) filled() Model {
	m.Needs, m.Versions, m.Explanation, m.Drift = list(m.Needs), list(m.Versions), list(m.Explanation), list(m.Drift)
	return m
}

// filled returns the history without absent lists.
func (h History) filled() History {
	return History{Records: list(h.Records), Policies: list(h.Policies), Proxies: list(h.Proxies)}
}

// list makes an absent list an empty one, which JSON writes as such.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// Troubles finds what is not well beside what the status names already: problems
// first, and of each level the control plane's own, then models, proxies and
// policies, in their order. It is pure.
func Troubles(s Status) []Trouble {
	out := append(slices.Clone(s.Troubles), ownTroubles(s)...)
	for i := range s.Kills {
		out = append(out, killTrouble(&s.Kills[i]))
	}
	for i := range s.Models {
		out = append(out, modelTroubles(&s.Models[i], s.Now)...)
	}
	out = append(out, proxyTroubles(s.Proxies)...)
	for i := range s.Policies {
		switch p := &s.Policies[i]; {
		case p.Pinned && p.Gone:
			out = append(out, notice(p.Policy, p.Since, "policy: it is not in the files any more; where it is again, number %d is held by a rollback (%s)", p.Number, p.Reason))
		case p.Pinned:
			out = append(out, notice(p.Policy, p.Since, "policy: number %d is held by a rollback (%s); the file says number %d", p.Number, p.Reason, p.File))
		}
	}
	slices.SortStableFunc(out, func(a, b Trouble) int { return cmp.Compare(rank(a.Level), rank(b.Level)) })
	return list(out)
}

func rank(l Level) int {
	if l == LevelProblem {
		return 0
	}
	return 1
}

func problem(about string, since time.Time, format string, args ...any) Trouble {
	return Trouble{LevelProblem, about, fmt.Sprintf(format, args...), since}
}

func notice(about string, since time.Time, format string, args ...any) Trouble {
	return Trouble{LevelNotice, about, fmt.Sprintf(format, args...), since}
}

// killTrouble tells of what is killed: somebody meant it, and it is not how things
// are to stay.
func killTrouble(k *KillState) Trouble {
	switch {
	case k.Killed && k.Asked != nil:
		return problem(k.Target, k.Since, "KILLED (%s) by %s: %s. %s asks to revive it%s: %s. A second person approves by: safestate approve %s --generation %d --ask %d --reason \"…\"",
			k.Mode, k.By, k.Reason, k.Asked.By, over(k.Asked.Ramp), k.Asked.Reason, k.Target, k.Generation, k.Asked.Number)
	case k.Killed:
		return problem(k.Target, k.Since, "KILLED (%s) by %s: %s. Back by: safestate revive %s --generation %d --reason \"…\"", k.Mode, k.By, k.Reason, k.Target, k.Generation)
	default:
		return notice(k.Target, k.Since, "revived by %s, %d %% of its traffic are back", k.By, k.Percent)
	}
}

// over says how a ramp that is asked for goes.
func over(ramp release.Duration) string {
	if ramp == 0 {
		return " at once"
	}
	return " over " + ramp.String()
}

func ownTroubles(s Status) (out []Trouble) {
	if !s.Store.Well {
		out = append(out, problem("store", s.Store.Since, "%s: releases stand still, traffic goes on as it is", s.Store.Problem))
	}
	if s.Leader.Replica == "" {
		out = append(out, problem("leader", time.Time{}, "no replica leads: nothing is rolled out or back by itself"))
	}
	if n := len(s.Configuration.Problems); n > 0 {
		out = append(out, problem("configuration", s.Configuration.Applied, "the files cannot be applied, the last good ones are in force: %s%s", s.Configuration.Problems[0], more(n-1)))
	}
	return out
}

func more(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (and %d more)", n)
}

func modelTroubles(m *Model, now time.Time) (out []Trouble) {
	add := func(t Trouble) { out = append(out, t) }
	if m.Gone {
		return []Trouble{notice(m.Model, time.Time{}, "is not in the files any more: nothing is decided about it")}
	}
	if m.Degraded {
		add(problem(m.Model, m.Changed, "no version gets traffic: every request is answered from the ladder"))
	}
	if b := m.Bound; b != nil {
		until := "a person has to decide"
		if !b.Until.IsZero() {
			until = "until " + b.Until.UTC().Format("15:04:05Z") + ", or a person decides"
		}
		add(problem(m.Model, b.Since, "%s fails and stays: %s holds its rollback back, %s", b.Version, b.Rail, until))
	}
	if i := m.Incident; i != nil && i.Ended.IsZero() {
		add(problem(m.Model, i.Since, "%s and its control fail alike, so nothing is rolled back: look for a common cause (%s)", i.Version, i.Why))
	} else if i != nil {
		add(notice(m.Model, i.Ended, "the common cause that %s and its control failed of is not seen any more", i.Version))
	}
	if r := m.Refused; r != nil {
		add(problem(m.Model, time.Time{}, "proxy %s refused generation %d: %s", r.Proxy, r.Generation, r.Message))
	}
	out = append(out, rolloutTroubles(m)...)
	if w := m.Withdrawal; w != nil {
		out = append(out, withdrawalTroubles(m, w, now)...)
	}
	if len(m.Drift) > 0 {
		parts := make([]string, len(m.Drift))
		for i, d := range m.Drift {
			parts[i] = fmt.Sprintf("%s %d %% (files: %d %%)", d.Version, d.Release, d.Files)
		}
		add(notice(m.Model, time.Time{}, "the weights are not those of the files: %s", strings.Join(parts, ", ")))
	}
	return out
}

func rolloutTroubles(m *Model) []Trouble {
	r := m.Rollout
	switch {
	case r == nil:
	case r.Paused != nil && r.Paused.By == release.By:
		return []Trouble{problem(m.Model, r.Paused.At, "the rollout of %s was paused by itself: %s", r.Version, r.Paused.Reason)}
	case r.Paused != nil:
		return []Trouble{notice(m.Model, r.Paused.At, "the rollout of %s is paused by %s", r.Version, r.Paused.By)}
	case m.Phase == release.PhaseGate:
		return []Trouble{notice(m.Model, r.GateReached, "the rollout of %s waits for a person: safestate rollout promote %s", r.Version, m.Model)}
	}
	return nil
}

func withdrawalTroubles(m *Model, w *release.Withdrawal, now time.Time) []Trouble {
	from, what := strings.Join(w.From, ", "), "rollback"
	if w.Kind == release.KindAborted {
		what = "abort"
	}
	switch {
	case w.Done.IsZero():
		text := fmt.Sprintf("the %s of %s is not proven yet", what, from)
		if len(m.Proof.Missing) > 0 {
			text += ": missing " + m.Proof.Missing[0] + more(len(m.Proof.Missing)-1)
		}
		if slices.Contains(m.Needs, NeedNotHelped) {
			text += "; and it did not help"
		}
		return []Trouble{problem(m.Model, w.Decided, "%s", text)}
	case slices.Contains(m.Needs, NeedNotHelped):
		return []Trouble{problem(m.Model, w.Decided, "the rollback of %s did not help: %s of the answers of %s are bad as well", from, share(w.After), w.To)}
	case w.By == release.By && now.Sub(w.Decided) < newsFor && !m.Degraded:
		return []Trouble{notice(m.Model, w.Decided, "%s was rolled back to %s by itself: %s", from, w.To, w.Reason)}
	}
	return nil
}

// share writes a share of 0 to 1 in percent.
func share(v float64) string { return fmt.Sprintf("%.3g %%", 100*v) }

func proxyTroubles(p Proxies) (out []Trouble) {
	if p.Expected == 0 {
		out = append(out, notice("proxies", time.Time{}, "no proxy gets its configuration from here"))
	}
	for i := range p.Proxies {
		switch x := &p.Proxies[i]; x.State {
		case ProxyRefused:
			out = append(out, problem("proxy "+x.Node, time.Time{}, "refused the newest configuration and serves what it had: %s", x.Message))
		case ProxySilent:
			out = append(out, problem("proxy "+x.Node, x.LastSeen, "is silent and serves what it had; if it is gone for good: safestate proxy deregister %s --reason …", x.Node))
		}
	}
	return out
}
