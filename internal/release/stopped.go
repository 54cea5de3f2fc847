package release

import "fmt"

// stopped follows the last automatic kill: whether it was carried out, whether it
// helped, and until when that is told.
func (t *turn) stopped() {
	s, k := &t.s, t.s.Stop
	if k == nil {
		return
	}
	holds := t.holds(k)
	switch {
	case k.Seen.IsZero() && holds:
		k.Seen = t.now
	case k.Seen.IsZero() && k.Pending(t.now):
		t.at(k.At.Add(StopFor))
		return
	case !holds: // it was not carried out in time, or a person has decided otherwise
		s.Stop = nil
		return
	}
	if k.Helped != nil {
		return
	}
	due, a := k.Seen.Add(helpAfter), t.in.Aftermath
	if since := clean(a.Since); a.ID == k.ID && since.After(k.Seen) { // who leads now counts since then
		due = since.Add(helpAfter)
	}
	switch {
	case t.now.Before(due):
		t.at(due)
	case a.ID == k.ID:
		t.judgeStop(k, a)
	}
}

// holds says whether what an automatic kill is about is killed, by whomever.
func (t *turn) holds(k *Stop) bool {
	if t.in.Killed.Whole != nil {
		return true
	}
	for _, v := range k.Versions {
		if _, is := t.killed(v); !is {
			return false
		}
	}
	return len(k.Versions) > 0
}

// judgeStop says whether an automatic kill helped: what was killed is asked no more,
// and of what is not killed less than half as many answers are bad.
func (t *turn) judgeStop(k *Stop, a Aftermath) {
	k.After = rate(a.Bad, a.Requests)
	what, helped := t.what(k.Versions), false
	ladder := fmt.Sprintf("the ladder answered %d requests", a.Fallbacks)
	others := fmt.Sprintf("%.3g %% of answers bad before, %.3g %% of %d of the others since", 100*k.Rate, 100*k.After, a.Requests)
	switch {
	case a.Asked > 0:
		k.Result = fmt.Sprintf("%s was asked %d times since: some proxy serves it still, a person is needed", what, a.Asked)
	case len(k.Versions) == 0 || a.Requests == 0:
		helped, k.Result = true, what+" is asked no more; "+ladder
	case !(k.After < k.Rate/2):
		k.Result = others + ": the cause is likely elsewhere, a person is needed"
	default:
		helped, k.Result = true, what+" is asked no more; "+others+"; "+ladder
	}
	k.Helped, k.Result = &helped, line(k.Result)
	r := Record{Kind: KindKillHelped, Version: list(k.Versions), Reason: k.Result, Took: Took{Push: between(k.At, k.Seen)}}
	if !helped {
		r.Kind = KindKillNotHelped
	}
	t.record(t.seen(r, t.s.serving()...))
}

// explainStop says what safestate kills by itself, or would.
func (t *turn) explainStop(say func(string, ...any)) {
	if k := t.s.Stop; k != nil {
		say("%s was killed by itself at %s: %s", t.what(k.Versions), k.At.Format(clock), k.Reason)
		if k.Result != "" {
			say("since then: %s", k.Result)
		}
	}
	if b := t.s.KillBound; b != nil && t.now.Before(b.Until) {
		say("held back: %s", b.SaysOfKill())
	}
}
