package audit

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Bounds of an entry's parts, in bytes. Texts that are longer are cut and say
// so; JSON that is longer gives way to its length and its SHA-256.
const (
	MaxID       = 200
	maxName     = 200
	maxTarget   = 512
	maxReason   = 4 << 10
	maxState    = 16 << 10 // of Before and of After
	maxEvidence = 64 << 10

	// MaxLine is longer than any line of a chain.
	MaxLine = 128 << 10
)

// Hash is a SHA-256, written in hex.
type Hash [32]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != 2*len(h) {
		return fmt.Errorf("a hash of %d characters, want %d", len(text), 2*len(h))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// Signature is of Ed25519, written in base64.
type Signature [ed25519.SignatureSize]byte

func (s Signature) String() string { return base64.StdEncoding.EncodeToString(s[:]) }

// MarshalText implements encoding.TextMarshaler.
func (s Signature) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Signature) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err == nil && len(raw) != len(s) {
		err = fmt.Errorf("a signature of %d bytes, want %d", len(raw), len(s))
	}
	if err == nil {
		copy(s[:], raw)
	}
	return err
}

// Actor is who did it.
type Actor struct {
	// Name of the principal. For what nobody asked for: "safestate".
	Name string `json:"name"`
	// How the principal proved to be it: "token", "certificate", "oidc", "local".
	How string `json:"how,omitempty"`
	// Address that the request came from.
	Address string `json:"address,omitempty"`
}

// Entry is one line of a chain. A caller of [Log.Append] fills Kind, ID, Actor
// and what there is of Happened to Outcome; the rest is the log's.
//
// Texts in an entry are printable: what a terminal would act on instead of
// showing it (control characters, changes of direction, broken UTF-8) is
// replaced by an escape that can be read, as in \u202e.
type Entry struct {
	V        int       `json:"v"`        // of the format: 1
	Writer   string    `json:"writer"`   // whose chain it is in
	Sequence uint64    `json:"sequence"` // in that chain, from 1, without gaps
	At       time.Time `json:"at"`       // when it was written: UTC, microseconds; never earlier than the entry before
	Kind     Kind      `json:"kind"`

	// ID is the record's own. A second entry with an ID that is in the chain is
	// not written. Left empty, every Append is another record.
	ID string `json:"id"`
	// Happened is when the thing was done, where that is not At: an entry that is
	// made up for after a crash.
	Happened time.Time `json:"happened,omitzero"`
	Actor    Actor     `json:"actor"`
	// Target is what it was done to: "all", "namespace/model",
	// "namespace/model/version", "route/namespace/route/rule", a policy, a proxy.
	Target   string          `json:"target,omitempty"`
	Reason   string          `json:"reason,omitempty"`
	Before   json.RawMessage `json:"before,omitempty"`
	After    json.RawMessage `json:"after,omitempty"`
	Evidence json.RawMessage `json:"evidence,omitempty"`
	// Generation that it led to; 0 where there is none.
	Generation uint64  `json:"generation,omitempty"`
	Outcome    Outcome `json:"outcome"`

	// Signature of all of the above and of Prev.
	Signature Signature `json:"signature"`
	Prev      Hash      `json:"prev"` // Hash of the entry before; of the first one, zeros
	Hash      Hash      `json:"hash"` // of Prev and all of the above, Signature included
}

// version is of the format.
const version = 1

// prepared returns e as it can be written: its texts and its JSON clean and
// within their bounds. What it cannot mend is a mistake of the caller.
func (e Entry) prepared() (Entry, error) {
	switch {
	case !e.Kind.Known():
		return e, fmt.Errorf("audit: there is no kind %q", clip(string(e.Kind)))
	case len(e.ID) > MaxID:
		return e, fmt.Errorf("audit: an ID of %d bytes; %d are the most", len(e.ID), MaxID)
	case e.ID == "" || cleanText(e.ID, MaxID) != e.ID:
		return e, fmt.Errorf("audit: ID %q: want a text that prints", clip(e.ID))
	case e.Actor.Name == "":
		return e, errors.New("audit: an entry says who did it")
	case !e.Happened.IsZero() && !writable(e.Happened):
		return e, fmt.Errorf("audit: a time in the year %d", e.Happened.Year())
	}
	if e.Outcome == "" {
		e.Outcome = OutcomeDone
	}
	if !outcomes[e.Outcome] {
		return e, fmt.Errorf("audit: there is no outcome %q", clip(string(e.Outcome)))
	}
	e.V = version
	e.Happened = moment(e.Happened)
	e.Actor.Name = cleanText(e.Actor.Name, maxName)
	e.Actor.How = cleanText(e.Actor.How, maxName)
	e.Actor.Address = cleanText(e.Actor.Address, maxName)
	e.Target = cleanText(e.Target, maxTarget)
	e.Reason = cleanText(e.Reason, maxReason)
	e.Before = cleanJSON(e.Before, maxState)
	e.After = cleanJSON(e.After, maxState)
	e.Evidence = cleanJSON(e.Evidence, maxEvidence)
	return e, nil
}

// moment is a time as entries hold it.
func moment(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// writable reports whether a time has the length that the format gives it.
func writable(t time.Time) bool {
	year := t.UTC().Year()
	return year >= 1 && year <= 9999
}
