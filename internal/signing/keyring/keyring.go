// Package keyring keeps the keys by which policies are signed: in the store, where
// all replicas find the same ones, and on this replica's disk, for a store that is
// away. It carries out what package signing decides.
package keyring

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/signing"
	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/internal/telemetry"
)

// Key is where the ring is in the store, private keys included: whoever reads it
// can sign.
const Key = "/safestate/v1/signing-keys"

// File is the name of the local copy in the data folder, for this user alone.
const File = "signing-keys.json"

// Options are what a Keyring is made of. Store, Replica, Trust and Log are
// required.
type Options struct {
	Store   store.Store
	Replica string // the name of this process among its like
	DataDir string // of the local copy; empty: none is kept
	// Age is when a key is rotated by itself; 0: never.
	Age time.Duration
	// Trust is told the keys by which policies are verified, before any policy is
	// signed by a new one.
	Trust func(...signing.Public)
	// Hosts are those elsewhere that are expected to have a key and have not said
	// so, each in a line; nil: there are none that say. It must not block.
	Hosts func(keyID string) []string
	// Noted brings a change that this replica made to its audit trail, and returns
	// when it is durable there. One change may come again. nil: there is no trail.
	Noted func(context.Context, signing.Record) error
	Log   *telemetry.Log
}

// Published is what this replica's proxies were given last.
type Published struct {
	KeyID   string   // that signed it; empty: nothing was published yet
	Lacking []string // proxies that may not have it, each in a line
}

// Hooks tie a Keyring to what publishes policies. None may block.
type Hooks struct {
	Changed   func() // another key signs: publish again
	Published func() Published
}

// Keyring is safe for concurrent use.
type Keyring struct {
	o     Options
	hooks Hooks // of Run

	mu       sync.Mutex
	ring     signing.Ring
	revision int64 // of ring in the store; 0: it is not there
	signer   *signing.Signer
	others   map[string]statement // by replica
	heard    bool                 // what they say is known
	runs     bool
	noted    uint64 // changes up to this one are in the trail
}

// Bounds of the wait for the store's first answer: without a local copy nothing can
// be done but wait.
const (
	firstRead     = 10 * time.Second
	firstReadCopy = 2 * time.Second
	retryAfter    = 100 * time.Millisecond
)

// Open reads the ring, and makes the first one where there is none. Replicas that
// start at once agree on one. An error says that the keys are not known: nothing
// is made in the place of those that a store which does not answer may have.
func Open(ctx context.Context, o Options) (*Keyring, error) {
	k := &Keyring{o: o, others: map[string]statement{}}
	copied, err := readCopy(o.DataDir)
	if err != nil {
		return nil, err
	}
	wait := firstRead
	if copied != nil {
		wait = firstReadCopy
	}
	reading, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		err := k.open(reading, copied)
		if err == nil {
			return k, nil
		}
		select {
		case <-reading.Done():
		case <-time.After(retryAfter):
			continue
		}
		if copied == nil || ctx.Err() != nil {
			return nil, fmt.Errorf("the keys that sign policies are not known, and there is no local copy of them: %w", err)
		}
		o.Log.Warn().Err(err).Msg("the store does not answer: the keys that sign policies are those of the local copy")
		k.turn(*copied, 0)
		return k, nil
	}
}

// open takes what the store has, or puts there what it lacks.
func (k *Keyring) open(ctx context.Context, copied *signing.Ring) error {
	entry, err := k.o.Store.Get(ctx, Key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		ring, err := k.first(copied)
		if err != nil {
			return err
		}
		return k.put(ctx, ring, 0)
	case err != nil:
		return err
	}
	ring, err := parse(entry.Value)
	if err != nil {
		return fmt.Errorf("%s in the store: %w", Key, err)
	}
	if copied != nil && copied.Sequence > ring.Sequence {
		return k.put(ctx, *copied, entry.Revision) // the store was set back
	}
	k.turn(ring, entry.Revision)
	return nil
}

func (k *Keyring) first(copied *signing.Ring) (signing.Ring, error) {
	if copied != nil {
		return *copied, nil
	}
	ring, err := signing.First(rand.Reader, time.Now())
	if err != nil {
		return ring, err
	}
	return ring.Recorded(signing.Ring{}, k.record(signing.Rotation{By: itself, Reason: "the first start"})), nil
}

func parse(text []byte) (signing.Ring, error) {
	var r signing.Ring
	err := json.Unmarshal(text, &r)
	if err == nil {
		err = r.Validate()
	}
	return r, err
}

// put writes a ring and goes by it.
func (k *Keyring) put(ctx context.Context, r signing.Ring, revision int64) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	entry, err := k.o.Store.Put(ctx, Key, text, revision)
	if err != nil {
		return err
	}
	k.turn(r, entry.Revision)
	return nil
}

// turn goes by a ring, unless a newer one holds: hosts trust its keys first, then
// it signs.
func (k *Keyring) turn(r signing.Ring, revision int64) {
	k.mu.Lock()
	private, err := r.Current.Private()
	if err != nil || r.Sequence < k.ring.Sequence {
		k.mu.Unlock()
		return
	}
	news := r.Sequence > k.ring.Sequence
	k.ring, k.revision = r, revision
	k.o.Trust(r.Public()...)
	id, changed := private.Public().ID, func() {}
	if id != k.signer.KeyID() {
		k.signer = signing.NewSigner(private)
		if k.hooks.Changed != nil {
			changed = k.hooks.Changed
		}
	}
	runs := k.runs
	k.mu.Unlock()
	changed()
	if !news {
		return
	}
	if runs {
		k.tell(r)
	}
	if err := writeCopy(k.o.DataDir, r); err != nil {
		k.o.Log.Error().Err(err).Msg("without the store a restart would not know the keys that sign policies")
	}
}

func (k *Keyring) tell(r signing.Ring) {
	k.o.Log.Info().Uint64("sequence", r.Sequence).Str("signs", r.Current.Public().ID).Strs("accepted", idsOf(r.Public())).
		Str("by", r.Current.By).Msg("keys of policies")
}

func idsOf(keys []signing.Public) []string { return signing.NewSet(keys...).IDs() }

// Signer signs by the key that holds now.
func (k *Keyring) Signer() *signing.Signer {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.signer
}

// Ages are, for a scrape, for how long the present key has signed, and for how long
// a rotation is under way; 0: none is.
func (k *Keyring) Ages(now time.Time) (key, rotation time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch r := k.ring; {
	case r.Next != nil:
		rotation = now.Sub(r.Next.Made)
	case r.Previous != nil:
		rotation = now.Sub(r.Current.Made)
	}
	return now.Sub(k.ring.Current.Signs), rotation
}
