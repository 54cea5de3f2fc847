package view

import (
	"fmt"
	"slices"
	"time"

	"github.com/safestate/safestate/internal/admin"
)

// Killed writes what a kill did.
func Killed(k admin.Killed) string {
	var p page
	p.line("KILLED %s, mode %s, generation %d, durable in: %s.", k.State.Target, k.State.Mode, k.State.Generation, k.Durability)
	if k.Warning != "" {
		p.text("! ", k.Warning)
	}
	return p.String()
}

// Revived writes what a revive, or its approval, did.
func Revived(s admin.KillState) string {
	var p page
	switch a := s.Asked; {
	case a != nil:
		p.text("", fmt.Sprintf("STILL KILLED: %s, generation %d. %s asked to revive it: a second person has to approve.", s.Target, s.Generation, a.By))
		p.line("  safestate approve %s --generation %d --ask %d --reason \"…\"", s.Target, s.Generation, a.Number)
	case s.Killed:
		p.line("STILL KILLED: %s, generation %d.", s.Target, s.Generation)
	case s.Percent < 100:
		p.line("REVIVED %s, generation %d: %d %% of its traffic for a start.", s.Target, s.Generation, s.Percent)
	default:
		p.line("REVIVED %s, generation %d.", s.Target, s.Generation)
	}
	return p.String()
}

// mostRows is how many proven proxies are listed: those that are not are all
// there.
const mostRows = 20

// KillProof writes the table of a proof, and after it whether it is one.
func KillProof(k admin.KillProof, took time.Duration) string {
	var p page
	var rows [][]string
	proven := 0
	for _, r := range k.Rows {
		if r.State == admin.StepProven {
			if proven++; proven > mostRows {
				continue
			}
		}
		how := r.How
		if r.InFlight > 0 {
			how = fmt.Sprintf("%d in flight; %s", r.InFlight, how)
		}
		rows = append(rows, []string{r.Node, r.Kind, string(r.State), how})
	}
	if len(rows) > 0 {
		p.table("", []int{24, 9, 8, 0}, []string{"NODE", "KIND", "STATE", "HOW"}, rows)
	}
	if proven > mostRows {
		p.line("and %d more that are proven", proven-mostRows)
	}
	state := "revived"
	if k.State.Killed {
		state = "killed"
	}
	switch {
	case k.Expected == 0:
		p.line("%s is %s; no proxy is expected, so nothing can be proven.", k.State.Target, state)
	case k.Complete && !slices.ContainsFunc(k.Rows, func(r admin.KillRow) bool { return r.Kind == "proxy" }):
		p.line("PROVEN: %s is %s at %d of %d, after %s.", k.State.Target, state, k.Proven, k.Expected, took.Round(time.Millisecond))
		p.line("All are processors: no proxy is expected, and so none is proven.")
	case k.Complete:
		p.line("PROVEN: %s is %s at %d of %d, after %s.", k.State.Target, state, k.Proven, k.Expected, took.Round(time.Millisecond))
	default:
		p.line("NOT PROVEN after %s: %d of %d. The others may still serve what is %s:", took.Round(time.Millisecond), k.Proven, k.Expected, state)
		for _, r := range k.Rows {
			if r.State != admin.StepProven {
				p.text("  ", r.Node+": "+string(r.State)+"; "+r.How)
			}
		}
	}
	return p.String()
}

// KillProgress writes a proof in one line, which changes when something does.
func KillProgress(k admin.KillProof) string {
	counts := map[admin.KillStep]int{}
	for _, r := range k.Rows {
		counts[r.State]++
	}
	text := fmt.Sprintf("proven %d of %d", k.Proven, k.Expected)
	for _, step := range []admin.KillStep{admin.StepAcked, admin.StepPushed, admin.StepRefused, admin.StepSilent} {
		if counts[step] > 0 {
			text += fmt.Sprintf(", %d %s", counts[step], step)
		}
	}
	return clean(text) + "\n"
}
