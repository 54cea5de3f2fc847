package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
)

// line is one record, of a model, a policy or a proxy.
type line struct {
	at      time.Time
	about   string
	number  string // generation, or the policy's number
	text    string
	details func(p *page)
}

// History writes one line a record, newest first; verbose adds what each was
// decided on. now is where "ago" counts from.
func History(h admin.History, now time.Time, verbose bool) string {
	lines := make([]line, 0, len(h.Records)+len(h.Policies)+len(h.Proxies))
	for _, r := range h.Records {
		lines = append(lines, line{r.At, r.Model, fmt.Sprint(r.Generation), sentence(r), func(p *page) { p.evidence(r) }})
	}
	for _, r := range h.Policies {
		lines = append(lines, line{r.At, "policy " + r.Policy, fmt.Sprint(r.Number), policySentence(r), func(*page) {}})
	}
	for _, r := range h.Proxies {
		lines = append(lines, line{r.At, "proxy " + r.Node, "", r.Kind + because(r.By, r.Reason), func(*page) {}})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(b.at.UnixNano(), a.at.UnixNano()) })
	var p page
	if len(lines) == 0 {
		p.line("Nothing is recorded.")
		return p.String()
	}
	about := ""
	for _, l := range lines {
		if about == "" {
			about = l.about
		}
		if l.about != about {
			about = "*"
		}
	}
	if about != "*" {
		p.line("%s, newest first", about)
	}
	p.line("%-14s %8s %5s  %s", "AT (UTC)", "AGO", numbersOf(h), "WHAT")
	for _, l := range lines {
		text := l.text
		if about == "*" {
			text = l.about + ": " + text
		}
		start := fmt.Sprintf("%-14s %8s %5s  ", day(l.at, now), span(max(0, now.Sub(l.at))), l.number)
		if !verbose {
			p.line("%s%s", start, tail(clean(text), columns-len(start)))
			continue
		}
		p.text(start, text)
		l.details(&p)
	}
	return p.String()
}

// numbersOf names the numbers of a history: models have generations.
func numbersOf(h admin.History) string {
	if len(h.Records) == 0 {
		return "NO"
	}
	return "GEN"
}

// day writes a time short: without the year, or of another year the date alone.
func day(t, now time.Time) string {
	if t.UTC().Year() == now.UTC().Year() {
		return t.UTC().Format("01-02 15:04:05")
	}
	return t.UTC().Format(time.DateOnly)
}

// tail shortens a sentence at its end: the start of one says what happened.
func tail(text string, n int) string {
	if width(text) <= n {
		return text
	}
	return headOf(text, n-len(gap)) + gap
}

// sentence says what a record tells of: what happened, who did it, why.
func sentence(r release.Record) string {
	text := deed(r)
	if r.Forced {
		text += " (forced)"
	}
	return text + because(r.By, r.Reason)
}

// because says who, where that was a person, and why.
func because(by, reason string) string {
	text := ""
	if by != "" && by != release.By {
		text += " by " + by
	}
	if reason != "" {
		text += ": " + reason
	}
	return text
}

