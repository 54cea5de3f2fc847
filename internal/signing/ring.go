package signing

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/policy"
)

// Ring are the keys of a control plane and how far a rotation is. It is JSON in
// the store, private halves included. It is plain data; what follows from it is
// decided here, purely.
//
//	current ─ rotate ─► current, next ─ every host has next ─► next signs, the old one is
//	previous ─ every proxy has policies of the new one ─► current
type Ring struct {
	// Sequence counts changes: it only grows, and tells which of two is newer.
	Sequence uint64 `json:"sequence"`
	Current  Key    `json:"current"`            // signs
	Next     *Key   `json:"next,omitempty"`     // is being handed to the hosts
	Previous *Key   `json:"previous,omitempty"` // what it signed is still out there
	// Records are its last changes, which may not be in an audit trail yet.
	Records []Record `json:"records,omitempty"`
}

// Key is one key of a ring.
type Key struct {
	Seed []byte    `json:"seed"` // private
	Made time.Time `json:"made"`
	// Signs is since when it signs; of the next one, when it does at the earliest.
	Signs time.Time `json:"signs"`
	// Overlap is how long the key that this one follows is accepted at least, once
	// this one signs.
	Overlap policy.Duration `json:"overlap,omitempty"`
	// Drops is when a previous one is dropped at the earliest.
	Drops  time.Time `json:"drops,omitzero"`
	By     string    `json:"by,omitempty"` // who asked for it
	Reason string    `json:"reason,omitempty"`
}

// Private is the key; an error where the seed is none.
func (k Key) Private() (Private, error) { return FromSeed(k.Seed) }

// Validate finds what keeps a ring that was read from being used.
func (r Ring) Validate() error {
	for _, k := range []*Key{&r.Current, r.Next, r.Previous} {
		if k == nil {
			continue
		}
		if _, err := k.Private(); err != nil {
			return err
		}
	}
	return nil
}

// Public are the keys that hosts are to trust. The ring is valid.
func (r Ring) Public() []Public {
	var out []Public
	for _, k := range []*Key{&r.Current, r.Next, r.Previous} {
		if k != nil {
			out = append(out, k.Public())
		}
	}
	return out
}

// Public is the key's public half. The ring that it is in is valid.
func (k Key) Public() Public {
	private, err := k.Private()
	if err != nil {
		return Public{}
	}
	return private.Public()
}

// First is the ring of a first start.
func First(random io.Reader, now time.Time) (Ring, error) {
	key, err := newKey(random, now)
	return Ring{Sequence: 1, Current: key}, err
}

func newKey(random io.Reader, now time.Time) (Key, error) {
	private, err := Generate(random)
	if err != nil {
		return Key{}, err
	}
	now = now.UTC().Truncate(time.Second)
	return Key{Seed: private.Seed(), Made: now, Signs: now}, nil
}

// Rotation is what somebody asks for.
type Rotation struct {
	By, Reason   string
	How, Address string // By was proven, and that it came from
	// After is how long the new key waits at least before it signs; 0:
	// DefaultSettle. Overlap is how long the old one is accepted at least after
	// that; 0: DefaultOverlap.
	After, Overlap time.Duration
	// Force takes the next step of a rotation that is under way at once, whoever
	// lacks it: a host that lacks the new key then refuses policies, and a proxy
	// that lacks new policies has its old ones refused.
	Force bool
}

// Defaults of a Rotation. Both are least times: a step waits for everybody too.
const (
	DefaultSettle  = 10 * time.Second
	DefaultOverlap = 10 * time.Minute
)

// ErrUnderWay is what Rotate is refused with while the last rotation is not over.
var ErrUnderWay = errors.New("a rotation is under way")

// Rotate begins a rotation, or with Force takes the next step of one.
func (r Ring) Rotate(random io.Reader, now time.Time, what Rotation) (Ring, error) {
	switch {
	case what.Force && r.Next != nil:
		return r.promote(now), nil
	case what.Force && r.Previous != nil:
		return r.drop(), nil
	case r.Next != nil:
		return r, fmt.Errorf("%w: key %s does not sign yet", ErrUnderWay, r.Next.Public().ID)
	case r.Previous != nil:
		return r, fmt.Errorf("%w: key %s is still accepted", ErrUnderWay, r.Previous.Public().ID)
	}
	key, err := newKey(random, now)
	if err != nil {
		return r, err
	}
	key.Signs = key.Made.Add(orDefault(what.After, DefaultSettle))
	key.Overlap = policy.Duration(orDefault(what.Overlap, DefaultOverlap))
	key.By, key.Reason = what.By, what.Reason
	r.Sequence++
	r.Next = &key
	return r, nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Progress is what the hosts and proxies have of a ring. nil is nobody missing;
// an entry is one, in a line for a person.
type Progress struct {
	LackKey    []string // hosts that do not have Next
	LackPolicy []string // proxies that may not have policies signed by Current
}

// Advance takes the step that is due, if any. changed: one was.
func (r Ring) Advance(now time.Time, p Progress) (next Ring, changed bool) {
	switch {
	case r.Next != nil && !now.Before(r.Next.Signs) && len(p.LackKey) == 0:
		return r.promote(now), true
	case r.Next == nil && r.Previous != nil && !now.Before(r.Previous.Drops) && len(p.LackPolicy) == 0:
		return r.drop(), true
	}
	return r, false
}

// promote has the next key sign. The one before the old one, if it is still
// there, is given up: hosts trust two at the most when no rotation runs.
func (r Ring) promote(now time.Time) Ring {
	old, next := r.Current, *r.Next
	next.Signs = now.UTC().Truncate(time.Second)
	old.Drops = next.Signs.Add(next.Overlap.D())
	return Ring{Sequence: r.Sequence + 1, Current: next, Previous: &old}
}

func (r Ring) drop() Ring { return Ring{Sequence: r.Sequence + 1, Current: r.Current} }

// Due reports whether the current key is older than age, and no rotation runs; 0:
// no age is too old.
func (r Ring) Due(now time.Time, age time.Duration) bool {
	return age > 0 && r.Next == nil && r.Previous == nil && now.Sub(r.Current.Signs) >= age
}

// Waiting says, for a person, what the next step waits for; empty where none is
// to come.
func (r Ring) Waiting(now time.Time, p Progress) string {
	switch {
	case r.Next != nil && now.Before(r.Next.Signs):
		return "the new key signs from " + r.Next.Signs.Format(time.RFC3339) + " at the earliest"
	case r.Next != nil && len(p.LackKey) > 0:
		return "the new key is not at: " + strings.Join(p.LackKey, "; ")
	case r.Next != nil:
		return "the new key is about to sign"
	case r.Previous == nil:
		return ""
	case now.Before(r.Previous.Drops):
		return "the previous key is accepted until " + r.Previous.Drops.Format(time.RFC3339) + " at the least"
	case len(p.LackPolicy) > 0:
		return "policies signed by the new key are not at: " + strings.Join(p.LackPolicy, "; ")
	}
	return "the previous key is about to be dropped"
}
