package kill

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Set is every target that was ever killed, by target. It is immutable once made,
// and so safe for concurrent use.
type Set struct {
	states map[Target]State
	order  []Target // sorted by Key
}

// NewSet is a set of states, the last of those with one target.
func NewSet(states ...State) *Set {
	s := &Set{states: make(map[Target]State, len(states))}
	for i := range states {
		s.states[states[i].Target] = states[i]
	}
	for t := range s.states {
		s.order = append(s.order, t)
	}
	slices.SortFunc(s.order, func(a, b Target) int { return cmp.Compare(a.Key(), b.Key()) })
	return s
}

// All returns the states, sorted by their targets' keys. A nil set has none.
func (s *Set) All() []State {
	if s == nil {
		return nil
	}
	out := make([]State, 0, len(s.order))
	for _, t := range s.order {
		out = append(out, s.states[t])
	}
	return out
}

// Empty reports whether nothing was ever killed. A nil set is.
func (s *Set) Empty() bool { return s == nil || len(s.states) == 0 }

// Get returns the state of a target; New of one that was never killed.
func (s *Set) Get(t Target) State {
	if s != nil {
		if state, ok := s.states[t]; ok {
			return state
		}
	}
	return New(t)
}

// Generation grows with every change of any target: the sum of their generations.
func (s *Set) Generation() uint64 {
	sum := uint64(0)
	if s != nil {
		for _, state := range s.states {
			sum += state.Generation
		}
	}
	return sum
}

// Effect is what holds for a request.
type Effect struct {
	Killed bool
	Mode   Mode   // the strictest, where Killed
	Target Target // that has it
	Since  time.Time
	// Percent is what may pass where nothing is killed: less than 100 while a
	// ramp lasts.
	Percent int
	// Next is when Percent changes; zero: it does not.
	Next time.Time
	// NotBefore is when anything that covers the request was killed or revived
	// last: an answer that was kept before is not to be given any more, after a
	// revive neither. Zero: nothing ever was.
	NotBefore time.Time
}

// Of is what holds at a time for requests on a route that go to a version of a
// model; empty: not known. Where nothing was ever killed it costs nothing.
func (s *Set) Of(route, model, version string, now time.Time) Effect {
	e := Effect{Percent: 100}
	if s.Empty() {
		return e
	}
	candidates := [4]Target{Everything, {Route, route}, {Model, model}, {Version, model + "/" + version}}
	for _, t := range candidates {
		state, ok := s.states[t]
		if !ok || !t.Covers(route, model, version) {
			continue
		}
		if state.Since.After(e.NotBefore) {
			e.NotBefore = state.Since
		}
		switch {
		case state.Killed && (!e.Killed || Stricter(e.Mode, state.Mode) != e.Mode):
			e = Effect{Killed: true, Mode: state.Mode, Target: t, Since: state.Since, NotBefore: e.NotBefore}
		case !state.Killed && !e.Killed:
			if percent, next := state.Ramp.Percent(now); percent < e.Percent {
				e.Percent, e.Next = percent, next
			}
		}
	}
	return e
}

// MarshalJSON gives the states, sorted.
func (s *Set) MarshalJSON() ([]byte, error) {
	states := s.All()
	if states == nil {
		states = []State{}
	}
	return json.Marshal(states)
}

// UnmarshalJSON is for what MarshalJSON gave. It refuses a set with a state that
// cannot be acted on: what it says may be that something is killed.
func (s *Set) UnmarshalJSON(text []byte) error {
	var states []State
	if err := json.Unmarshal(text, &states); err != nil {
		return err
	}
	for i := range states {
		if err := states[i].Validate(); err != nil {
			return fmt.Errorf("state %d: %w", i, err)
		}
	}
	*s = *NewSet(states...)
	return nil
}

// Enforced returns the set without what only people read: what hosts are told.
func (s *Set) Enforced() *Set {
	var out []State
	for _, state := range s.All() {
		if state.Generation == 0 {
			continue
		}
		out = append(out, State{
			Target: state.Target, Generation: state.Generation, Killed: state.Killed, Mode: state.Mode, Since: state.Since, Ramp: state.Ramp,
		})
	}
	return NewSet(out...)
}