func deed(r release.Record) string {
	switch r.Kind {
	case release.KindRegistered:
		return r.Version + " registered"
	case release.KindFiles:
		return "weights of the files: " + shares(r.After)
	case release.KindStarted:
		return "rollout of " + r.Version + " started"
	case release.KindStep:
		if r.After == nil { // two steps of one weight
			return "next step of " + r.Version
		}
		return r.Version + " to " + fmt.Sprintf("%d %%", r.After[r.Version])
	case release.KindGate:
		return r.Version + " waits for a person's promote"
	case release.KindGatePassed:
		return "gate of " + r.Version + " passed"
	case release.KindPaused:
		return "rollout of " + r.Version + " paused"
	case release.KindResumed:
		return "rollout of " + r.Version + " resumed"
	case release.KindPromoted:
		return r.Version + " promoted"
	case release.KindGood:
		return r.Version + " is good"
	case release.KindAborted:
		return "rollout of " + r.Version + " aborted" + onto(r.Target)
	case release.KindRollback:
		return "ROLLBACK of " + r.Version + onto(r.Target)
	case release.KindDegraded:
		return "DEGRADED, no version is left"
	case release.KindRecovered:
		return "recovered" + onto(cmp.Or(r.Target, r.Version))
	case release.KindHoldback:
		return "holdback on " + r.Version + " ended"
	case release.KindHoldbackAgain:
		return r.Version + " has its holdback again"
	case release.KindApplied:
		if r.Reason == release.TakenByMesh {
			return "written"
		}
		return "ACKed by every expected proxy"
	case release.KindRollbackDone:
		return "rollback of " + r.Version + " proven"
	case release.KindHelped:
		return "the rollback of " + r.Version + " helped"
	case release.KindNotHelped:
		return "the rollback of " + r.Version + " did NOT help"
	case release.KindKilled:
		if r.Version == "" {
			return "KILLED"
		}
		return "KILLED: " + r.Version + onto(r.Target)
	case release.KindRevived:
		return strings.TrimSpace("revived " + r.Version)
	case release.KindAutomaticKill:
		return strings.TrimSpace("AUTOMATIC KILL " + r.Version)
	case release.KindKillHelped:
		return "the kill helped"
	case release.KindKillNotHelped:
		return "the kill did NOT help"
	case release.KindKillBound:
		return "a limit keeps safestate from killing"
	case release.KindCommonCause:
		return r.Version + " and its control fail alike"
	case release.KindCauseOver:
		return "the common cause is over"
	case release.KindBound:
		return r.Version + " FAILS and stays"
	case release.KindRefusedConfig:
		return "REFUSED by a proxy"
	case release.KindCheckError:
		return "a check of " + r.Version + " gave no value"
	}
	return strings.TrimSpace(string(r.Kind) + " " + r.Version)
}

func onto(version string) string {
	if version == "" {
		return ""
	}
	return ", back to " + version
}

func policySentence(r admin.PolicyRecord) string {
	text := r.Kind + " to number " + fmt.Sprint(r.Number)
	if r.Mode != "" {
		text += fmt.Sprintf(" (%s", r.Mode)
		if r.EnforcePercent > 0 && r.EnforcePercent < 100 {
			text += fmt.Sprintf(" %g %%", r.EnforcePercent)
		}
		text += ")"
	}
	return text + because(r.By, r.Reason)
}

// evidence adds what a record was decided on.
func (p *page) evidence(r release.Record) {
	const lead = "      "
	p.text(lead+"record   ", fmt.Sprintf("%d, %s, by %s, %s", r.Sequence, r.Kind, r.By, r.At.UTC().Format("2006-01-02 15:04:05.000Z")))
	if r.Before != nil || r.After != nil {
		p.text(lead+"weights  ", shares(r.Before)+" -> "+shares(r.After))
	}
	for _, name := range sorted(r.Evidence) {
		e := r.Evidence[name]
		text := fmt.Sprintf("%s: %s, %d bad of %d", name, e.Verdict, e.Bad, e.Requests)
		if e.ControlRequests > 0 {
			text += fmt.Sprintf(", control %d of %d", e.ControlBad, e.ControlRequests)
		}
		for _, d := range sorted(e.Detectors) {
			text += fmt.Sprintf(", %s %d", d, e.Detectors[d])
		}
		if e.Why != "" {
			text += "; " + e.Why
		}
		p.text(lead+"evidence ", text)
	}
	for _, name := range sorted(r.Checks) {
		c := r.Checks[name]
		p.text(lead+"check    ", fmt.Sprintf("%s: %s (%s)", name, c.Verdict, c.Why))
	}
	var took []string
	for _, t := range []struct {
		what string
		d    release.Duration
	}{{"decide", r.Took.Decide}, {"push", r.Took.Push}, {"ACK", r.Took.Ack}, {"empty", r.Took.Empty}, {"step", r.Took.Step}, {"rollout", r.Took.Rollout}} {
		if t.d > 0 {
			took = append(took, t.what+" "+span(time.Duration(t.d)))
		}
	}
	if len(took) > 0 {
		p.text(lead+"took     ", strings.Join(took, ", "))
	}
}
