package release

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// turn is one call of Advance or Apply: a copy of the state that may be
// changed, and what it is changed by.
type turn struct {
	s    State
	in   Input
	plan Plan
	now  time.Time
	wake time.Time
}

// begin refuses a state that is not valid and a time that is none.
func begin(s State, in Input, now time.Time) (*turn, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if now = clean(now); now.IsZero() {
		return nil, errors.New("the present time is not known")
	}
	if _, unnamed := in.Versions[""]; unnamed {
		in.Versions = maps.Clone(in.Versions)
		delete(in.Versions, "")
	}
	return &turn{s: s.clone(), in: in, plan: in.Plan.withDefaults(), now: now}, nil
}

// again is the turn after this one, of what this one has made.
func (t *turn) again() *turn {
	return &turn{s: t.s.clone(), in: t.in, plan: t.plan, now: t.now}
}

// clone copies all that a turn changes. Records and steps are never changed.
func (s State) clone() State {
	s.Weights = maps.Clone(s.Weights)
	s.Rollout = copied(s.Rollout)
	if s.Rollout != nil {
		s.Rollout.Paused = copied(s.Rollout.Paused)
	}
	s.Withdrawal = copied(s.Withdrawal)
	s.Versions = maps.Clone(s.Versions)
	s.Good = slices.Clone(s.Good)
	s.Condemned = maps.Clone(s.Condemned)
	s.Marks = maps.Clone(s.Marks)
	s.Holds = maps.Clone(s.Holds)
	s.Checks = maps.Clone(s.Checks)
	s.Automatic = slices.Clone(s.Automatic)
	s.Incident = copied(s.Incident)
	s.Bound = copied(s.Bound)
	s.Suspended = copied(s.Suspended)
	s.Taken = maps.Clone(s.Taken)
	s.Kills = slices.Clone(s.Kills)
	s.Stop = copied(s.Stop)
	s.KillBound = copied(s.KillBound)
	s.Outbox = slices.Clip(s.Outbox)
	return s
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// put sets a key of a map that may be nil.
func put[V any](m *map[string]V, key string, value V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = value
}

// drop removes a key; an empty map becomes nil, as it does in JSON.
func drop[V any](m *map[string]V, key string) {
	delete(*m, key)
	if len(*m) == 0 {
		*m = nil
	}
}

// at asks to be called again at a time.
func (t *turn) at(when time.Time) {
	if when.After(t.now) && (t.wake.IsZero() || when.Before(t.wake)) {
		t.wake = when
	}
}

// record numbers a record, dates it and puts it into the outbox.
func (t *turn) record(r Record) {
	t.s.Sequence++
	r.Sequence, r.Generation, r.At, r.Model = t.s.Sequence, t.s.Generation, t.now, t.s.Model
	if r.By == "" {
		r.By = By
	}
	r.Reason = line(r.Reason)
	t.s.Outbox = append(t.s.Outbox, r)
}

// changedWeights fills in what the weights were and are, of the versions that
// had or have some.
func (t *turn) changedWeights(r Record, before map[string]int) Record {
	after := t.s.Weights
	if sameWeights(before, after) {
		return r
	}
	for v, weight := range before {
		if weight > 0 || after[v] > 0 {
			put(&r.Before, v, weight)
		}
	}
	for v, weight := range after {
		if weight > 0 || before[v] > 0 {
			put(&r.After, v, weight)
		}
	}
	return r
}

// seen is the evidence and the checks for a record: of the versions named, as
// far as there is any, and what JSON can hold of it.
func (t *turn) seen(r Record, versions ...string) Record {
	for _, v := range versions {
		e, ok := t.in.Evidence[v]
		if !ok {
			continue
		}
		e.Why, e.FirstBad = line(e.Why), clean(e.FirstBad)
		if !(e.Rate >= 0 && e.Rate <= 1) {
			e.Rate = 0
		}
		if !(math.Abs(e.LogE) <= math.MaxFloat64) {
			e.LogE = 0
		}
		e.Detectors = maps.Clone(e.Detectors)
		put(&r.Evidence, v, e)
	}
	for _, name := range t.plan.Checks {
		if c, ok := t.in.Checks[name]; ok {
			c.Why, c.At = line(c.Why), clean(c.At)
			put(&r.Checks, name, c)
		}
	}
	return r
}

// clock is how a time is said to a person who has today in mind.
const clock = "15:04:05Z"

// maxLine bounds a text that comes from elsewhere, in bytes.
const maxLine = 1024

// line makes a text from elsewhere one that a record can hold.
func line(text string) string {
	return cut(strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " "), maxLine)
}

// cut shortens a text to so many bytes.
func cut(text string, most int) string {
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// The range of times that mean anything here, and that JSON can write.
var (
	earliest = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)
)

func sane(at time.Time) bool {
	return at.IsZero() || !at.Before(earliest) && !at.After(latest)
}

// clean makes a time one that survives JSON; zero where it means nothing.
func clean(at time.Time) time.Time {
	if at.IsZero() || !sane(at) {
		return time.Time{}
	}
	return at.UTC().Round(0)
}
