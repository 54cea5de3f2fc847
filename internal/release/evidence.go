package release

import (
	"fmt"
	"slices"
	"time"
)

// fault is a version that fails, by fresh evidence.
type fault struct {
	version string
	why     string
	since   time.Time // the first bad answer
}

// faults lists the versions that fail now, by name: of those that get traffic,
// and the candidate whatever it gets.
func (t *turn) faults() []fault {
	versions := t.s.serving()
	if c := t.s.Candidate; c != "" && !slices.Contains(versions, c) {
		versions = append(versions, c)
	}
	var out []fault
	for _, v := range versions {
		if f, fails := t.fault(v); fails {
			out = append(out, f)
		}
	}
	return out
}

// fault says whether a version fails. A failure that counts no request, or does
// not say when it began, is no evidence, and one that began before a person's
// decision for the version does not undo that decision.
func (t *turn) fault(version string) (fault, bool) {
	e, since := t.in.Evidence[version], t.s.EvidenceSince(version)
	first := clean(e.FirstBad)
	if e.Verdict == Failure && e.Requests > 0 && !first.IsZero() && !first.Before(since) {
		return fault{version, orElse(e.Why, fmt.Sprintf("%d of %d answers were bad", e.Bad, e.Requests)), first}, true
	}
	if version != t.s.Candidate {
		return fault{}, false
	}
	for _, name := range t.plan.Checks {
		if c := t.s.Checks[name]; c.Failures >= checkFailures {
			why := fmt.Sprintf("check %s failed %d times in a row", name, c.Failures)
			if m := t.in.Checks[name]; m.Verdict == Failure && m.Why != "" {
				why += ": " + m.Why
			}
			return fault{version, why, c.At}, true
		}
	}
	return fault{}, false
}

func orElse(text, or string) string {
	if text == "" {
		return or
	}
	return text
}

// rate is the share of bad answers, 0 to 1; 0 of none.
func rate(bad, requests uint64) float64 {
	if requests == 0 {
		return 0
	}
	return min(1, float64(bad)/float64(requests))
}

// judged is how many requests evidence has counted since it stood at base. One
// that shows less than base was started anew, and all of it counts.
func judged(requests, base uint64) uint64 {
	if requests < base {
		return requests
	}
	return requests - base
}

// mark starts a version's evidence anew: a person decided for it.
func (t *turn) mark(version string) {
	put(&t.s.Marks, version, Mark{At: t.now, Requests: t.in.Evidence[version].Requests})
}

// follow notes where evidence was started anew, before it grows past the bases
// again. Evidence that is missing says nothing of that.
func (t *turn) follow() {
	for v, m := range t.s.Marks {
		if e, is := t.in.Evidence[v]; is && e.Requests < m.Requests {
			m.Requests = 0
			t.s.Marks[v] = m
		}
	}
	if r := t.s.Rollout; r != nil {
		if e, is := t.in.Evidence[r.Version]; is && e.Requests < r.Base {
			r.Base = 0
		}
	}
	if w := t.s.Withdrawal; w != nil && w.Helped == nil {
		if e, is := t.in.Evidence[w.To]; is && (e.Requests < w.Base || e.Bad < w.BaseBad) {
			w.Base, w.BaseBad = 0, 0
		}
	}
}

// forgive lets the counts of the checks begin at 0; what was measured by now is
// not counted again.
func (t *turn) forgive() {
	for name, streak := range t.s.Checks {
		t.s.Checks[name] = CheckStreak{At: streak.At}
	}
}

// measure counts the candidate's failed and missing measurements in a row. A
// measurement counts once, and only if it is later than a person's decision.
func (t *turn) measure() {
	if t.s.Candidate == "" {
		t.s.Checks = nil
		return
	}
	for _, name := range t.plan.Checks {
		m, streak := t.in.Checks[name], t.s.Checks[name]
		at := clean(m.At)
		if at.IsZero() || at.After(t.now) || !at.After(streak.At) || !at.After(t.s.EvidenceSince(t.s.Candidate)) {
			continue
		}
		switch m.Verdict {
		case Success:
			drop(&t.s.Checks, name)
			continue
		case Inconclusive, "":
			continue
		case Failure:
			streak.Failures, streak.Errors = streak.Failures+1, 0
		default: // what is not known is an error, never a success
			streak.Errors++
		}
		streak.At = at
		put(&t.s.Checks, name, streak)
		if streak.Errors == 1 {
			t.record(t.seen(Record{Kind: KindCheckError, Version: t.s.Candidate, Reason: "check " + name + ": " + m.Why}))
		}
		if r := t.s.Rollout; streak.Errors >= checkErrors && r != nil && r.Paused == nil {
			t.pause(By, fmt.Sprintf("check %s gave no value %d times in a row: %s", name, streak.Errors, m.Why))
		}
	}
}
