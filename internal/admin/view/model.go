package view

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
)

// Model writes how one model stands: in one sentence, then what goes on and what
// it waits for, its steps, its versions, and who has the newest weights.
func Model(m admin.Model) string {
	var p page
	p.text("", Phase(m)+".")
	p.line("%s UTC, %s", m.Now.UTC().Format(time.DateTime), generation(m))
	if m.Unpublished != "" {
		p.text("NOT PUBLISHED: ", m.Unpublished)
	}
	p.blank()
	if len(m.Explanation) > 0 {
		p.block("NOW", m.Explanation)
		p.blank()
	}
	if m.Rollout != nil {
		p.rollout(m.Rollout, m.Now)
		p.blank()
	}
	p.versions(m)
	p.blank()
	p.checks(m.Checks)
	p.withdrawal(m)
	p.block("PROOF", proofLines(m))
	drift := make([]string, len(m.Drift))
	for i, d := range m.Drift {
		drift[i] = fmt.Sprintf("%s has %d %%, by the files %d %%", d.Version, d.Release, d.Files)
	}
	p.block("DRIFT", drift)
	if m.Last != nil {
		p.block("LAST", []string{at(m.Last.At, m.Now) + ": " + sentence(*m.Last)})
	}
	return p.String()
}

// Phase says in one line where a model is.
func Phase(m admin.Model) string {
	name, r := clean(m.Model), m.Rollout
	switch {
	case m.Gone:
		return name + " is not in the files any more"
	case m.Degraded:
		return name + " is DEGRADED: no version gets traffic, the ladder answers"
	case m.Bound != nil:
		return fmt.Sprintf("%s: %s FAILS and stays, its rollback is held back by %s", name, clean(m.Bound.Version), m.Bound.Rail)
	case r != nil && r.Paused != nil:
		return fmt.Sprintf("%s: the rollout %s is paused by %s", name, clean(stepText(r)), clean(r.Paused.By))
	case m.Phase == release.PhaseGate:
		return fmt.Sprintf("%s: the rollout %s waits for a person", name, clean(stepText(r)))
	case r != nil:
		return fmt.Sprintf("%s: rollout %s", name, clean(stepText(r)))
	case m.Withdrawal != nil && m.Withdrawal.Done.IsZero():
		return fmt.Sprintf("%s: %s has the traffic; that %s has none is NOT PROVEN yet", name, clean(m.Stable), clean(list(m.Withdrawal.From, 3)))
	case m.Phase == release.PhasePromoted:
		return fmt.Sprintf("%s: %s is promoted and watched%s", name, clean(m.Candidate), against(m.Stable))
	case m.Phase == release.PhaseFiles:
		return name + ": the weights are those of the files"
	}
	return fmt.Sprintf("%s: %s has the traffic", name, clean(m.Stable))
}

func generation(m admin.Model) string {
	if m.Changed.IsZero() {
		return "no weights yet"
	}
	return fmt.Sprintf("generation %d since %s", m.Generation, at(m.Changed, m.Now))
}

// against is what a promoted version is held against; one that ended a degraded
// state has nothing.
func against(stable string) string {
	if stable == "" {
		return ", with no other beside it"
	}
	return " against " + clean(stable)
}

// ModelLine writes a model as one line, which changes when something does.
func ModelLine(m admin.Model) string {
	text := fmt.Sprintf("%s; generation %d: %s", Phase(m), m.Generation, weights(m.Versions))
	if x := m.Proof; x.Generation == m.Generation && x.Expected > 0 {
		text += fmt.Sprintf("; %d of %d proxies", x.Acked, x.Expected)
	}
	return clean(text)
}

func (p *page) rollout(r *release.Rollout, now time.Time) {
	rows := make([][]string, 0, len(r.Steps))
	for i, s := range r.Steps {
		state := ""
		switch {
		case i < r.Step:
			state = "done"
		case i == r.Step:
			state = "runs, began " + at(r.Since, now)
		}
		gate := ""
		if s.Gate {
			gate = "gate"
		}
		requests, least := "", ""
		if s.MinRequests > 0 {
			requests = fmt.Sprint(s.MinRequests)
		}
		if s.Duration > 0 {
			least = span(time.Duration(s.Duration))
		}
		rows = append(rows, []string{fmt.Sprint(i + 1), fmt.Sprintf("%d %%", s.Weight), least, requests, gate, state})
	}
	p.table("", []int{4, 6, 8, 10, 4, 0}, []string{"STEP", "WEIGHT", "TIME", "REQUESTS", "GATE", ""}, rows)
	p.text("started ", fmt.Sprintf("%s by %s: %s", at(r.Started, now), r.By, r.Reason))
	if x := r.Paused; x != nil {
		why := ""
		if x.Reason != "" {
			why = ": " + x.Reason
		}
		p.text("paused  ", fmt.Sprintf("%s by %s%s", at(x.At, now), x.By, why))
	}
}

