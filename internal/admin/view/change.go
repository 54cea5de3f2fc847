package view

import (
	"fmt"
	"time"

	"github.com/safestate/safestate/internal/admin"
)

// Changed writes a model right after a person changed it.
func Changed(m admin.Model) string {
	var p page
	p.text("", ModelLine(m)+".")
	if m.Unpublished != "" {
		p.text("NOT PUBLISHED: ", m.Unpublished+". It is decided and written; the proxies keep what they have.")
	}
	for _, l := range m.Explanation {
		p.text("  ", l)
	}
	return p.String()
}

// Progress writes how far a change has come, as one line.
func Progress(m admin.Model) string {
	var p page
	p.line("%s UTC  %d of %s ACKed generation %d", clock(m.Now, m.Now), m.Proof.Acked, count(m.Proof.Expected, "expected proxy"), m.Proof.Generation)
	return p.String()
}

// Proof writes what became of a withdrawal that a person waited for: proven, or
// what is missing by name. waited is how long.
func Proof(m admin.Model, generation uint64, waited time.Duration) string {
	var p page
	w := m.Withdrawal
	switch {
	case m.Proven(generation) && m.Proof.Expected == 0:
		p.text("Done: ", fmt.Sprintf("generation %d is in force, and no proxy is expected to have it: none gets its configuration from here.", generation))
		return p.String()
	case m.Proven(generation):
		p.text("Proven: ", fmt.Sprintf("%s ACKed generation %d, and nothing asks %s any more.", everyProxy(m.Proof.Expected), generation, list(w.From, 3)))
		return p.String()
	case w == nil || w.Generation > generation:
		p.text("NOT PROVEN: ", fmt.Sprintf("another change took the place of generation %d.", generation))
		p.text("  ", Phase(m)+".")
		return p.String()
	}
	p.text("NOT PROVEN ", fmt.Sprintf("after %s. What was decided stands and is still being applied.", span(waited)))
	if !m.Proof.Applied {
		for _, l := range proofLines(m) {
			p.text("  ", l)
		}
		return p.String()
	}
	last := "no request was seen there since, and it is watched still"
	if !m.Proof.BadSeen.IsZero() {
		last = "it was last asked " + at(m.Proof.BadSeen, m.Now)
	}
	p.text("  ", fmt.Sprintf("Every expected proxy ACKed it; that nothing asks %s is not sure yet: %s.", list(w.From, 3), last))
	return p.String()
}

func everyProxy(n int) string {
	if n == 1 {
		return "the one expected proxy"
	}
	return fmt.Sprintf("all %d expected proxies", n)
}

// Policy writes a policy right after a person changed it.
func Policy(x admin.Policy) string {
	var p page
	text := fmt.Sprintf("%s: number %d is in force", x.Policy, x.Number)
	if x.Pinned {
		text += fmt.Sprintf(", and held whatever the file says (number %d)", x.File)
	}
	p.text("", text+".")
	return p.String()
}
