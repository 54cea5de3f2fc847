package killstore

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// The model of one target, as the store has it.
//
// A kill that is in the store, and a revive, happen at one moment between call and
// return; and so does the look that a refused revive is decided on. A kill that one
// replica took alone comes to the store at some later moment, by a merge: it holds
// then, whatever was before, and the generation may grow by more than one. What
// nobody knows the outcome of happened at some moment, or never.

// event is what may have happened to a target.
type event int

const (
	killed       event = iota // Generation: what the answer told, at least the kill's own
	merged                    // a kill that one replica took alone reached the store
	revived                   // of the generation Expect
	maybeRevived              // as revived, or not at all
	found                     // the target is at Generation, and Alive or not
)

// step is one event of a history.
type step struct {
	Event      event
	Expect     uint64
	Generation uint64
	Alive      bool
}

// standing is a state of the model: the generation lies within bounds, since a merge
// leaves it open by how much it grows.
type standing struct {
	low, high uint64
	alive     bool
	merged    bool // by the event before
}

func (s standing) String() string {
	word := "killed"
	if s.alive {
		word = "alive"
	}
	return fmt.Sprintf("%s at %d to %d", word, s.low, s.high)
}

const unbounded = math.MaxUint64 / 2 // so that it can grow

// next are the states that may follow; none: the event cannot have happened here.
func (s standing) next(e step) []standing {
	switch e.Event {
	case killed:
		if s.low+1 > e.Generation {
			return nil
		}
		return []standing{{low: s.low + 1, high: min(s.high+1, e.Generation)}}
	case merged:
		low := s.low + 1
		if s.merged {
			low = s.low // several that were taken alone may come as one
		}
		return []standing{{low: low, high: unbounded, merged: true}}
	case revived:
		if s.alive || e.Expect < s.low || e.Expect > s.high {
			return nil
		}
		return []standing{{low: e.Expect + 1, high: e.Expect + 1, alive: true}}
	case maybeRevived:
		e.Event = revived
		return append(s.next(e), s)
	case found:
		if s.alive != e.Alive || e.Generation < s.low || e.Generation > s.high {
			return nil
		}
		return []standing{{low: e.Generation, high: e.Generation, alive: e.Alive}}
	}
	return nil
}

var model = porcupine.NondeterministicModel{
	Init: func() []any { return []any{standing{alive: true}} },
	Step: func(state, input, _ any) (out []any) {
		for _, s := range state.(standing).next(input.(step)) {
			out = append(out, s)
		}
		return out
	},
	DescribeOperation: func(input, _ any) string { return fmt.Sprintf("%+v", input) },
	DescribeState:     func(state any) string { return fmt.Sprint(state) },
}

// happened is one event between two moments.
func happened(e step, from, to time.Duration) porcupine.Operation {
	return porcupine.Operation{Input: e, Call: int64(from), Return: int64(to)}
}

// never is later than anything.
const never = time.Duration(math.MaxInt64)

// history makes of what clients know of a target what may have happened to it. Taken
// says when an order was found in the store; one that is not there never was.
func history(ops []operation, taken map[string]time.Duration) (out []porcupine.Operation) {
	for _, op := range ops {
		at, in := taken[op.ID]
		switch {
		case op.Outcome == nothing, op.Do == doLook:
		case op.Do == doKill && op.Outcome == inStore:
			out = append(out, happened(step{Event: killed, Generation: op.Generation}, op.Call, op.Return))
		case op.Do == doKill && in:
			out = append(out, happened(step{Event: merged}, op.Call, at))
		case op.Do == doKill:
		case op.Outcome == inStore:
			out = append(out, happened(step{Event: revived, Expect: op.Expect}, op.Call, op.Return))
		case op.Outcome == refused && !besideMerge(op, ops, taken):
			out = append(out, happened(step{Event: found, Generation: op.Generation, Alive: op.Alive}, op.Call, op.Return))
		case op.Outcome == unknown:
			out = append(out, happened(step{Event: maybeRevived, Expect: op.Expect}, op.Call, never))
		}
	}
	return out
}

