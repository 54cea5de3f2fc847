package release

import "time"

// Input is all that Advance and Apply know of the world.
type Input struct {
	Plan Plan `json:"plan"`
	// Versions are those of the files, by name. Empty means that the files
	// were not read: then nothing is decided.
	Versions map[string]VersionInfo `json:"versions,omitempty"`
	// Evidence by version; one that is missing is Inconclusive.
	Evidence map[string]Evidence `json:"evidence,omitempty"`
	// Checks are the latest measurements for the candidate, by name.
	Checks map[string]CheckResult `json:"checks,omitempty"`
	// Proof is what the proxies made of State.Generation.
	Proof Proof `json:"proof,omitzero"`
	// Refused is set while a proxy refuses State.Generation.
	Refused *Refused `json:"refused,omitempty"`
	// Killed is what is killed of the model.
	Killed Killed `json:"killed,omitzero"`
	// Alarms are the versions that are over a criterion of automatic kills now.
	Alarms map[string]Alarm `json:"alarms,omitempty"`
	// Aftermath is what came since State.Stop.
	Aftermath Aftermath `json:"aftermath,omitzero"`
}

// Plan is how a model is released.
type Plan struct {
	// Steps of a rollout. Without any, whoever starts one has to name them.
	Steps []Step `json:"steps,omitempty"`
	// Checks are the names of the checks that have to succeed at every step.
	// One that Input.Checks does not have holds the step.
	Checks []string `json:"checks,omitempty"`
	// Holdback is the percentage, 0 to 50, that stays on the stable version
	// after a promotion while that has ready endpoints. Default: 1; 0: none.
	Holdback *int `json:"holdback,omitempty"`
	// CoolDown is how long the target of an automatic rollback is not rolled
	// back itself, how long a common cause has to be gone, and how long the stable
	// version has to be fit to get its holdback back. Default: 5m.
	CoolDown Duration `json:"coolDown,omitempty"`
	// RollbacksPerHour bounds the automatic rollbacks, but for a running rollout's
	// way back to its stable version. Default: 3; 0: none at all, a person is called
	// instead.
	RollbacksPerHour *int `json:"rollbacksPerHour,omitempty"`
	// Kill is how versions are killed by themselves. Default: never.
	Kill *KillPlan `json:"kill,omitempty"`
}

// VersionInfo is what the files, and the proxies' health checks, say of a
// version.
type VersionInfo struct {
	URI    string `json:"uri,omitempty"`
	Digest string `json:"digest,omitempty"`
	// Ready says whether it has a ready endpoint. nil: not known, taken as yes.
	Ready *bool `json:"ready,omitempty"`
	// CompatibleWith are the versions that may take over from this one when it
	// fails. Empty: any.
	CompatibleWith []string `json:"compatibleWith,omitempty"`
	// FileWeight is its share by the files, of any sum; not negative.
	FileWeight int `json:"fileWeight,omitempty"`
}

// Evidence is what the answers of one version say of it.
type Evidence struct {
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why,omitempty"` // one line for a person
	// Requests that were judged and Bad ones among them, since the evidence was
	// started; it may start anew at any time.
	Requests uint64 `json:"requests"`
	Bad      uint64 `json:"bad"`
	// Rate is the share of bad answers, 0 to 1, since the failure began; 0 where
	// that is not known: then that of all of them.
	Rate            float64           `json:"rate,omitempty"`
	ControlRequests uint64            `json:"controlRequests,omitempty"`
	ControlBad      uint64            `json:"controlBad,omitempty"`
	LogE            float64           `json:"logE,omitempty"`      // natural logarithm of the e-value
	Detectors       map[string]uint64 `json:"detectors,omitempty"` // bad ones by detector
	// FirstBad is when the first of them came, by the control plane's clock.
	// Required for a Failure: without it nothing is rolled back.
	FirstBad time.Time `json:"firstBad,omitzero"`
}

// CheckResult is one measurement of a check; see [Limit.Judge].
type CheckResult struct {
	Verdict Verdict   `json:"verdict"`
	Why     string    `json:"why,omitempty"`
	At      time.Time `json:"at"` // of the measurement; the same time is the same measurement
}

// Proof is what the expected proxies made of one generation.
type Proof struct {
	// Generation that this is the proof of; of another than State.Generation
	// it is ignored.
	Generation uint64    `json:"generation"`
	Pushed     time.Time `json:"pushed,omitzero"` // when it was handed to xDS
	// Applied: all expected proxies ACKed it.
	Applied   bool      `json:"applied"`
	AppliedAt time.Time `json:"appliedAt,omitzero"` // the last ACK; zero: when it is seen
	Expected  int       `json:"expected"`
	Acked     int       `json:"acked"`
	// Mesh: the proxies are a mesh's. Applied says that its API server has it, and
	// nothing of any proxy.
	Mesh bool `json:"mesh,omitempty"`
	// Missing names the others, each with how long it has been silent or why it
	// refused.
	Missing []string `json:"missing,omitempty"`
	// BadSeen is when a version of State.Withdrawal.From was last asked.
	BadSeen time.Time `json:"badSeen,omitzero"`
	// Heard is up to when BadSeen is known: when all hosts that count a version of
	// State.Withdrawal.From have been heard, but for those that are not waited for
	// any more. Zero: nobody counts one. Silent names the hosts that are silent, each
	// with for how long, waited for or not.
	Heard  time.Time `json:"heard,omitzero"`
	Silent []string  `json:"silent,omitempty"`
}

// Refused is a configuration that a proxy did not take.
type Refused struct {
	Generation uint64 `json:"generation"`
	Proxy      string `json:"proxy"`   // its name
	Message    string `json:"message"` // Envoy's own
}
