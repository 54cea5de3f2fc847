package release

import (
	"fmt"
	"math"
	"time"
)

// Limit is what a check's value is held against. A bound that is nil is none.
type Limit struct {
	Min, Max *float64
}

// Judge makes a measurement of a value, or of the error that there was instead.
// A value that is no number is an error, never a success and never a failure.
func (l Limit) Judge(value float64, err error, at time.Time) CheckResult {
	r := CheckResult{Verdict: Success, At: at}
	switch {
	case err != nil:
		r.Verdict, r.Why = Error, err.Error()
	case math.IsNaN(value):
		r.Verdict, r.Why = Error, "the value is NaN"
	case l.Max != nil && !(value <= *l.Max):
		r.Verdict, r.Why = Failure, fmt.Sprintf("%g is more than %g", value, *l.Max)
	case l.Min != nil && !(value >= *l.Min):
		r.Verdict, r.Why = Failure, fmt.Sprintf("%g is less than %g", value, *l.Min)
	default:
		r.Why = fmt.Sprintf("%g", value)
	}
	return r
}
