package release

import (
	"fmt"
	"time"
)

// The defaults of a Plan. The requests of a step are what shows a fault of 10,
// 3 and 1 % with room to spare at the evidence that a rollback needs; the times
// let caches fill and slow faults show.
var defaultSteps = []Step{
	{Weight: 1, Duration: Duration(time.Minute), MinRequests: 100},
	{Weight: 10, Duration: Duration(2 * time.Minute), MinRequests: 300},
	{Weight: 50, Duration: Duration(5 * time.Minute), MinRequests: 1000},
	{Weight: 100},
}

const (
	defaultHoldback         = 1
	defaultCoolDown         = Duration(5 * time.Minute)
	defaultRollbacksPerHour = 3
	defaultHold             = Duration(30 * time.Minute)
	defaultCheckFailures    = 2
	defaultCheckErrors      = 5
	defaultQuiet            = Duration(time.Second)
	defaultHelpRequests     = 100
	defaultHelpAfter        = Duration(time.Minute)

	maxSteps    = 50
	maxHoldback = 50
	maxDuration = Duration(90 * 24 * time.Hour)
)

// WithDefaults fills what the plan leaves open, and takes what is out of range
// for the default.
func (p Plan) WithDefaults() Plan {
	if len(p.Steps) == 0 {
		p.Steps = defaultSteps
	}
	p.Holdback = whole(p.Holdback, defaultHoldback, maxHoldback)
	p.RollbacksPerHour = whole(p.RollbacksPerHour, defaultRollbacksPerHour, 1000)
	for _, d := range []struct {
		value *Duration
		or    Duration
	}{
		{&p.CoolDown, defaultCoolDown},
		{&p.Hold, defaultHold},
		{&p.Quiet, defaultQuiet},
		{&p.HelpAfter, defaultHelpAfter},
	} {
		if *d.value <= 0 || *d.value > maxDuration {
			*d.value = d.or
		}
	}
	if p.CheckFailures <= 0 {
		p.CheckFailures = defaultCheckFailures
	}
	if p.CheckErrors <= 0 {
		p.CheckErrors = defaultCheckErrors
	}
	if p.HelpRequests == 0 {
		p.HelpRequests = defaultHelpRequests
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

// Validate says what is wrong with a plan, nil where nothing is.
func (p Plan) Validate() error {
	if len(p.Steps) > 0 {
		if err := ValidateSteps(p.Steps); err != nil {
			return err
		}
	}
	if h := p.Holdback; h != nil && (*h < 0 || *h > maxHoldback) {
		return fmt.Errorf("holdback: %d is not from 0 to %d %%", *h, maxHoldback)
	}
	if n := p.RollbacksPerHour; n != nil && (*n < 0 || *n > 1000) {
		return fmt.Errorf("rollbacksPerHour: %d is not from 0 to 1000", *n)
	}
	for _, d := range []struct {
		name  string
		value Duration
	}{{"coolDown", p.CoolDown}, {"hold", p.Hold}, {"quiet", p.Quiet}, {"helpAfter", p.HelpAfter}} {
		if d.value < 0 || d.value > maxDuration {
			return fmt.Errorf("%s: %s is not from 0s to %s", d.name, d.value, maxDuration)
		}
	}
	return nil
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
