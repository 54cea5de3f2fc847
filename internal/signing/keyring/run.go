package keyring

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/signing"
	"github.com/safestate/safestate/internal/store"
)

// looks is how often a rotation's next step is looked at.
const looks = time.Second

// Run follows the store, tells the other replicas how far this one is, and takes
// the steps of rotations that are due, until ctx ends. Every replica does: one of
// them is first.
func (k *Keyring) Run(ctx context.Context, hooks Hooks) {
	k.mu.Lock()
	k.hooks, k.runs = hooks, true
	ring := k.ring
	k.mu.Unlock()
	k.tell(ring)
	if hooks.Changed != nil {
		hooks.Changed() // what was published before may be by an older key
	}
	var running sync.WaitGroup
	running.Go(func() { k.o.Store.Register(ctx, holdersPrefix+k.o.Replica, k.said) })
	running.Go(func() {
		for events := range k.o.Store.Watch(ctx, holdersPrefix) {
			k.hear(events)
		}
	})
	running.Go(func() { k.follow(ctx) })
	running.Go(func() { k.step(ctx) })
	running.Wait()
}

// follow goes by what the store has, and writes back what it lost.
func (k *Keyring) follow(ctx context.Context) {
	for events := range k.o.Store.Watch(ctx, Key) {
		seen := false
		for i := range events {
			if events[i].Key != Key {
				continue // one whose key begins alike
			}
			seen = true
			k.take(ctx, &events[i])
		}
		if !seen && len(events) == 0 { // the first answer: it is not there
			k.restore(ctx, 0)
		}
	}
}

func (k *Keyring) take(ctx context.Context, e *store.Event) {
	if e.Deleted {
		k.restore(ctx, 0)
		return
	}
	ring, err := parse(e.Value)
	if err != nil {
		k.o.Log.Error().Err(err).Msg("the store's keys of policies cannot be read: the last good ones stay")
		return
	}
	k.mu.Lock()
	newer := k.ring.Sequence > ring.Sequence
	k.mu.Unlock()
	if newer {
		k.restore(ctx, e.Revision)
		return
	}
	k.turn(ring, e.Revision)
}

// restore writes this replica's ring in the place of an older one, or of none.
func (k *Keyring) restore(ctx context.Context, revision int64) {
	k.mu.Lock()
	ring := k.ring
	k.revision = 0 // whatever it is, what is told next counts
	k.mu.Unlock()
	switch err := k.put(ctx, ring, revision); {
	case err == nil:
		k.o.Log.Warn().Uint64("sequence", ring.Sequence).Msg("the store did not have the newest keys of policies: written from here")
	case !errors.Is(err, store.ErrConflict) && ctx.Err() == nil:
		k.o.Log.Error().Err(err).Msg("the store's keys of policies are older than this replica's, and cannot be written")
	}
}

// step takes the steps that are due, each once those before it are in the trail.
func (k *Keyring) step(ctx context.Context) {
	tick := time.NewTicker(looks)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := k.note(ctx)
		if err == nil {
			err = k.advance(ctx, time.Now())
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrConflict) {
			k.o.Log.Warn().Err(err).Msg("a rotation of the keys of policies waits")
		}
	}
}

func (k *Keyring) advance(ctx context.Context, now time.Time) error {
	ring, revision := k.now()
	if ring.Next == nil && ring.Previous == nil && !ring.Due(now, k.o.Age) {
		return nil
	}
	next, changed := ring.Advance(now, k.progress(ring))
	what := signing.Rotation{By: itself, Reason: "everybody has what follows it"}
	if !changed && ring.Due(now, k.o.Age) {
		var err error
		what.Reason = "the key is older than " + k.o.Age.String()
		next, err = ring.Rotate(rand.Reader, now, what)
		if err != nil {
			return err
		}
		changed = true
	}
	if !changed || revision == 0 {
		return nil
	}
	if err := k.put(ctx, next.Recorded(ring, k.record(what)), revision); err != nil {
		return err
	}
	return k.note(ctx)
}

// itself is who does what nobody asked for.
const itself = "safestate"

func (k *Keyring) record(what signing.Rotation) signing.Record {
	return signing.Record{At: time.Now().UTC(), By: what.By, How: what.How, Address: what.Address, Reason: what.Reason, Replica: k.o.Replica}
}

// note brings what this replica did to the audit trail: also what it could not
// before, or was not told to have.
func (k *Keyring) note(ctx context.Context) error {
	if k.o.Noted == nil {
		return nil
	}
	k.mu.Lock()
	records, noted := k.ring.Records, k.noted
	k.mu.Unlock()
	for _, r := range records {
		if r.Replica != k.o.Replica || r.Sequence <= noted {
			continue
		}
		if err := k.o.Noted(ctx, r); err != nil {
			return fmt.Errorf("it is done, and the audit trail does not take it: %w", err)
		}
		k.mu.Lock()
		k.noted = max(k.noted, r.Sequence)
		k.mu.Unlock()
	}
	return nil
}

func (k *Keyring) now() (signing.Ring, int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ring, k.revision
}

// attempts are how often a change that somebody else's came before is tried.
const attempts = 5

// Rotate begins a rotation, or with Force takes the next step of the one that is
// under way; else that is signing.ErrUnderWay. It returns when that is durable, and in the audit
// trail; with a State and an error it is not in the trail yet.
func (k *Keyring) Rotate(ctx context.Context, what signing.Rotation) (State, error) {
	var err error
	for range attempts {
		ring, revision := k.now()
		var next signing.Ring
		if next, err = ring.Rotate(rand.Reader, time.Now(), what); err != nil {
			return State{}, err
		}
		if err = k.put(ctx, next.Recorded(ring, k.record(what)), revision); err == nil {
			k.o.Log.Warn().Str("by", what.By).Str("reason", what.Reason).Bool("force", what.Force).Msg("rotation of the keys of policies")
			err = k.note(ctx)
			return k.State(), err
		}
		if !errors.Is(err, store.ErrConflict) {
			return State{}, err
		}
		if err := k.open(ctx, nil); err != nil {
			return State{}, err
		}
	}
	return State{}, err
}

// State is how the keys are, for people.
type State struct {
	Ring signing.Ring
	// Waiting says what the rotation that is under way waits for; empty: none is.
	Waiting string
}

// State returns it.
func (k *Keyring) State() State {
	ring, _ := k.now()
	return State{ring, ring.Waiting(time.Now(), k.progress(ring))}
}
