package view

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
)

// Status writes how everything is: first whether all is well in one sentence,
// then what is not, then the rest.
func Status(s admin.Status) string {
	var p page
	p.text("", headline(s))
	p.line("%s UTC, by %s", s.Now.UTC().Format(time.DateTime), s.Replica)
	if len(s.Troubles) > 0 {
		p.blank()
	}
	for _, t := range s.Troubles {
		p.trouble(t, s.Now)
	}
	p.models(s.Models, s.Now)
	p.proxies(s.Proxies, s.Now)
	p.policies(s.Policies, s.Now)
	p.blank()
	p.own(s)
	return p.String()
}

// StatusLine writes a status as one line, which changes when something does.
func StatusLine(s admin.Status) string {
	text := headline(s)
	for i := range s.Models {
		m := &s.Models[i]
		text += fmt.Sprintf(" | %s %s %s", m.Model, m.Phase, weights(m.Versions))
	}
	return clean(text)
}

func headline(s admin.Status) string {
	problems := 0
	for _, t := range s.Troubles {
		if t.Level == admin.LevelProblem {
			problems++
		}
	}
	notices := len(s.Troubles) - problems
	if problems == 0 {
		text := fmt.Sprintf("All is well: %s, %d of %s up to date", count(len(s.Models), "model"), s.Proxies.Acked, count(s.Proxies.Expected, "proxy"))
		if notices > 0 {
			text += "; " + count(notices, "notice")
		}
		return text + "."
	}
	text := "NOT WELL: " + count(problems, "problem")
	if notices > 0 {
		text += ", " + count(notices, "notice")
	}
	return text + "."
}

// trouble adds one: "!" before a problem, "-" before a notice.
func (p *page) trouble(t admin.Trouble, now time.Time) {
	sign := "- "
	if t.Level == admin.LevelProblem {
		sign = "! "
	}
	about := clean(t.About)
	if !t.Since.IsZero() {
		about += ", " + at(t.Since, now)
	}
	p.text(sign, cut(about, columns-2))
	p.text("  ", t.What)
}

func (p *page) models(models []admin.Model, now time.Time) {
	p.blank()
	if len(models) == 0 {
		p.line("MODELS     none")
		return
	}
	rows := make([][]string, 0, len(models))
	for i := range models {
		m := &models[i]
		rows = append(rows, []string{m.Model, fmt.Sprint(m.Generation), string(m.Phase), ago(m.Changed, now), weights(m.Versions)})
	}
	p.table("", []int{28, 6, 8, 11, 0}, []string{"MODEL", "GEN", "PHASE", "SINCE", "WEIGHTS"}, rows)
	for i := range models {
		m := &models[i]
		if len(m.Explanation) == 0 && m.Last == nil {
			continue
		}
		p.blank()
		p.line("%s", m.Model)
		lead := "  now      "
		for _, l := range m.Explanation {
			p.text(lead, l)
			lead = strings.Repeat(" ", len(lead))
		}
		if m.Last != nil {
			p.text("  last     ", at(m.Last.At, now)+": "+sentence(*m.Last))
		}
	}
}

// weights writes who has how much: "v1 90 %, v2 10 %".
func weights(versions []admin.Version) string {
	by := make(map[string]int, len(versions))
	for _, v := range versions {
		by[v.Name] = v.Weight
	}
	return shares(by)
}

// shares are weights by version, the largest first.
func shares(weights map[string]int) string {
	with := slices.DeleteFunc(sorted(weights), func(v string) bool { return weights[v] == 0 })
	slices.SortStableFunc(with, func(a, b string) int { return weights[b] - weights[a] })
	for i, v := range with {
		with[i] = fmt.Sprintf("%s %d %%", cut(clean(v), 20), weights[v])
	}
	if len(with) == 0 {
		return "none"
	}
	return strings.Join(with, ", ")
}

func stepText(r *release.Rollout) string {
	if r.Step >= len(r.Steps) || r.Step < 0 {
		return "of " + r.Version
	}
	return fmt.Sprintf("of %s: step %d of %d (%d %%)", r.Version, r.Step+1, len(r.Steps), r.Weight())
}

func (p *page) proxies(x admin.Proxies, now time.Time) {
	p.blank()
	p.line("PROXIES    %d expected: %d up to date, %d silent, %d refused", x.Expected, x.Acked, len(x.Silent), len(x.Refused))
	behind := 0
	for i := range x.Proxies {
		y := &x.Proxies[i]
		switch y.State {
		case admin.ProxySilent:
			p.line("  %s  silent, last seen %s", cut(clean(y.Node), 36), at(y.LastSeen, now))
		case admin.ProxyRefused:
			p.line("  %s  refused", cut(clean(y.Node), 36))
			p.text("    ", y.Message)
		case admin.ProxyBehind:
			behind++
		}
	}
	if behind > 0 {
		p.line("  %s on the way to the newest configuration", count(behind, "proxy"))
	}
}

func (p *page) policies(policies []admin.Policy, now time.Time) {
	p.blank()
	if len(policies) == 0 {
		p.line("POLICIES   none")
		return
	}
	rows := make([][]string, 0, len(policies))
	for i := range policies {
		x := &policies[i]
		mode := x.Mode
		if x.Mode == "Enforce" && x.EnforcePercent < 100 {
			mode = fmt.Sprintf("Enforce %g %%", x.EnforcePercent)
		}
		pinned := ""
		switch {
		case x.Gone:
			pinned = "not in the files"
		case x.Pinned:
			pinned = fmt.Sprintf("held (file: %d)", x.File)
		}
		rows = append(rows, []string{x.Policy, fmt.Sprint(x.Number), ago(x.Since, now), mode, fmt.Sprintf("%d/%d", x.Observed, x.Enforced), pinned})
	}
	p.table("", []int{24, 6, 11, 12, 12, 0}, []string{"POLICY", "NUMBER", "SINCE", "MODE", "OBS/ENF", ""}, rows)
}

// own adds how the control plane itself is.
func (p *page) own(s admin.Status) {
	leader := "none"
	switch {
	case s.Leader.Self:
		leader = s.Leader.Replica + " (this replica)"
	case s.Leader.Replica != "":
		leader = s.Leader.Replica
	}
	p.block("LEADER", []string{leader})
	well := "answers"
	if !s.Store.Well {
		well = "NOT WELL since " + at(s.Store.Since, s.Now) + ": " + s.Store.Problem
	}
	p.block("STORE", []string{s.Store.Engine + ", " + well})
	files := "read " + at(s.Configuration.Applied, s.Now)
	if n := len(s.Configuration.Problems); n > 0 {
		files += "; since then they have " + count(n, "mistake") + ":"
	}
	p.block("FILES", []string{files})
	for _, problem := range s.Configuration.Problems {
		p.text("  ", problem)
	}
	p.block("BUILD", []string{s.Build})
}
