package kill

import (
	"errors"
	"fmt"
)

// ErrOlder is what Heed refuses a state with that is older than the one in force.
var ErrOlder = errors.New("older than what is in force here")

// Heed is what a host enforces that enforces ours and is told theirs, by a control
// plane that may be another one than before, or have lost what it knew. It is
// decided for each target: of two states the one of the higher generation holds; of
// one generation the one that is killed, and of two kills the stricter. So a host
// never gives back by an older word what it was told to stop; and it stops what it
// is told to, whatever else is wrong with the set. What of theirs is not taken is in
// the error, which is one of ErrOlder: the control plane has to catch up.
func Heed(ours, theirs *Set) (*Set, error) {
	states, behind := theirs.All(), []State(nil)
	have := map[Target]bool{}
	for i := range states {
		t := states[i].Target
		have[t] = true
		if own := ours.Get(t); holds(own, states[i]) {
			behind = append(behind, states[i])
			states[i] = own
		}
	}
	for _, own := range ours.All() {
		if !have[own.Target] {
			states, behind = append(states, own), append(behind, New(own.Target))
		}
	}
	if len(behind) == 0 {
		return NewSet(states...), nil
	}
	merged := NewSet(states...)
	first := behind[0]
	own := merged.Get(first.Target)
	err := fmt.Errorf("%w: %s is at generation %d (%s), and this says %d (%s)", ErrOlder,
		first.Target, own.Generation, stateWord(own), first.Generation, stateWord(first))
	if len(behind) > 1 {
		err = fmt.Errorf("%w; and so are %d more", err, len(behind)-1)
	}
	return merged, err
}

// holds reports whether a state stays in force against another one of its target.
func holds(own, other State) bool {
	switch {
	case own.Generation != other.Generation:
		return own.Generation > other.Generation
	case own.Killed != other.Killed:
		return own.Killed
	}
	return own.Killed && own.Mode != other.Mode && Stricter(own.Mode, other.Mode) == own.Mode
}

func stateWord(s State) string {
	switch {
	case s.Killed:
		return "killed, " + string(s.Mode)
	case s.Generation == 0:
		return "never killed"
	default:
		return "not killed"
	}
}
