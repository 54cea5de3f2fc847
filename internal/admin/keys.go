package admin

import (
	"context"
	"time"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/release"
)

// Keyring keeps the keys that sign policies. It is safe for concurrent use.
type Keyring interface {
	// Keys is how they are.
	Keys(ctx context.Context) (Keys, error)
	// RotateKeys begins a rotation, or takes the next step of one, and returns
	// when that is durable. One that is under way is a Conflict.
	RotateKeys(ctx context.Context, r KeyRotation) (Keys, error)
}

// Keys are those that sign policies, and those by which they are accepted.
type Keys struct {
	Keys []Key `json:"keys"`
	// Waiting says what the rotation that is under way waits for; absent: none is.
	Waiting string `json:"waiting,omitempty"`
}

// KeyState is what a key is good for.
type KeyState string

// The states of a key.
const (
	KeyCurrent  KeyState = "current"  // signs, and is accepted
	KeyNext     KeyState = "next"     // is accepted, and will sign
	KeyPrevious KeyState = "previous" // is accepted, and signs no more
)

// Key is the public half of a key, and what became of it.
type Key struct {
	ID    string    `json:"id"`
	State KeyState  `json:"state"`
	Made  time.Time `json:"made"`
	// Signs is since when it signs; of the next one, when it does at the earliest.
	Signs time.Time `json:"signs"`
	// Drops is until when a previous one is accepted at the least.
	Drops  time.Time `json:"drops,omitzero"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	PEM    string    `json:"pem"` // for a file of --policy-keys
}

// KeyRotationRequest has another key sign policies, once every host has it.
type KeyRotationRequest struct {
	// Reason for the audit trail. Required.
	Reason string `json:"reason"`
	// After is how long the new key waits at least before it signs, for hosts that
	// have their keys from files. Default: 10s.
	After *release.Duration `json:"after,omitempty"`
	// Overlap is how long the old key is accepted at least after that. Default: 10m.
	Overlap *release.Duration `json:"overlap,omitempty"`
	// Force takes the next step of a rotation that is under way at once, whoever
	// lacks it; where none is, it begins one.
	Force bool `json:"force,omitempty"`
}

// KeyRotation is what a person asks for.
type KeyRotation struct {
	By, Reason     string
	How, Address   string        // By was proven, and that it came from
	After, Overlap time.Duration // 0: the default
	Force          bool
}

// maxKeyWait bounds the times of a rotation.
const maxKeyWait = 90 * 24 * time.Hour

func (r KeyRotationRequest) rotation(by access.Principal) (KeyRotation, error) {
	out := KeyRotation{By: by.Name, How: by.How, Address: by.Address, Reason: r.Reason, Force: r.Force}
	for _, f := range []struct {
		name string
		from *release.Duration
		to   *time.Duration
	}{{"after", r.After, &out.After}, {"overlap", r.Overlap, &out.Overlap}} {
		if f.from == nil {
			continue
		}
		if *f.to = time.Duration(*f.from); *f.to <= 0 || *f.to > maxKeyWait {
			return out, Invalid(f.name, "is %s: want more than 0s, and at most %s", *f.to, maxKeyWait)
		}
	}
	return out, reasonOf(r.Reason)
}

func (c *call) keyring() (Keyring, error) {
	if c.server.keys == nil {
		return nil, Conflict(0, "no keys are kept here").Hinted("a control plane with releases keeps them")
	}
	return c.server.keys, nil
}

func keysOf(ctx context.Context, c *call) (any, error) {
	ring, err := c.keyring()
	if err != nil {
		return nil, err
	}
	k, err := ring.Keys(ctx)
	k.Keys = list(k.Keys)
	return k, err
}

func rotateKeys(ctx context.Context, c *call) (any, error) {
	var r KeyRotationRequest
	if err := decode(c.body, &r); err != nil {
		return nil, err
	}
	what, err := r.rotation(c.principal)
	if err != nil {
		return nil, err
	}
	ring, err := c.keyring()
	if err != nil {
		return nil, err
	}
	k, err := ring.RotateKeys(ctx, what)
	k.Keys = list(k.Keys)
	return k, err
}

// Keys asks which keys sign policies.
func (c *Client) Keys(ctx context.Context) (Answer[Keys], error) {
	return get[Keys](ctx, c, "/v1/keys")
}

// RotateKeys begins a rotation, or with Force takes the next step of one.
func (c *Client) RotateKeys(ctx context.Context, r KeyRotationRequest) (Answer[Keys], error) {
	return post[Keys](ctx, c, "/v1/keys/rotate", r)
}
