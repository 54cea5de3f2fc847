package release

// Verdict is what the evidence says of one version, or one check.
type Verdict string

// The verdicts. The empty one is Inconclusive: no evidence promotes nothing and
// rolls nothing back.
const (
	Inconclusive Verdict = "inconclusive" // not enough was seen
	Success      Verdict = "success"      // enough was seen, and it is no worse
	Failure      Verdict = "failure"      // it is worse, or past a limit
	Error        Verdict = "error"        // the measurement failed; nothing is known
	CommonCause  Verdict = "common-cause" // it fails, and so does its control
)