// besideMerge reports whether a revive was refused by a replica that may have had a
// kill which the store had not: what it saw is then ahead of the store.
func besideMerge(revive operation, ops []operation, taken map[string]time.Duration) bool {
	for _, op := range ops {
		if op.Do != doKill || op.Replica != revive.Replica || op.Outcome == inStore || op.Outcome == nothing || op.Call > revive.Return {
			continue
		}
		if at, in := taken[op.ID]; !in || at >= revive.Call {
			return true
		}
	}
	return false
}

// TestModel holds the model against histories of which it is plain what they are.
func TestModel(t *testing.T) {
	const s = time.Second
	for name, test := range map[string]struct {
		history []porcupine.Operation
		want    porcupine.CheckResult
	}{
		"kill and revive": {[]porcupine.Operation{
			happened(step{Event: killed, Generation: 1}, 0, s),
			happened(step{Event: revived, Expect: 1}, 2*s, 3*s),
			happened(step{Event: found, Generation: 2, Alive: true}, 4*s, 5*s),
		}, porcupine.Ok},
		"a kill that is gone": {[]porcupine.Operation{
			happened(step{Event: killed, Generation: 1}, 0, s),
			happened(step{Event: revived, Expect: 1}, 2*s, 3*s),
			happened(step{Event: killed, Generation: 3}, 4*s, 5*s),
			happened(step{Event: found, Generation: 2, Alive: true}, 6*s, 7*s),
		}, porcupine.Illegal},
		"one generation of two kills": {[]porcupine.Operation{
			happened(step{Event: killed, Generation: 1}, 0, s),
			happened(step{Event: killed, Generation: 1}, 0, s),
		}, porcupine.Illegal},
		"a revive that knew less": {[]porcupine.Operation{
			happened(step{Event: killed, Generation: 1}, 0, s),
			happened(step{Event: killed, Generation: 2}, 2*s, 3*s),
			happened(step{Event: revived, Expect: 1}, 4*s, 5*s),
		}, porcupine.Illegal},
		"a refusal by an old view": {[]porcupine.Operation{
			happened(step{Event: killed, Generation: 1}, 0, s),
			happened(step{Event: killed, Generation: 2}, 2*s, 3*s),
			happened(step{Event: found, Generation: 1}, 4*s, 5*s),
		}, porcupine.Illegal},
		"two revives of one generation": {[]porcupine.Operation{
			happened(step{Event: killed, Generation: 1}, 0, s),
			happened(step{Event: revived, Expect: 1}, 2*s, 3*s),
			happened(step{Event: revived, Expect: 1}, 2*s, 3*s),
		}, porcupine.Illegal},
		"a kill alone comes after the revive": {[]porcupine.Operation{
			happened(step{Event: killed, Generation: 1}, 0, s),
			happened(step{Event: merged}, 2*s, 7*s),
			happened(step{Event: merged}, 2*s, 7*s),
			happened(step{Event: revived, Expect: 1}, 3*s, 4*s),
			happened(step{Event: found, Generation: 3}, 6*s, 7*s),
		}, porcupine.Ok},
		"a kill alone that did not hold": {[]porcupine.Operation{
			happened(step{Event: killed, Generation: 1}, 0, s),
			happened(step{Event: merged}, 2*s, 7*s),
			happened(step{Event: revived, Expect: 1}, 3*s, 4*s),
			happened(step{Event: found, Generation: 2, Alive: true}, 8*s, 9*s),
		}, porcupine.Illegal},
		"a revive of which nobody knows": {[]porcupine.Operation{
			happened(step{Event: killed, Generation: 1}, 0, s),
			happened(step{Event: maybeRevived, Expect: 1}, 2*s, never),
			happened(step{Event: found, Generation: 1}, 3*s, 4*s),
			happened(step{Event: found, Generation: 2, Alive: true}, 5*s, 6*s),
		}, porcupine.Ok},
	} {
		if got := porcupine.CheckOperationsTimeout(model.ToModel(), test.history, 0); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}
