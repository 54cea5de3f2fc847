package release

import "time"

// Format is the version of State's JSON that this package writes and reads.
const Format = 1

// State is all that is known of one model's releases. Its zero value, with
// Format and Model set by [New], is a model that was never released. It is a
// value: Advance and Apply never change the one they are given, and neither may
// anyone else change the maps and slices of one. Times are UTC.
type State struct {
	Format int    `json:"format"`
	Model  string `json:"model"` // "namespace/name"

	// Generation counts the changes of Weights: it grows by one with each,
	// never otherwise, and never shrinks. 0: there were no weights yet.
	Generation uint64 `json:"generation"`
	// Weights are percent by version. They sum to 100, or are all 0 where
	// Degraded; nil before the first and where no route gives the model
	// traffic. A version that is not here has 0.
	Weights map[string]int `json:"weights,omitempty"`
	// Changed is when Weights changed last.
	Changed time.Time `json:"changed,omitzero"`
	// Released says that a release set Weights. Until then they follow the
	// files; from then on a difference is drift.
	Released bool `json:"released,omitempty"`
	// Forward: Weights are a rollout's step, which a proxy's refusal takes back.
	// What goes towards safe is never taken back.
	Forward bool `json:"forward,omitempty"`
	// Degraded: no version gets traffic, the ladder answers.
	Degraded bool `json:"degraded,omitempty"`

	// Stable is what a new version is held against and goes back to. After a
	// promotion it has the holdback.
	Stable string `json:"stable,omitempty"`
	// Candidate is being rolled out, or was promoted and is watched.
	Candidate string `json:"candidate,omitempty"`
	// Rollout is the one that runs, nil without.
	Rollout *Rollout `json:"rollout,omitempty"`
	// Withdrawal is the last rollback or abort, until a later one.
	Withdrawal *Withdrawal `json:"withdrawal,omitempty"`

	// Versions are those of the files, those that have a part, and of the others
	// the newest that were seen.
	Versions map[string]Registered `json:"versions,omitempty"`
	// Good are the versions that carried the traffic and were judged, newest last.
	Good []Good `json:"good,omitempty"`
	// Condemned are the versions that were rolled back. Nothing goes to one of
	// them unless a person forces it.
	Condemned map[string]Condemned `json:"condemned,omitempty"`
	// Marks say from when on a version's evidence counts; of versions that are in
	// the files or have a part.
	Marks map[string]Mark `json:"marks,omitempty"`
	// Holds are a person's forced decisions that hold still: no automatic rollback
	// of the version before the time.
	Holds map[string]Hold `json:"holds,omitempty"`
	// Checks are the candidate's checks, by name.
	Checks map[string]CheckStreak `json:"checks,omitempty"`

	// Returns is when the stable version gets the holdback back that it lost, or
	// had none of at the promotion; zero: it has it, or is not fit for it.
	Returns time.Time `json:"returns,omitzero"`
	// Lapsed is a version that had no ready endpoint since it had the holdback: if
	// it failed before, then likely of that, and it is judged anew when it gets
	// traffic again. Empty: none.
	Lapsed string `json:"lapsed,omitempty"`

	// Acked are the last weights that every expected proxy had.
	Acked Standing `json:"acked,omitzero"`
	// Origin are the weights that held before the last rollout.
	Origin Standing `json:"origin,omitzero"`
	// Refused is the last configuration that a proxy refused.
	Refused *Refused `json:"refused,omitempty"`
	// Automatic are the times of the automatic rollbacks of the last hour, but for
	// those that a running rollout went back by.
	Automatic []time.Time `json:"automatic,omitempty"`
	// Incident is the common cause that is going on, nil without.
	Incident *Incident `json:"incident,omitempty"`
	// Bound is why automation does not roll a failing version back, nil
	// without.
	Bound *Bound `json:"bound,omitempty"`

	// Suspended is the kill of the whole model that nothing goes on under, nil without.
	Suspended *Suspended `json:"suspended,omitempty"`
	// Taken is what kills took from versions that nothing took over from: they get it
	// back when they are revived. Only where Degraded.
	Taken map[string]int `json:"taken,omitempty"`
	// Kills are the times of the automatic kills of the last hour.
	Kills []time.Time `json:"kills,omitempty"`
	// Stop is the last automatic kill, nil without.
	Stop *Stop `json:"stop,omitempty"`
	// KillBound is why automation does not kill what it would, nil without.
	KillBound *Bound `json:"killBound,omitempty"`

	// Sequence is the number of the last record.
	Sequence uint64 `json:"sequence"`
	// Outbox holds the records that are not in the history yet, see [Ack].
	Outbox []Record `json:"outbox,omitempty"`
}

// New is the state of a model, "namespace/name", that was never released.
func New(model string) State { return State{Format: Format, Model: model} }

