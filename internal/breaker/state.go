package breaker

import "github.com/safestate/safestate/internal/time"

// State is where a breaker stands. The zero value is Closed.
type State uint8

// The states.
const (
	Closed State = iota
	Open
	HalfOpen
)

// States lists every state, for metrics.
var States = []State{Closed, Open, HalfOpen}

// String returns the state's label: closed, open, half_open.
func (s State) String() string {
	switch s {
	case Open:
		return "open"
	case HalfOpen:
		return "half_open"
	default:
		return "closed"
	}
}

// Outcome is how a permitted request ended. The zero value is Success.
type Outcome uint8

// The outcomes. An answer that came but was no good (NaN, low confidence, late)
// is a Failure.
const (
	Success Outcome = iota
	Failure
	Ignored // says nothing about the asked one: the caller left, its own error
)

// Cause says why a state changed: a closed set.
type Cause string

// The causes.
const (
	CauseConsecutive     Cause = "consecutive_failures"
	CauseFailureRate     Cause = "failure_rate"
	CauseSlowRate        Cause = "slow_call_rate"
	CauseRecoveryOver    Cause = "recovery_over"
	CauseHalfOpenFailed  Cause = "half_open_failed"
	CauseHalfOpenSlow    Cause = "half_open_slow"
	CauseHalfOpenSucceed Cause = "half_open_succeeded"
	CauseShared          Cause = "shared" // what all replicas together saw
	CauseManual          Cause = "manual"
)

// Manual is what a person has set. The zero value is Automatic.
type Manual uint8

// The manual modes.
const (
	Automatic    Manual = iota
	ForcedOpen          // nothing is asked
	ForcedClosed        // everything is asked and nothing is counted
	Observing           // everything is asked; what would have been refused is counted
)

// String returns the mode's label.
func (m Manual) String() string {
	switch m {
	case ForcedOpen:
		return "open"
	case ForcedClosed:
		return "closed"
	case Observing:
		return "observe"
	default:
		return "auto"
	}
}

// Change is one change of state or of manual mode.
type Change struct {
	From, To   State
	Manual     Manual // in force after the change
	Cause      Cause
	Generation uint64 // grows with every change
	At         time.Time
}