func (p *page) versions(m admin.Model) {
	rows := make([][]string, 0, len(m.Versions))
	for _, v := range m.Versions {
		requests, bad, verdict := "", "", ""
		if e := v.Evidence; e != nil {
			requests, verdict = fmt.Sprint(e.Requests), string(e.Verdict)
			bad = badText(e.Bad, e.Requests)
		}
		rows = append(rows, []string{v.Name, v.Role, fmt.Sprintf("%d %%", v.Weight), readiness(v), requests, bad, verdict})
	}
	p.table("", []int{20, 9, 6, 9, 9, 14, 0}, []string{"VERSION", "ROLE", "WEIGHT", "READY", "REQUESTS", "BAD", "VERDICT"}, rows)
	for _, v := range m.Versions {
		lead := "  " + cut(clean(v.Name), 20) + "  "
		if e := v.Evidence; e != nil && e.Why != "" {
			p.text(lead, e.Why)
		}
		if c := v.Condemned; c != nil {
			p.text(lead, fmt.Sprintf("condemned %s by %s: %s", at(c.At, m.Now), c.By, c.Reason))
		}
		if h := v.Hold; h != nil && h.Until.After(m.Now) {
			p.text(lead, fmt.Sprintf("held by %s: not rolled back by itself before %s", h.By, at(h.Until, m.Now)))
		}
	}
}

func readiness(v admin.Version) string {
	switch {
	case v.Gone:
		return "not there"
	case v.Ready == nil:
		return "unknown"
	case *v.Ready:
		return "yes"
	}
	return "NO"
}

func badText(bad, requests uint64) string {
	if bad == 0 || requests == 0 {
		return fmt.Sprint(bad)
	}
	return fmt.Sprintf("%d (%.2g %%)", bad, 100*float64(bad)/float64(requests))
}

func (p *page) checks(checks map[string]release.CheckResult) {
	if len(checks) == 0 {
		return
	}
	for _, name := range sorted(checks) {
		c := checks[name]
		p.text("CHECK      ", fmt.Sprintf("%s: %s (%s)", name, c.Verdict, c.Why))
	}
}

// withdrawal adds the last rollback or abort, with what it waits for.
func (p *page) withdrawal(m admin.Model) {
	w := m.Withdrawal
	if w == nil {
		return
	}
	lines := []string{fmt.Sprintf("%s of %s%s, decided %s by %s", noun(w.Kind), strings.Join(w.From, ", "), to(w.To), at(w.Decided, m.Now), w.By)}
	if w.Reason != "" {
		lines = append(lines, "why: "+w.Reason)
	}
	var times []string
	for _, t := range []struct {
		what string
		at   time.Time
	}{{"first bad", w.FirstBad}, {"decided", w.Decided}, {"pushed", w.Pushed}, {"ACKed by all", w.Acked}, {"proven", w.Done}} {
		if !t.at.IsZero() {
			times = append(times, t.what+" "+t.at.UTC().Format("15:04:05.000"))
		}
	}
	lines = append(lines, strings.Join(times, ", "))
	if w.Helped != nil {
		helped := "it helped"
		if !*w.Helped {
			helped = "it did NOT help"
		}
		lines = append(lines, fmt.Sprintf("%s: %.2g %% bad before, %.2g %% after", helped, 100*w.Rate, 100*w.After))
	}
	p.block("WITHDRAWN", lines)
}

func noun(k release.Kind) string {
	switch k {
	case release.KindAborted:
		return "abort"
	case release.KindRecovered:
		return "recovery"
	}
	return string(k)
}

func to(version string) string {
	if version == "" {
		return " to the ladder"
	}
	return " to " + version
}

// proofLines say which proxies have the newest weights, and name the others.
func proofLines(m admin.Model) []string {
	x := m.Proof
	switch {
	case x.Generation != m.Generation:
		return []string{fmt.Sprintf("generation %d was not pushed yet", m.Generation)}
	case x.Applied:
		return []string{fmt.Sprintf("%d of %s ACKed generation %d", x.Acked, count(x.Expected, "expected proxy"), x.Generation)}
	}
	lines := []string{fmt.Sprintf("%d of %s ACKed generation %d; missing:", x.Acked, count(x.Expected, "expected proxy"), x.Generation)}
	return append(lines, x.Missing...)
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
