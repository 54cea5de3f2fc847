package release

import (
	"fmt"
	"time"
)

// What a plan leaves open is as it is written in the files: see package compile.
const (
	defaultHoldback         = 1
	defaultCoolDown         = Duration(5 * time.Minute)
	defaultRollbacksPerHour = 3

	maxSteps    = 50
	maxHoldback = 50
	maxDuration = Duration(90 * 24 * time.Hour)
)

// What no plan changes.
const (
	// DefaultHold is how long a forced decision stands, unless it says otherwise.
	DefaultHold = Duration(30 * time.Minute)
	// MaxHold is the longest that it may say.
	MaxHold = maxDuration
	// checkFailures is how many failed measurements of one check in a row roll
	// back; fewer hold the step.
	checkFailures = 2
	// checkErrors is how many measurements of one check in a row that gave no value
	// pause the rollout; fewer hold the step.
	checkErrors = 5
	// quiet is how long after the last ACK, and after the last request that a
	// withdrawn version saw, a rollback is done.
	quiet = time.Second
	// helpRequests, judged at the target, or helpAfter with one request, say
	// whether a rollback helped.
	helpRequests = 100
	helpAfter    = time.Minute
)

// withDefaults fills what the plan leaves open, and takes what is out of range
// for the default.
func (p Plan) withDefaults() Plan {
	p.Holdback = whole(p.Holdback, defaultHoldback, maxHoldback)
	p.RollbacksPerHour = whole(p.RollbacksPerHour, defaultRollbacksPerHour, 1000)
	if p.CoolDown <= 0 || p.CoolDown > maxDuration {
		p.CoolDown = defaultCoolDown
	}
	if p.Kill != nil {
		k := p.Kill.withDefaults()
		p.Kill = &k
	}
	return p
}

// whole is the value where it is from 0 to most, else the default.
func whole(value *int, or, most int) *int {
	if value == nil || *value < 0 || *value > most {
		return &or
	}
	return value
}

// ValidateSteps says what is wrong with a rollout's steps, nil where nothing is.
func ValidateSteps(steps []Step) error {
	if len(steps) == 0 || len(steps) > maxSteps {
		return fmt.Errorf("steps: there are %d, not from 1 to %d", len(steps), maxSteps)
	}
	for i, s := range steps {
		switch {
		case s.Weight < 0 || s.Weight > 100:
			return fmt.Errorf("step %d: the weight %d is not from 0 to 100 %%", i+1, s.Weight)
		case i > 0 && s.Weight < steps[i-1].Weight:
			return fmt.Errorf("step %d: the weight falls from %d to %d %%; a rollout goes forward", i+1, steps[i-1].Weight, s.Weight)
		case s.Duration < 0 || s.Duration > maxDuration:
			return fmt.Errorf("step %d: the duration %s is not from 0s to %s", i+1, s.Duration, maxDuration)
		case s.Weight == 0 && s.MinRequests > 0:
			return fmt.Errorf("step %d: at a weight of 0 no request will be judged; minRequests has to be 0", i+1)
		}
	}
	return nil
}

// bare says that the step waits for nothing, so that reaching it is all.
func (s Step) bare() bool { return s.Duration == 0 && s.MinRequests == 0 && !s.Gate }

// requests is how many answers have to be judged at the step.
func (s Step) requests() uint64 {
	if s.Weight == 0 {
		return 0
	}
	return max(1, s.MinRequests)
}
