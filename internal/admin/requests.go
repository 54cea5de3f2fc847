package admin

import (
	"strings"

	"github.com/safestate/safestate/internal/release"
)

// RolloutRequest starts a rollout, or acts on the one that runs.
type RolloutRequest struct {
	// Action is start, pause, resume, promote or abort. Required.
	Action string `json:"action"`
	// Version that start rolls out. Required there, and nowhere else.
	Version string `json:"version,omitempty"`
	// Reason for the history. Required for start, abort and with force.
	Reason string `json:"reason,omitempty"`
	// Steps of start. Default: those of the model's plan.
	Steps []release.Step `json:"steps,omitempty"`
	// Full lets promote skip all steps that are left.
	Full bool `json:"full,omitempty"`
	// Again lets start try a version that was rolled back, and end a degraded
	// state; the version is watched as any other.
	Again bool `json:"again,omitempty"`
	// Force does what is refused for safety, and keeps automation from undoing
	// it for Hold.
	Force bool `json:"force,omitempty"`
	// Hold goes with force. 0s: automation may undo it at once. Default: 30m.
	Hold *release.Duration `json:"hold,omitempty"`
	// ExpectGeneration is the model's generation that the request was decided
	// on; of another one it is refused. Default: any.
	ExpectGeneration uint64 `json:"expectGeneration,omitempty"`
}

// actions are what can be done to a rollout.
var actions = []string{
	string(release.Start), string(release.Pause), string(release.Resume), string(release.Promote), string(release.Abort),
}

// command makes a request what package release understands.
func (r RolloutRequest) command(by string) (release.Command, error) {
	c := release.Command{
		Do: release.Verb(r.Action), Version: r.Version, Steps: r.Steps, Full: r.Full, Again: r.Again, Force: r.Force, Hold: r.Hold,
		By: by, Reason: r.Reason, Generation: r.ExpectGeneration,
	}
	if err := oneOf("action", r.Action, actions...); err != nil {
		return c, err
	}
	start := c.Do == release.Start
	switch {
	case start && r.Version == "":
		return c, Invalid("version", "is missing").Hinted("name the version to roll out")
	case !start && r.Version != "":
		return c, Invalid("version", "goes with start only: a model has one rollout at a time")
	case !start && r.Steps != nil:
		return c, Invalid("steps", "goes with start only")
	case r.Full && c.Do != release.Promote:
		return c, Invalid("full", "goes with promote only")
	case r.Again && !start:
		return c, Invalid("again", "goes with start only")
	}
	if err := holdOf(r.Hold, r.Force); err != nil {
		return c, err
	}
	if len(r.Steps) > 0 {
		if err := release.ValidateSteps(r.Steps); err != nil {
			return c, Invalid("steps", "%s", strings.TrimPrefix(err.Error(), "steps: "))
		}
	}
	if start {
		if err := nameOf("version", r.Version); err != nil {
			return c, err
		}
	}
	return c, reasonIf(r.Reason, start || r.Force || c.Do == release.Abort)
}

// RollbackRequest takes a model back to a version that was good.
type RollbackRequest struct {
	// To is the version. Default: the newest that was good.
	To string `json:"to,omitempty"`
	// Reason for the history. Required.
	Reason string `json:"reason"`
	// Force goes to a version that is refused for safety, and keeps automation
	// from undoing it for Hold.
	Force bool `json:"force,omitempty"`
	// Hold goes with force. 0s: automation may undo it at once. Default: 30m.
	Hold *release.Duration `json:"hold,omitempty"`
	// ExpectGeneration is the model's generation that the request was decided
	// on; of another one it is refused. Default: any.
	ExpectGeneration uint64 `json:"expectGeneration,omitempty"`
}

func (r RollbackRequest) command(by string) (release.Command, error) {
	c := release.Command{Do: release.Rollback, Version: r.To, Force: r.Force, Hold: r.Hold, By: by, Reason: r.Reason, Generation: r.ExpectGeneration}
	if err := holdOf(r.Hold, r.Force); err != nil {
		return c, err
	}
	if r.To != "" {
		if err := nameOf("to", r.To); err != nil {
			return c, err
		}
	}
	return c, reasonIf(r.Reason, true)
}

// holdOf checks how long a forced decision is to stand.
func holdOf(hold *release.Duration, force bool) error {
	switch {
	case hold == nil:
		return nil
	case !force:
		return Invalid("hold", "goes with force only")
	case *hold < 0 || *hold > release.MaxHold:
		return Invalid("hold", "is %s; want 0s to %s", *hold, release.MaxHold)
	}
	return nil
}

// PolicyRollbackRequest takes a policy back to an earlier number.
type PolicyRollbackRequest struct {
	// To is the number. Default: the one before.
	To uint64 `json:"to,omitempty"`
	// ExpectNumber is the policy's number that the request was decided on; while
	// another one is in force it is refused. Default: any.
	ExpectNumber uint64 `json:"expectNumber,omitempty"`
	// Reason for the history. Required.
	Reason string `json:"reason"`
}

// ReasonRequest is a change that needs no more than a reason.
type ReasonRequest struct {
	// Reason for the history. Required.
	Reason string `json:"reason"`
}

// reasonIf checks a reason that may be left out where it is not needed.
func reasonIf(reason string, needed bool) error {
	if reason == "" && !needed {
		return nil
	}
	return reasonOf(reason)
}
