package control

import (
	"context"
	"time"

	"github.com/safestate/safestate/internal/kill"
)

// What a kill could not wait for is done here, each by a goroutine of its own: a
// store that is slow, or a trail whose disk hangs, holds up no step of a ramp and
// neither the other.

// every does something again and again until ctx ends.
func every(ctx context.Context, d time.Duration, do func(now time.Time)) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			do(now)
		}
	}
}

// keepPublished publishes the steps of ramps and new keys, and what could not be
// published.
func (c *Control) keepPublished(ctx context.Context) {
	tried := time.Now()
	every(ctx, writesUp, func(now time.Time) {
		again := c.isUnpublished() && now.Sub(tried) >= idle
		if again {
			tried = now
		}
		if again || c.rampsOn(now) || c.otherKeys() {
			c.publishNow()
		}
	})
}

// keepStored writes to the store the kills that it has lost, or could not take.
func (c *Control) keepStored(ctx context.Context) {
	told := ""
	every(ctx, writesUp, func(time.Time) {
		before := c.kills.set()
		err := c.kills.save(ctx)
		if c.kills.set() != before {
			c.publishNow()
		}
		told = c.overdue(ctx, err, told)
	})
}

// keepTrailed writes to the trail the kills that are not there.
func (c *Control) keepTrailed(ctx context.Context) {
	told := ""
	every(ctx, writesUp, func(now time.Time) {
		told = c.overdue(ctx, c.trail(), told)
		_ = c.kills.settle(ctx, now) // tried again with the next tick
	})
}

// overdue logs why a kill is not where it has to be, where that is another reason
// than was told.
func (c *Control) overdue(ctx context.Context, err error, told string) string {
	if err == nil || ctx.Err() != nil {
		return ""
	}
	if err.Error() != told {
		c.o.Log.Error().Err(err).Msg("a kill is in force, and not yet where it has to be")
	}
	return err.Error()
}

// keepProxies keeps up to date whom proofs expect: in the store without those that
// went for good, on this replica's disk with those that came.
func (c *Control) keepProxies(ctx context.Context) {
	every(ctx, writesUp, func(now time.Time) {
		c.register.remember(c.proofs.everywhere(), now)
		_ = c.register.departed(ctx) // tried again with the next tick
	})
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
