package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/compile"
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
	state, durability, err := c.killDurably(ctx, t, o)
	c.publishNow()
	c.stir()
	return state, durability, errors.Join(err, c.trail(), c.unpublishedError())
}

func (c *Control) killDurably(ctx context.Context, t kill.Target, o kill.Order) (kill.State, Durability, error) {
	writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience) // a caller who leaves has still killed
	defer cancel()
	for range attempts {
		from := c.kills.get(t)
		next := kill.Kill(c.kills.acknowledged(from.state), o)
		if next.Generation == from.state.Generation && c.kills.stored(t) {
			return from.state, InStore, nil // this order came before
		}
		err := c.kills.put(writing, from, next)
		if err == nil {
			return c.kills.get(t).state, InStore, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			c.o.Log.Error().Err(err).Str("target", t.String()).Msg("the store does not take a kill: it is kept here, and written later")
			break
		}
	}
	state, err := c.kills.alone(o, t)
	if err != nil || c.kills.copy.dir == "" {
		return state, InMemory, errors.Join(err, errors.New("neither the store nor this replica's disk has taken it: "+afterCrash))
	}
	return state, InCopy, nil
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

// targeted says why there is nothing that a kill of a target would stop.
func (c *Control) targeted(t kill.Target) error {
	if err := t.Validate(); err != nil {
		return err
	}
	s := c.snapshot()
	if t.Scope == kill.All || s == nil { // without files nothing is known: the kill holds for when they come
		return nil
	}
	var known []string
	for _, name := range targetsOf(s, t.Scope) {
		if name == t.Name {
			return nil
		}
		known = append(known, name)
	}
	return fmt.Errorf("%w: %s; want one of %s", ErrNoTarget, t, few(known))
}

// ErrNoTarget is what a kill fails with of something that the files do not have.
var ErrNoTarget = errors.New("there is no such target")

// targetsOf are the names that a kill of a scope may have.
func targetsOf(s *compile.Snapshot, scope kill.Scope) (names []string) {
	switch scope {
	case kill.Route:
		for i := range s.Routes {
			names = append(names, s.Routes[i].Name)
		}
	case kill.Model:
		for i := range s.Models {
			names = append(names, s.Models[i].Name)
		}
	case kill.Version:
		for i := range s.Models {
			for j := range s.Models[i].Versions {
				names = append(names, s.Models[i].Name+"/"+s.Models[i].Versions[j].Name)
			}
		}
	case kill.All:
	}
	return names
}

// few lists names for a person.
func few(names []string) string {
	const most = 10
	text := ""
	for i, name := range names {
		if i == most {
			return text + fmt.Sprintf(" and %d more", len(names)-most)
		}
		if i > 0 {
			text += ", "
		}
		text += name
	}
	if text == "" {
		return "none"
	}
	return text
}

// followKills takes in what the store tells of kills until ctx ends, and publishes
// what it means.
func (c *Control) followKills(ctx context.Context) {
	for events := range c.o.Store.Watch(ctx, killsPrefix) {
		first := !c.kills.ready()
		changed, problems := c.kills.take(events)
		for _, err := range problems {
			c.o.Log.Error().Err(err).Msg("a kill cannot be read: what was known of it stays")
		}
		if changed || first {
			c.publishNow()
		}
		c.stir()
	}
}

// Killed reports whether a target is.
func (c *Control) Killed(t kill.Target) bool { return c.kills.get(t).state.Killed }

// KillsInForce is what is killed, for the hosts in this process.
func (c *Control) KillsInForce() *kill.Live { return c.kills.live }

// keepKills does until ctx ends what a kill could not wait for: it writes to the
// store what that could not take, to the trail what is not there, and publishes the
// steps of ramps.
func (c *Control) keepKills(ctx context.Context) {
	tick := time.NewTicker(writesUp)
	defer tick.Stop()
	var told string
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if c.rampsOn(now) || c.otherKeys() {
				c.publishNow()
			}
		}
		before := c.kills.set()
		err := errors.Join(c.kills.save(ctx), c.trail())
		_ = c.register.departed(ctx) // tried again with the next tick
		if c.kills.set() != before {
			c.publishNow()
		}
		news := ""
		if err != nil && ctx.Err() == nil {
			news = err.Error()
		}
		if news != "" && news != told {
			c.o.Log.Error().Err(err).Msg("a kill is in force, and not yet where it has to be")
		}
		told = news
	}
}

// rampsOn reports whether a ramp has come to its next step since kills were
// published last.
func (c *Control) rampsOn(now time.Time) bool {
	c.publishing.Lock()
	defer c.publishing.Unlock()
	return !c.rendered.until.IsZero() && !now.Before(c.rendered.until)
}

// rampStep is when the next step of a ramp is due; zero: none is.
func rampStep(set *kill.Set, now time.Time) (next time.Time) {
	for _, s := range set.All() {
		if s.Killed || s.Ramp == nil {
			continue
		}
		if _, at := s.Ramp.Percent(now); !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

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