// Rollout is one way forward, by steps.
type Rollout struct {
	Version string    `json:"version"`
	Steps   []Step    `json:"steps"`
	Step    int       `json:"step"` // index in Steps of the one that runs
	Started time.Time `json:"started"`
	// Since is when the step began; time in a pause is not counted.
	Since  time.Time `json:"since"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	// Base is how many requests of the candidate were judged when the step
	// began.
	Base uint64 `json:"base,omitempty"`
	// GateReached is when the step met everything but its gate; zero before.
	GateReached time.Time `json:"gateReached,omitzero"`
	// GatePassed: a person promoted the step.
	GatePassed bool `json:"gatePassed,omitempty"`
	// Paused is why it stands still, nil where it runs.
	Paused *Paused `json:"paused,omitempty"`
}

// Weight is the percentage that the step which runs gives the candidate.
func (r *Rollout) Weight() int { return r.Steps[r.Step].Weight }

// Step is one weight of a rollout and what it waits for.
type Step struct {
	Weight int `json:"weight"` // percent, 0 to 100
	// Duration is the shortest time at the weight. Default: 0.
	Duration Duration `json:"duration,omitempty"`
	// MinRequests is how many answers of the candidate have to be judged within
	// the step. Default: 1 where the weight is more than 0.
	MinRequests uint64 `json:"minRequests,omitempty"`
	// Gate waits for a person's promote, beside everything else.
	Gate bool `json:"gate,omitempty"`
}

// Paused is why a rollout stands still.
type Paused struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
}

// Withdrawal is a rollback or an abort on its way to being proved.
type Withdrawal struct {
	// Kind is KindRollback, KindDegraded, KindAborted or KindKilled. A recovery is the rollback
	// that was not possible before.
	Kind Kind `json:"kind"`
	// From are the versions that have to see no request any more.
	From []string `json:"from"`
	// To is what got their traffic, the most of several; empty where the model
	// degraded.
	To         string    `json:"to,omitempty"`
	Generation uint64    `json:"generation"`
	By         string    `json:"by"`
	Reason     string    `json:"reason,omitempty"`
	FirstBad   time.Time `json:"firstBad,omitzero"`
	Decided    time.Time `json:"decided"`
	Pushed     time.Time `json:"pushed,omitzero"`
	Acked      time.Time `json:"acked,omitzero"` // by all expected proxies
	Done       time.Time `json:"done,omitzero"`  // and the versions saw nothing more

	// Rate is the share of bad answers that the version had, 0 to 1; After is
	// the target's since then. Helped is nil until enough was seen.
	Rate   float64 `json:"rate"`
	After  float64 `json:"after"`
	Helped *bool   `json:"helped,omitempty"`
	// Base and BaseBad are what the target's evidence had counted by then.
	Base    uint64 `json:"base,omitempty"`
	BaseBad uint64 `json:"baseBad,omitempty"`
}

// Registered is what never changes of a version.
type Registered struct {
	URI    string    `json:"uri,omitempty"`
	Digest string    `json:"digest,omitempty"`
	At     time.Time `json:"at"`
}

// Good is a version that carried the traffic and was judged.
type Good struct {
	Version string    `json:"version"`
	At      time.Time `json:"at"`
}

// Condemned says why a version was rolled back.
type Condemned struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
}

// Mark is where a version's evidence begins to count.
type Mark struct {
	At time.Time `json:"at"`
	// Requests that were judged by then.
	Requests uint64 `json:"requests,omitempty"`
}

// Hold is a person's forced decision for a version.
type Hold struct {
	Until time.Time `json:"until"`
	By    string    `json:"by"`
}

// CheckStreak is how often a check failed, or could not be measured, in a row.
type CheckStreak struct {
	At       time.Time `json:"at"` // the last measurement that was counted
	Failures int       `json:"failures,omitempty"`
	Errors   int       `json:"errors,omitempty"`
}

// Standing are weights that held.
type Standing struct {
	Generation uint64         `json:"generation"`
	Weights    map[string]int `json:"weights,omitempty"`
	At         time.Time      `json:"at,omitzero"`
}

// Incident is a cause that is common to a version and its control.
type Incident struct {
	Since   time.Time `json:"since"`
	Version string    `json:"version"`
	Why     string    `json:"why,omitempty"`
	// Ended is when it was not seen any more; the incident is over when that
	// lasts for the cool-down. Zero while it is seen.
	Ended time.Time `json:"ended,omitzero"`
}

// Bound is a rail that stopped an automatic rollback, or kill.
type Bound struct {
	Since   time.Time `json:"since"`
	Version string    `json:"version"` // that fails and stays
	Rail    Rail      `json:"rail"`
	Until   time.Time `json:"until,omitzero"` // zero: until a person decides
}

// Rail names what stopped an automatic rollback.
type Rail string

// The rails.
const (
	RailPerHour  Rail = "rollbacks-per-hour"
	RailCoolDown Rail = "cool-down"
	RailHold     Rail = "hold"
	RailNoTarget Rail = "no-target"
	RailOff      Rail = "off"
	RailRevived  Rail = "revived" // of automatic kills alone
)

// Phase is a state in one word.
type Phase string

// The phases.
const (
	PhaseFiles    Phase = "files"    // the files' weights hold
	PhaseSteady   Phase = "steady"   // one version, nothing going on
	PhaseRollout  Phase = "rollout"  // a step runs
	PhaseGate     Phase = "gate"     // a step waits for a person's promote
	PhasePaused   Phase = "paused"   // the rollout stands still
	PhasePromoted Phase = "promoted" // the candidate has the traffic and is watched
	PhaseDegraded Phase = "degraded" // no version is left; the ladder answers
)

// Phase says where the model is.
func (s State) Phase() Phase {
	switch r := s.Rollout; {
	case s.Degraded:
		return PhaseDegraded
	case r != nil && r.Paused != nil:
		return PhasePaused
	case r != nil && !r.GateReached.IsZero() && !r.GatePassed:
		return PhaseGate
	case r != nil:
		return PhaseRollout
	case !s.Released:
		return PhaseFiles
	case s.Candidate != "":
		return PhasePromoted
	}
	return PhaseSteady
}

// EvidenceSince is the time from which on a version's evidence counts: a
// person's last decision in its favour. Whoever keeps the evidence starts it
// anew when this moves; until then a failure that began earlier is not acted
// on, and holds the step. Zero: all of it counts.
func (s State) EvidenceSince(version string) time.Time { return s.Marks[version].At }
