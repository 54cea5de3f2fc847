package release

import "time"

// By is who is written as the author of what automation does.
const By = "safestate"

// Kind is what a record tells of.
type Kind string

// The kinds.
const (
	KindRegistered    Kind = "registered"     // a version was seen first
	KindFiles         Kind = "files"          // the files' weights were taken over
	KindStarted       Kind = "started"        // a rollout began
	KindStep          Kind = "step"           // its next step began
	KindGate          Kind = "gate"           // it waits for a person's promote
	KindGatePassed    Kind = "gate-passed"    // which came
	KindPaused        Kind = "paused"         // it stands still
	KindResumed       Kind = "resumed"        // it goes on
	KindPromoted      Kind = "promoted"       // the candidate has the traffic
	KindGood          Kind = "good"           // and was judged: a target for rollbacks
	KindAborted       Kind = "aborted"        // back to the stable version, nothing condemned
	KindRollback      Kind = "rollback"       // back to a good version, the other condemned
	KindDegraded      Kind = "degraded"       // there was none: the ladder answers
	KindRecovered     Kind = "recovered"      // there is one again
	KindHoldback      Kind = "holdback"       // the stable version's last share ended
	KindHoldbackAgain Kind = "holdback-again" // it has it again
	KindApplied       Kind = "applied"        // every expected proxy ACKed the weights
	KindRollbackDone  Kind = "rollback-done"  // and the withdrawn version is asked no more
	KindHelped        Kind = "helped"         // fewer bad answers since the rollback
	KindNotHelped     Kind = "not-helped"     // no fewer: the cause is elsewhere
	KindCommonCause   Kind = "common-cause"   // version and control fail alike
	KindCauseOver     Kind = "cause-over"     // they do no more
	KindBound         Kind = "bound"          // a rail stopped an automatic rollback
	KindRefusedConfig Kind = "refused-config" // a proxy did not take the weights
	KindCheckError    Kind = "check-error"    // a check gave no value

	KindKilled        Kind = "killed"          // a kill took a version out, or holds the whole model
	KindRevived       Kind = "revived"         // which is over
	KindAutomaticKill Kind = "automatic-kill"  // safestate kills by itself
	KindKillHelped    Kind = "kill-helped"     // and what was bad is over
	KindKillNotHelped Kind = "kill-not-helped" // or it is not: a person is needed
	KindKillBound     Kind = "kill-bound"      // a rail stopped an automatic kill
)

// Record is one line of a model's history.
type Record struct {
	// Sequence numbers a model's records from 1, without gaps.
	Sequence uint64 `json:"sequence"`
	// Generation of the weights after it.
	Generation uint64    `json:"generation"`
	At         time.Time `json:"at"`
	Model      string    `json:"model"`
	Kind       Kind      `json:"kind"`
	By         string    `json:"by"` // By, or a person
	// Version that it is about, and Target where another takes over.
	Version string `json:"version,omitempty"`
	Target  string `json:"target,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Forced  bool   `json:"forced,omitempty"`
	// Before and After are the weights, where they changed.
	Before map[string]int `json:"before,omitempty"`
	After  map[string]int `json:"after,omitempty"`
	// Evidence and Checks that it was decided on.
	Evidence map[string]Evidence    `json:"evidence,omitempty"`
	Checks   map[string]CheckResult `json:"checks,omitempty"`
	// Kill that it is because of.
	Kill *Kill `json:"kill,omitempty"`
	// Took says how long the steps so far took.
	Took Took `json:"took,omitzero"`
}

// Took are the times between the steps of a release; 0 where it does not apply.
type Took struct {
	Decide  Duration `json:"decide,omitempty"`  // first bad answer to decision
	Push    Duration `json:"push,omitempty"`    // decision to xDS
	Ack     Duration `json:"ack,omitempty"`     // xDS to the last proxy's ACK
	Empty   Duration `json:"empty,omitempty"`   // ACK to the last request at the withdrawn version
	Step    Duration `json:"step,omitempty"`    // the rollout's step that ended
	Rollout Duration `json:"rollout,omitempty"` // the rollout that ended
}

// Ack takes the records up to a sequence number out of the outbox, once they
// are in the history, and says whether there were any.
func Ack(s State, sequence uint64) (State, bool) {
	for i, r := range s.Outbox {
		if r.Sequence > sequence {
			s.Outbox = s.Outbox[i:]
			return s, i > 0
		}
	}
	had := len(s.Outbox) > 0
	s.Outbox = nil
	return s, had
}
