package release

import (
	"fmt"
	"time"
)

// Explain says, line by line for a person, what the model waits for: the step's
// time, requests, checks and gate, the proxies that are missing by name, the
// rail that was met. Nothing where nothing is going on.
func Explain(s State, in Input, now time.Time) []string {
	t, err := begin(s, in, now)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	t.explainKilled(say)
	if s.Degraded {
		say("degraded: no version gets traffic, the ladder answers")
		if w := s.Withdrawal; w != nil {
			say("since %s: %s", w.Decided.Format(clock), w.Reason)
		}
	}
	if r := s.Rollout; r != nil {
		say("%s: %s", r.Version, r.says(t.now))
		for _, w := range t.waits() {
			say("waits for: %s", w.text)
		}
	} else if s.Incident != nil {
		say("a common cause since %s: %s fails and so does its control", s.Incident.Since.Format(clock), s.Incident.Version)
	}
	if s.Bound != nil {
		say("held back: %s", s.Bound.Says())
	}
	t.explainStop(say)
	t.explainProof(say)
	return out
}

// explainProof says how far a withdrawal got, and which proxies are missing.
func (t *turn) explainProof(say func(string, ...any)) {
	p, w := t.in.Proof, t.s.Withdrawal
	current := p.Generation == t.s.Generation && p.Generation > 0
	if w != nil && w.Done.IsZero() {
		switch {
		case w.Acked.IsZero():
			say("%s of %s: not applied everywhere yet", w.Kind, list(w.From))
		default:
			say("%s of %s: applied, and not quiet yet", w.Kind, list(w.From))
			if current && len(p.Silent) > 0 {
				say("waits for hosts that count its requests: %s", p.silent())
			}
		}
	}
	if r := t.s.Refused; r != nil && r.Generation+1 >= t.s.Generation && t.s.Acked.Generation != r.Generation { // nobody has taken it since
		say("generation %d was refused by %s: %s", r.Generation, r.Proxy, r.Message)
	}
	if current && !p.Applied {
		if !p.Mesh {
			say("generation %d: %d of %d proxies", p.Generation, p.Acked, p.Expected)
		}
		for _, m := range p.Missing {
			say("missing: %s", line(m))
		}
	}
}
