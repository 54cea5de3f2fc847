// Package policies keeps the history of a policy: every change of its content
// has a number, a time, who made it and why, and what it did; a person can go
// back to an earlier one, which then holds against the files until it is let
// go. All of it is pure: a state goes in, a state comes out.
package policies

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Files is who made a change that was read from the files.
const Files = "files"

// Bounds of a state: what is older is dropped, but never what is in force nor
// what the files say. The specs' bound keeps a state within the store's
// largest value.
const (
	MaxChanges   = 50
	maxSpecBytes = 512 << 10
)

// State is what the store keeps of one policy, as JSON:
//
//	{"current": 3, "pinned": 3, "file": 2, "changes": [{"number": 1, ...}, ...]}
//
// The zero State is that of a policy never seen. Functions return a new State
// and leave the one that they were given as it is.
type State struct {
	// Current is the number of the change in force, 0 before the first.
	Current int `json:"current,omitempty"`

	// Pinned is Current where a person holds it against the files; 0: the files
	// are followed.
	Pinned int `json:"pinned,omitempty"`

	// File is the number of the change with the content that the files had last.
	File int `json:"file,omitempty"`

	// Changes are sorted by number, the oldest first.
	Changes []Change `json:"changes,omitempty"`
}

// Change is one content of a policy and how it came about:
//
//	{"number": 3, "at": "2026-01-02T03:04:05Z", "by": "anna", "reason": "v2 floods",
//	 "restores": 1, "digest": "sha256:…", "mode": "Enforce", "enforcePercent": 25,
//	 "from": "2026-01-02T03:04:05Z", "until": "…", "counts": {"clean": 9, "bad": 1, "observed": 0},
//	 "spec": {…}}
type Change struct {
	Number int       `json:"number"` // from 1, without a gap
	At     time.Time `json:"at"`
	By     string    `json:"by"` // Files, or a person
	Reason string    `json:"reason,omitempty"`

	// Restores is the number of the change whose content this one brings back,
	// 0 where the content is new.
	Restores int `json:"restores,omitempty"`

	// Unpins: what it brings back is the files' own; without it, a restoring
	// change is a rollback.
	Unpins bool `json:"unpins,omitempty"`

	// Digest is of Spec alone, so a policy's labels and its place in a file do
	// not matter.
	Digest string `json:"digest"`

	// Mode is Observe or Enforce, EnforcePercent the share of requests that are
	// enforced: 0 with Observe.
	Mode           string  `json:"mode"`
	EnforcePercent float64 `json:"enforcePercent"`

	// From and Until are when it was in force. Without From it never was: the
	// files had it while another change was pinned. Without Until it is.
	From  *time.Time `json:"from,omitempty"`
	Until *time.Time `json:"until,omitempty"`

	// Counts are of the time in force; at its end, where it is over.
	Counts Counts `json:"counts,omitzero"`

	// Spec is a FailSafePolicy's spec as canonical JSON: sorted keys, no spaces.
	Spec json.RawMessage `json:"spec"`
}

// Counts are answers under a change.
type Counts struct {
	Clean    uint64 `json:"clean"`    // passed as they were
	Bad      uint64 `json:"bad"`      // failed, and answered by the ladder
	Observed uint64 `json:"observed"` // failed, and passed all the same, since not enforced
}

// Change returns the change of a number.
func (s State) Change(number int) (Change, bool) {
	i, ok := s.index(number)
	if !ok {
		return Change{}, false
	}
	return s.Changes[i], true
}

func (s State) index(number int) (int, bool) {
	return slices.BinarySearchFunc(s.Changes, number, func(c Change, n int) int { return c.Number - n })
}

// Drift returns what the files say where that is not in force.
func (s State) Drift() (Change, bool) {
	file, ok := s.Change(s.File)
	current, _ := s.Change(s.Current)
	if !ok || s.Pinned == 0 || file.Digest == current.Digest {
		return Change{}, false
	}
	return file, true
}

// Effective returns the spec to compile in place of the files' spec: the
// pinned one, or the files' own as it was given. So without a pin nothing
// depends on the store.
func (s State) Effective(spec json.RawMessage) json.RawMessage {
	if pinned, ok := s.Change(s.Pinned); ok {
		return pinned.Spec
	}
	return spec
}

// Counted returns the state with the counts of the change in force, which
// replace those before. It is called before the change ends, too.
func (s State) Counted(counts Counts) State {
	i, ok := s.index(s.Current)
	if !ok {
		return s
	}
	s.Changes = slices.Clone(s.Changes)
	s.Changes[i].Counts = counts
	return s
}

// Parse reads a state as it was marshalled, and holds it against itself.
func Parse(text []byte) (State, error) {
	var s State
	if err := json.Unmarshal(text, &s); err != nil {
		return State{}, fmt.Errorf("a policy's history cannot be read: %w", err)
	}
	for i, c := range s.Changes {
		if i > 0 && c.Number <= s.Changes[i-1].Number {
			return State{}, fmt.Errorf("a policy's history cannot be read: change %d follows %d", c.Number, s.Changes[i-1].Number)
		}
	}
	for _, number := range []int{s.Current, s.Pinned, s.File} {
		if _, ok := s.index(number); number != 0 && !ok {
			return State{}, fmt.Errorf("a policy's history cannot be read: change %d is missing", number)
		}
	}
	return s, nil
}
