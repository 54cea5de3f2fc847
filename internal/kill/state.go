package kill

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// State is how one target stands. Its zero value is none: see New.
type State struct {
	Target Target `json:"target"`
	// Generation counts what changed what traffic may do: kills, revives, merges.
	// It only grows.
	Generation uint64 `json:"generation"`
	Killed     bool   `json:"killed"`
	Mode       Mode   `json:"mode,omitempty"` // of the last kill
	// Since is when the target was killed, or where it is not when it was revived.
	Since time.Time `json:"since,omitzero"`
	By    string    `json:"by,omitempty"` // who did that
	// Reason is why.
	Reason string `json:"reason,omitempty"`
	// Ramp is how traffic comes back after a revive; nil: at once.
	Ramp *Ramp `json:"ramp,omitempty"`
	// Asked is a revive that waits for a second person; nil: none does.
	Asked *Asked `json:"asked,omitempty"`
	// Seen are the IDs of the kills that the state has taken in, the newest last.
	Seen []string `json:"seen,omitempty"`
	// Sequence numbers the records; Outbox holds those of the last changes, which
	// may not be in the audit trail yet.
	Sequence uint64   `json:"sequence"`
	Outbox   []Record `json:"outbox,omitempty"`
}

// Bounds of a state, so that it never outgrows a store's value.
const (
	mostSeen = 64
	// MaxReason is the most bytes of a reason.
	MaxReason = 1024
	// MaxName is the most bytes of a person's name or an ID.
	MaxName = 256
)

// New is the state of a target that was never killed.
func New(t Target) State { return State{Target: t} }

// Decode reads a state, and refuses one that cannot be acted on.
func Decode(text []byte) (State, error) {
	var s State
	if err := json.Unmarshal(text, &s); err != nil {
		return State{}, err
	}
	return s, s.Validate()
}

// Validate says what is wrong with a state; nil: nothing.
func (s State) Validate() error {
	if err := s.Target.Validate(); err != nil {
		return err
	}
	switch {
	case s.Killed && s.Mode.Validate() != nil:
		return s.Mode.Validate()
	case s.Killed && s.Generation == 0:
		return errors.New("it is killed at generation 0: want 1 or more")
	case s.Killed && s.Ramp != nil:
		return errors.New("it is killed and ramps up: want one of the two")
	case !s.Killed && s.Asked != nil:
		return errors.New("a revive is asked for, and it is not killed")
	}
	if s.Ramp != nil {
		return s.Ramp.Validate()
	}
	return nil
}

// Kind is what a record tells.
type Kind string

// The kinds of records.
const (
	KindKill     Kind = "kill"
	KindAsked    Kind = "revive-asked" // it waits for a second person
	KindApproved Kind = "revive-approved"
	KindRevive   Kind = "revive"
	KindMerged   Kind = "kill-merged" // a kill that another replica took alone holds
	KindCounted  Kind = "counted"     // Count others, which no trail took in time
)

// Record is one change of a target, for the audit trail.
type Record struct {
	Sequence   uint64    `json:"sequence"`
	At         time.Time `json:"at"`
	Kind       Kind      `json:"kind"`
	Target     Target    `json:"target"`
	Generation uint64    `json:"generation"` // after the change
	ID         string    `json:"id,omitempty"`
	By         string    `json:"by"`
	How        string    `json:"how,omitempty"`     // By was proven
	Address    string    `json:"address,omitempty"` // that it came from
	Replica    string    `json:"replica,omitempty"` // that took it
	Reason     string    `json:"reason,omitempty"`
	Mode       Mode      `json:"mode,omitempty"`
	Automatic  bool      `json:"automatic,omitempty"`
	Evidence   string    `json:"evidence,omitempty"` // of an automatic one
	Ramp       *Ramp     `json:"ramp,omitempty"`
	Count      int       `json:"count,omitempty"`   // of KindCounted
	Trailed    bool      `json:"trailed,omitempty"` // it is in a trail
}

// RecordKey tells a record from every other.
type RecordKey struct {
	Target   Target
	Replica  string
	Sequence uint64
	At       int64 // nanoseconds since 1970
}

// Key is the record's. Its sequence alone does not tell it from others: a replica
// that died, and starts without the store, may give out a number again.
func (r *Record) Key() RecordKey {
	return RecordKey{r.Target, r.Replica, r.Sequence, r.At.UnixNano()}
}

// Moment says when and where something was done.
type Moment struct {
	At      time.Time
	Replica string
}

// record notes what was done. The state's slices are never shared with the one
// that it was made from.
func (s State) record(r Record) State {
	s.Sequence++
	r.Sequence, r.Target, r.Generation = s.Sequence, s.Target, s.Generation
	s.Outbox = bounded(append(slices.Clone(s.Outbox), r))
	return s
}

// see notes a kill's ID.
func (s State) see(id string) State {
	s.Seen = append(slices.Clone(s.Seen), id)
	s.Seen = s.Seen[max(0, len(s.Seen)-mostSeen):]
	return s
}

// Ramp is how traffic comes back: by steps of equal length, in all Over long.
type Ramp struct {
	Begin time.Time     `json:"begin"`
	Over  time.Duration `json:"overNanoseconds"` // more than 0, at most a day
}

// shares are what a ramp lets through, a step each, in percent.
var shares = []int{1, 5, 10, 25, 50, 75}

// MaxRamp is the longest ramp.
const MaxRamp = 24 * time.Hour

// Validate says what is wrong with a ramp; nil: nothing.
func (r *Ramp) Validate() error {
	if r.Over <= 0 || r.Over > MaxRamp {
		return fmt.Errorf("ramp %v: want more than 0 and at most %v", r.Over, MaxRamp)
	}
	return nil
}

// Percent is what a ramp lets through at a time, and when that changes next;
// zero: it is over. A nil ramp is.
func (r *Ramp) Percent(now time.Time) (percent int, next time.Time) {
	if r == nil {
		return 100, time.Time{}
	}
	step := max(r.Over/time.Duration(len(shares)), 1)
	i := max(0, int(now.Sub(r.Begin)/step))
	if i >= len(shares) {
		return 100, time.Time{}
	}
	return shares[i], r.Begin.Add(time.Duration(i+1) * step)
}
