package sequential

import "time"

// Verdict is what the evidence says of a version.
type Verdict string

// The verdicts.
const (
	Inconclusive Verdict = "inconclusive" // not enough was seen, or nothing
	Success      Verdict = "success"      // enough was seen, and it is no worse than normal
	Failure      Verdict = "failure"      // it is worse than normal, and its control is not
	CommonCause  Verdict = "common-cause" // it is worse than normal, and so is its control
	Error        Verdict = "error"        // the counts, or the time, cannot be true
)

// Decision is what Observe says.
type Decision struct {
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why,omitempty"` // one line for a person
	// LogE is the natural logarithm of the e-value against "its rate is at most
	// P0", less what restarts have cost; a failure needs ln(1/Alpha), 9.2.
	LogE float64 `json:"logE"`
	// P0 is the share of bad answers that counts as normal.
	P0 float64 `json:"p0"`
	// Since is when the run of evidence that is strongest began; zero: none.
	Since time.Time `json:"since,omitzero"`
	// All that was judged since the monitor began.
	Requests        uint64 `json:"requests"`
	Bad             uint64 `json:"bad"`
	ControlRequests uint64 `json:"controlRequests"`
	ControlBad      uint64 `json:"controlBad"`
}
