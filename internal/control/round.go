package control

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/store"
)

// idle is how often the leader looks at everything without being woken.
const idle = time.Second

// lead decides, as long as this replica leads.
func (c *Control) lead(ctx context.Context) {
	c.setLeading(true)
	defer c.setLeading(false)
	defer c.resignMesh(ctx)()
	c.tests.load(ctx, c.o.Store, c.o.Log)
	c.o.Log.Info().Msg("leading: releases are decided here")
	var writing sync.WaitGroup
	writing.Go(func() { c.writeUp(ctx) })
	defer writing.Wait()
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.o.Hub.Changed():
		case <-c.wake:
		case <-next.C:
		}
		next.Reset(c.round(ctx))
	}
}

// resignMesh has nothing written to the mesh from the moment on that ctx ends, whatever
// the round in hand waits for: then another one leads, and decides otherwise. What it
// returns is to be called when nobody leads here any more.
func (c *Control) resignMesh(ctx context.Context) (done func()) {
	if c.o.Mesh == nil {
		return func() {}
	}
	resigned := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(resigned)
		c.o.Mesh.Lead(false)
	})
	return func() {
		if !stop() {
			<-resigned // not in the middle of the next lead
		}
	}
}

func (c *Control) setLeading(yes bool) {
	c.mu.Lock()
	c.leading = yes
	clear(c.failing)
	c.mu.Unlock()
	c.o.Metrics.Leading(yes)
	if c.o.Mesh != nil {
		c.o.Mesh.Lead(yes)
	}
	if yes {
		c.o.Hub.Begin(time.Now()) // what was before, the one who led has counted
	}
	c.share()
}

// round looks at every model once, and says when to do so again.
func (c *Control) round(ctx context.Context) time.Duration {
	now := time.Now()
	snapshot := c.snapshot()
	if snapshot == nil {
		return idle
	}
	came := c.o.Hub.Take(now)
	c.ask(came)
	c.policies.count(came)
	c.tests.feed(came, snapshot.Models, c.book, now)
	c.killWatch.feed(came, snapshot.Models, func(model string) release.State { return c.book.get(model).state }, now)
	if c.isUnpublished() {
		c.publishNow()
	}
	// Those first that take traffic away from a version: nothing holds them up.
	again, later := idle, []*compile.Model(nil)
	for i := range snapshot.Models {
		wake, waits := c.look(ctx, &snapshot.Models[i], towardsSafe)
		c.carryOut(ctx, &snapshot.Models[i])
		again = sooner(again, wake)
		if waits {
			later = append(later, &snapshot.Models[i])
		}
	}
	for _, m := range later {
		if now.Before(c.restUntil) {
			break
		}
		wake, _ := c.look(ctx, m, always)
		again = sooner(again, wake)
	}
	if !now.Before(c.restUntil) {
		c.dismiss(ctx, now)
	}
	if c.isUnpublished() {
		c.publishNow()
	}
	return again
}

// ask notes when versions were last asked: whoever leads next is to know.
func (c *Control) ask(came []signals.Increment) {
	for i := range came {
		c.proofs.see(came[i].Model, came[i].Name, came[i].LastAsked)
	}
}

func sooner(d time.Duration, at time.Time) time.Duration {
	if at.IsZero() {
		return d
	}
	return min(d, max(time.Until(at), time.Millisecond))
}

// rest is how long a round leaves a store alone that did not answer: what can
// wait is tried again then.
const rest = 2 * time.Second

// look advances a model where its change is one of those that may be made now; it
// waits where it is not.
func (c *Control) look(ctx context.Context, m *compile.Model, may func(from, to release.State) bool) (wake time.Time, waits bool) {
	wake, waits, err := c.advance(ctx, m, may)
	switch {
	case ctx.Err() != nil, err == nil && waits:
		return wake, waits
	case c.fails(m.Name, err):
		c.o.Log.Error().Err(err).Str("model", m.Name).Msg("a release cannot go on, it is tried again")
	}
	if errors.Is(err, store.ErrUnavailable) {
		c.restUntil = time.Now().Add(rest)
	}
	return wake, waits
}

// fails notes why a model's release cannot go on, nil: it does, and reports whether
// that is news.
func (c *Control) fails(model string, err error) (news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		delete(c.failing, model)
		return false
	}
	f := c.failing[model]
	news = f.err == nil || f.err.Error() != err.Error()
	f.happens(err)
	c.failing[model] = f
	return news
}

func always(release.State, release.State) bool { return true }

func (c *Control) snapshot() *compile.Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.files
}

// attempts is how often a change is made anew where somebody else was first.
const attempts = 5

// advance does what is to be done for one model now, where it may be, and says when
// there will be more.
func (c *Control) advance(ctx context.Context, m *compile.Model, may func(from, to release.State) bool) (wake time.Time, waits bool, err error) {
	versions := versionsOf(m)
	for range attempts {
		now := time.Now()
		from := c.book.get(m.Name)
		state, refused := release.Register(from.state, versions, now)
		if len(refused) > 0 {
			return time.Time{}, false, errors.Join(refused...) // another replica's files have it otherwise
		}
		c.meter.want(m, state.Candidate, now)
		next, changed, wake, mistake := release.Advance(state, c.input(m, state), now)
		if !changed && state.Sequence == from.state.Sequence && maps.Equal(state.Versions, from.state.Versions) {
			return wake, false, mistake
		}
		if !may(from.state, next) {
			return wake, true, mistake
		}
		err := c.commit(ctx, from, next)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		return wake, false, errors.Join(mistake, err)
	}
	return time.Time{}, false, errors.New("others change it all the time")
}

