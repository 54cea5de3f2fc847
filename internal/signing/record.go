package signing

import (
	"slices"
	"time"
)

// Step is what was done to a ring.
type Step string

// The steps.
const (
	StepMade    Step = "made"    // a key was made, which signs or is to sign
	StepSigns   Step = "signs"   // it signs from now on, and the one before it no more
	StepDropped Step = "dropped" // what it signed is refused from now on
)

// Record is one change of a ring, for an audit trail.
type Record struct {
	Sequence uint64    `json:"sequence"` // of the ring that it made
	At       time.Time `json:"at"`
	Step     Step      `json:"step"`
	Key      string    `json:"key"` // id of the key that it is about
	By       string    `json:"by"`
	How      string    `json:"how,omitempty"`     // By was proven
	Address  string    `json:"address,omitempty"` // that it came from
	Reason   string    `json:"reason,omitempty"`
	Replica  string    `json:"replica"` // that did it, and brings it to its trail
}

// mostRecords is how many changes a ring carries: more than can be made while a
// trail takes none.
const mostRecords = 16

// Recorded returns a ring that says how it came from the one before it: what is
// known of that is in the record. Both are valid; the ring before a first one is
// the zero Ring.
func (r Ring) Recorded(before Ring, what Record) Ring {
	what.Sequence = r.Sequence
	switch {
	case before.Sequence == 0:
		what.Step, what.Key = StepMade, r.Current.Public().ID
	case r.Next != nil:
		what.Step, what.Key = StepMade, r.Next.Public().ID
	case before.Next != nil:
		what.Step, what.Key = StepSigns, r.Current.Public().ID
	case before.Previous != nil:
		what.Step, what.Key = StepDropped, before.Previous.Public().ID
	}
	r.Records = append(slices.Clone(before.Records), what)
	r.Records = r.Records[max(0, len(r.Records)-mostRecords):]
	return r
}
