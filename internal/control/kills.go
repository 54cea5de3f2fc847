package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/store"
)

// Durability says where a kill is that holds.
type Durability string

// The durabilities.
const (
	InStore    Durability = "store"
	InCopy     Durability = "local copy" // of this replica, fsynced; the store gets it when it is back
	InMemory   Durability = "memory"     // of this replica alone: neither the store nor the disk takes it
	afterCrash            = "it holds in this process only, and is lost with it"
)

// Kill stops a target. It always holds when Kill returns: in the store, or where
// that does not answer within patience on this replica's disk, then in memory,
// then pushed. An error says what of that is missing: the kill is in force even
// so. Only an order that is none, or a target that nothing is known of, is not
// done: those are mistakes of who asks.
func (c *Control) Kill(ctx context.Context, t kill.Target, o kill.Order) (kill.State, Durability, error) {
	o.Replica = c.o.Replica
	if err := errors.Join(o.Validate(), c.targeted(t)); err != nil {
		return kill.New(t), "", &mistakenError{err}
	}
	state, durability := c.killNow(ctx, t, o)
	c.publishNow() // before the disk is waited for: it may hang
	c.stir()
	var err error
	if durability == InCopy {
		durability, err = c.onDisk()
	}
	return state, durability, errors.Join(err, c.trail(), c.unpublishedError())
}

// killNow puts a kill in force: where the store does not take it at once, by the
// local copy.
func (c *Control) killNow(ctx context.Context, t kill.Target, o kill.Order) (kill.State, Durability) {
	writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience) // a caller who leaves has still killed
	defer cancel()
	for range attempts {
		from := c.kills.get(t)
		next := kill.Kill(c.kills.acknowledged(from.state), o)
		if next.Generation == from.state.Generation && c.kills.stored(t) {
			return from.state, InStore // this order came before
		}
		err := c.kills.put(writing, from, next)
		if err == nil {
			return c.kills.get(t).state, InStore
		}
		if !errors.Is(err, store.ErrConflict) {
			c.o.Log.Error().Err(err).Str("target", t.String()).Msg("the store does not take a kill: it is kept here, and written later")
			break
		}
	}
	return c.kills.alone(o, t), InCopy
}

// onDisk waits until the kills that the store did not take are on this replica's
// disk, and says where they are.
func (c *Control) onDisk() (Durability, error) {
	err := c.kills.copy.flush()
	if err != nil || c.kills.copy.dir == "" {
		return InMemory, errors.Join(err, errors.New("neither the store nor this replica's disk has taken it: "+afterCrash))
	}
	return InCopy, nil
}

// Revive gives a target its traffic back, by a compare-and-swap on what the
// person saw, or asks a second person. It needs the store.
func (c *Control) Revive(ctx context.Context, t kill.Target, r kill.Request) (kill.State, error) {
	if err := errors.Join(r.Validate(), t.Validate()); err != nil {
		return kill.New(t), &mistakenError{err}
	}
	return c.unkill(ctx, t, func(s kill.State) (kill.State, error) { return kill.Revive(s, takenBy(r, c.o.Replica)) })
}

// Approve is the second person's part of Revive.
func (c *Control) Approve(ctx context.Context, t kill.Target, r kill.Request) (kill.State, error) {
	if err := t.Validate(); err != nil {
		return kill.New(t), &mistakenError{err}
	}
	return c.unkill(ctx, t, func(s kill.State) (kill.State, error) { return kill.Approve(s, takenBy(r, c.o.Replica)) })
}

func (c *Control) unkill(ctx context.Context, t kill.Target, by func(kill.State) (kill.State, error)) (kill.State, error) {
	for range attempts {
		// What the store has now, and not what this replica last heard: a stale one
		// never undoes a kill.
		if err := c.kills.reread(ctx, t); err != nil {
			return c.kills.get(t).state, fmt.Errorf("a revive needs the store: %w", err)
		}
		from := c.kills.get(t)
		next, err := by(c.kills.acknowledged(from.state))
		if err != nil {
			return from.state, err
		}
		err = c.kills.put(ctx, from, next)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return from.state, fmt.Errorf("a revive needs the store: %w", err)
		}
		err = c.trail()
		c.publishNow()
		c.stir()
		return c.kills.get(t).state, errors.Join(err, c.unpublishedError())
	}
	return c.kills.get(t).state, errors.New("the target is changed all the time: try again")
}

func (c *Control) unpublishedError() error {
	if f := c.refused(); f.err != nil {
		return fmt.Errorf("it is decided and written, and cannot be published: the proxies keep what they have: %w", f.err)
	}
	return nil
}

// followKills takes in what the store tells of kills until ctx ends, and publishes
// what it means.
func (c *Control) followKills(ctx context.Context) {
	for events := range c.o.Store.Watch(ctx, killsPrefix) {
		first, spoiled := !c.kills.ready(), c.kills.unreadable() != nil
		changed, doubtful, problems := c.kills.take(events)
		for _, t := range doubtful {
			if err := c.kills.reread(ctx, t); err != nil {
				problems = append(problems, err)
			}
		}
		for _, err := range problems {
			if ctx.Err() == nil {
				c.o.Log.Error().Err(err).Msg("a kill cannot be read: what was known of it stays")
			}
		}
		if changed || len(doubtful) > 0 || first {
			c.publishNow()
		}
		if spoiled && c.kills.unreadable() == nil {
			c.o.Reload() // what was refused meanwhile may be taken
		}
		c.stir()
	}
}

// Killed reports whether a target is.
func (c *Control) Killed(t kill.Target) bool { return c.kills.get(t).state.Killed }

// KillsInForce is what is killed, for the hosts in this process.
func (c *Control) KillsInForce() *kill.Live { return c.kills.live }

func takenBy(r kill.Request, replica string) kill.Request {
	r.Replica = replica
	return r
}

// problemOfKill says which mistakes are who asks'.
func problemOfKill(err error) error {
	mistake := (*mistakenError)(nil)
	switch {
	case errors.Is(err, ErrNoTarget):
		return admin.NotFound("%s", err)
	case errors.As(err, &mistake):
		return admin.Invalid("", "%s", err)
	default:
		return err
	}
}
