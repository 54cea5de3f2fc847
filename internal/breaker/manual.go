package breaker

import "github.com/safestate/safestate/internal/policy"

// ForceOpen refuses every request until another mode is set.
func (b *Breaker) ForceOpen() { b.setManual(ForcedOpen) }

// ForceClosed admits every request and counts none until another mode is set.
func (b *Breaker) ForceClosed() { b.setManual(ForcedClosed) }

// ObserveOnly admits every request and counts those that would have been
// refused. The breaker's state goes on as if they had been: results of
// requests that it would have refused do not count.
func (b *Breaker) ObserveOnly() { b.setManual(Observing) }

// Auto gives the decision back to the breaker. What was forced open comes back
// half-open, so that it is tried before it gets everything; what was forced
// closed comes back closed with nothing counted; what was observed goes on.
func (b *Breaker) Auto() { b.setManual(Automatic) }

// Manual returns the mode in force.
func (b *Breaker) Manual() Manual {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.manual
}

func (b *Breaker) setManual(to Manual) {
	b.mu.Lock()
	from := b.manual
	if from == to {
		b.mu.Unlock()
		return
	}
	now := b.now()
	met := b.effective()
	b.manual = to
	switch {
	case to == ForcedOpen:
		b.m.enter(Open, CauseManual, now)
	case from == ForcedOpen && to != ForcedClosed:
		b.m.enter(HalfOpen, CauseManual, now)
	case to == ForcedClosed || from == ForcedClosed:
		b.m.enter(Closed, CauseManual, now)
	}
	b.mirror()
	change := Change{From: met, To: b.effective(), Manual: to, Cause: CauseManual, Generation: b.m.generation, At: now}
	b.mu.Unlock()
	b.tell(change)
}

// hold does what a policy says by hand.
func (b *Breaker) hold(h policy.Hold) {
	switch h {
	case policy.HoldOpen:
		b.ForceOpen()
	case policy.HoldClosed:
		b.ForceClosed()
	case policy.HoldObserve:
		b.ObserveOnly()
	case policy.HoldNone:
		b.Auto()
	}
}
