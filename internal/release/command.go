package release

import (
	"errors"
	"fmt"
)

// Verb is what a person asks for.
type Verb string

// The verbs.
const (
	// Start begins a rollout of Version. It is refused while one runs; without
	// Again or Force where the version is condemned, or the model is degraded (it
	// then gets all the traffic at once); and without Force where the version has no
	// ready endpoint, or others would lose their share of the traffic unsaid.
	Start Verb = "start"
	// Pause lets the weights stand. Rollbacks go on: a pause is no decision to
	// keep a bad version.
	Pause Verb = "pause"
	// Resume goes on from a pause.
	Resume Verb = "resume"
	// Promote passes the gate of the step that runs; where it has none, or it
	// was passed, the rest of the step is skipped. Full skips all steps.
	Promote Verb = "promote"
	// Abort gives the stable version all the traffic at once.
	Abort Verb = "abort"
	// Rollback gives Version, or the newest good one, all the traffic at once,
	// and condemns the one that had it.
	Rollback Verb = "rollback"
)

// Command is what a person asks for.
type Command struct {
	Do Verb `json:"do"`
	// Version that Start rolls out, or that Rollback goes to: there the empty
	// one stands for the newest good one.
	Version string `json:"version,omitempty"`
	// Steps of Start. Default: the plan's.
	Steps []Step `json:"steps,omitempty"`
	// Full lets Promote skip all steps.
	Full bool `json:"full,omitempty"`
	// Again lets Start try a version that was rolled back, and end a degraded
	// state. Automation watches it as any other.
	Again bool `json:"again,omitempty"`
	// Force does what is refused for safety, needs a Reason, and keeps
	// automation from undoing it for Hold. Default: DefaultHold; 0: it may be
	// undone at once.
	Force bool      `json:"force,omitempty"`
	Hold  *Duration `json:"hold,omitempty"`
	// By is the person. Required.
	By string `json:"by"`
	// Reason for the history. Required for Start and with Force.
	Reason string `json:"reason,omitempty"`
	// Generation that the person saw: of another one the command is refused.
	// 0: any.
	Generation uint64 `json:"generation,omitempty"`
}

// ErrRefused is what an error of Apply wraps where the command is well formed
// and the state, or a rail, does not allow it now.
var ErrRefused = errors.New("refused")

// check says what is wrong with a command whatever the state.
func (c Command) check() error {
	if line(c.By) == "" {
		return errors.New("by: who asks has to be named")
	}
	if line(c.By) == By {
		return fmt.Errorf("by: %s is what automation signs with", By)
	}
	if c.Hold != nil && !c.Force {
		return errors.New("hold: it goes with force only, nothing else is kept from automation")
	}
	if c.Hold != nil && (*c.Hold < 0 || *c.Hold > MaxHold) {
		return fmt.Errorf("hold: %s is not from 0s to %s", *c.Hold, MaxHold)
	}
	if c.Again && c.Do != Start {
		return fmt.Errorf("again: it goes with %s only", Start)
	}
	if (c.Force || c.Do == Start) && line(c.Reason) == "" {
		return errors.New("reason: missing; the history has to say why")
	}
	switch c.Do {
	case Start:
		if c.Version == "" {
			return errors.New("version: which one to start is missing")
		}
		if len(c.Steps) > 0 {
			return ValidateSteps(c.Steps)
		}
	case Rollback, Pause, Resume, Promote, Abort:
		if len(c.Steps) > 0 {
			return fmt.Errorf("steps: only %s takes them", Start)
		}
		if c.Version != "" && c.Do != Rollback {
			return fmt.Errorf("version: %s takes none, it is about the rollout that runs", c.Do)
		}
	default:
		return fmt.Errorf("%q is none of start, pause, resume, promote, abort and rollback", string(c.Do))
	}
	return nil
}
