// Package local makes the answers that need nobody: from rules, from the safe
// default, and those that say that there is none. It is what every host of the
// core says in its own words to a caller, so that callers get the same bytes from
// each.
//
// Like the core it is pure: nothing waits, connects or reads a clock.
package local

import "github.com/safestate/safestate/internal/time"

// LeastForNetwork is the time under which nobody is asked over a network for an answer:
// less than a loopback round trip under load takes. ForLocal is kept back from whoever
// is, for the rungs after it and for the way home.
const (
	LeastForNetwork = 2 * time.Millisecond
	ForLocal        = 3 * time.Millisecond
)