// patience is how long the store has to answer before a version is taken out of
// traffic without it.
const patience = 400 * time.Millisecond

// commit makes a state the one that holds: durable, then published. With
// store.ErrConflict it was made from an old one.
//
// What takes traffic away from a version does not wait for a store that is slow
// or away: it is published, kept on this replica's disk, and written when the
// store is back.
func (c *Control) commit(ctx context.Context, from page, next release.State) error {
	// The newest record stays: it is the model's last news.
	next, _ = release.Ack(next, min(c.book.written(next.Model), next.Sequence-min(next.Sequence, 1)))
	safe := towardsSafe(from.state, next)
	writing, cancel := ctx, context.CancelFunc(func() {})
	if safe {
		writing, cancel = context.WithTimeout(ctx, patience)
	}
	_, err := c.book.put(writing, from, next)
	late := writing.Err() != nil
	cancel()
	onDisk := func() error { return nil }
	if safe && ctx.Err() == nil && !errors.Is(err, store.ErrConflict) && (errors.Is(err, store.ErrUnavailable) || err != nil && late) {
		c.o.Log.Error().Err(err).Str("model", next.Model).Msg("the store is away: the rollback is kept here and written later")
		onDisk, err = c.book.keep(from, next)
	}
	if errors.Is(err, store.ErrConflict) {
		c.publishNow() // the others' decision, which the watch need not tell again
	}
	if err != nil {
		return err
	}
	c.tell(from.state, next)
	switch {
	case next.Generation == from.state.Generation:
	case next.Released:
		c.publishNow()
	default: // the files' own weights, which the proxies have: of many models at once
		c.publishLater()
	}
	if err := onDisk(); err != nil {
		c.uncopied(err)
	}
	return c.note(releaseEntries(&from.state, &next)...)
}

// towardsSafe reports whether a change takes traffic away from a version that
// failed, or orders that.
func towardsSafe(from, to release.State) bool {
	return ordersKill(from, to) || to.Generation > from.Generation && to.Withdrawal != nil && to.Withdrawal.Generation == to.Generation
}

// writesUp is how often what may be late is written.
const writesUp = 250 * time.Millisecond

// writeUp writes what no decision waits for, apart from the rounds: a store that
// is slow or away holds up nothing but this.
func (c *Control) writeUp(ctx context.Context) {
	tick := time.NewTicker(writesUp)
	defer tick.Stop()
	var again time.Time // when records are written next
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if !now.Before(again) {
				if err := c.record(ctx); err != nil {
					c.o.Log.Error().Err(err).Msg("releases are not in the audit trail")
					again = now.Add(trailPatience)
				}
			}
			c.recordPolicies(ctx)
			if err := c.register.write(ctx, c.proofs.everywhere(), now); err != nil && ctx.Err() == nil {
				c.o.Log.Warn().Err(err).Msg("the list of proxies cannot be written")
			}
			c.tests.keep(ctx, c.o.Store, c.o.Log, now)
		}
	}
}

// saveUp writes the states that the store has lost, or could not take, until ctx
// ends. Every replica does: what one has kept the leader may not know.
func (c *Control) saveUp(ctx context.Context) {
	tick := time.NewTicker(writesUp)
	defer tick.Stop()
	away := false // and told so
	var left leftOut
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			left.tell(c, now)
		}
		if !c.leads() {
			c.ask(c.o.Hub.Take(time.Now())) // the leader counts it: here it would pile up
		}
		err := c.save(ctx)
		if err != nil && !away && ctx.Err() == nil {
			c.o.Log.Error().Err(err).Msg("a state that the store does not have cannot be written to it yet")
		}
		away = err != nil
	}
}

func (c *Control) save(ctx context.Context) error {
	if !c.book.ready() {
		return nil
	}
	for _, model := range c.book.lost() {
		p := c.book.get(model)
		_, err := c.book.put(ctx, p, p.state)
		switch {
		case errors.Is(err, store.ErrConflict): // the next time, from what there is now
			c.publishNow()
		case err != nil:
			return err
		default:
			c.o.Log.Warn().Str("model", model).Uint64("generation", p.state.Generation).Msg("the store did not have the newest state of a model: written from here")
		}
	}
	return nil
}

// tell logs what happened between two states.
func (c *Control) tell(from, to release.State) {
	for _, r := range to.Outbox {
		if r.Sequence > from.Sequence {
			c.o.Metrics.ReleaseRecord(r.Model, string(r.Kind))
			c.o.Log.Info().Str("model", r.Model).Str("kind", string(r.Kind)).Uint64("generation", r.Generation).
				Str("by", r.By).Str("version", r.Version).Str("target", r.Target).Str("reason", r.Reason).Msg("release")
		}
	}
}
