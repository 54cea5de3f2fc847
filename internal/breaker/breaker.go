// Package breaker stops asking a model, a rung or a dependency that fails, and
// comes back to it step by step.
//
// The decision is a pure machine that takes its time as an argument
// (machine.go, window.go); Breaker is the shell that makes it safe for
// concurrent use, and Set keeps breakers by name across changes of
// configuration.
//
//	closed    asked; opens after enough failures in a row, or when the failure
//	          or slow-call rate over a window reaches its threshold
//	open      not asked for the recovery time
//	half-open a few requests are asked; all must succeed, one failure opens it
//	closed    again, at first for a growing share of requests: the ramp
package breaker

import (
	"sync"
	"sync/atomic"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/time"
)

// Breaker decides request by request whether to ask. It is safe for concurrent
// use. In the closed state Allow is one atomic load and Done of a success one
// more, unless a rate window has to be written.
type Breaker struct {
	now      func() time.Time
	onChange func(Change)

	// door mirrors what the machine would say without looking at the time:
	// generation<<2 | bits. It is written under mu only.
	door atomic.Uint64

	refused      atomic.Uint64
	wouldRefuse  atomic.Uint64
	countedFails atomic.Uint64

	mu     sync.Mutex
	m      machine
	manual Manual
}

// Bits of Breaker.door.
const (
	doorOpen  = 1 << iota // every request is admitted
	doorQuiet             // a success changes nothing
	doorBits  = iota
)

// New returns a closed breaker. Fields of cfg that are 0 have the defaults of
// package breaker's constants; now is the clock, nil for time.Now.
func New(cfg policy.Breaker, now func() time.Time) *Breaker {
	if now == nil {
		now = time.Now
	}
	b := &Breaker{now: now, m: newMachine(rulesOf(cfg), now())}
	b.mirror()
	return b
}

// OnChange sets the function that is told of every change of state or manual
// mode. It runs on the goroutine whose call changed the state, outside the
// breaker's lock: two changes in quick succession may be told in either order,
// and Generation orders them. To be called before the first Allow.
func (b *Breaker) OnChange(f func(Change)) { b.onChange = f }

// Permit is the right to ask once. The zero Permit is one that counts for
// nothing. It is a small value; copies are the same permit.
type Permit struct {
	b     *Breaker
	grant grant
}

// Allow reports whether the request may be asked. When it may, Done must be
// called on the permit once, however the request ends; a half-open permit
// whose Done never comes is given up after the recovery time.
func (b *Breaker) Allow() (Permit, bool) {
	if door := b.door.Load(); door&doorOpen != 0 {
		return Permit{b, grant{generation: door >> doorBits}}, true
	}
	b.mu.Lock()
	if b.manual == ForcedOpen {
		b.mu.Unlock()
		b.refused.Add(1)
		return Permit{}, false
	}
	before := b.m.state
	g, ok := b.m.allow(b.now())
	change := b.settle(before)
	observing := b.manual == Observing
	b.mu.Unlock()
	b.tell(change)
	switch {
	case ok:
		return Permit{b, g}, true
	case observing:
		b.wouldRefuse.Add(1)
		return Permit{}, true
	}
	b.refused.Add(1)
	return Permit{}, false
}

// Done reports how the permitted request ended and how long the asked one took
// to answer. A result of an earlier state than the present one does not count.
// A second Done of a half-open permit does nothing; of a closed one it would
// count twice.
func (p Permit) Done(o Outcome, latency time.Duration) {
	b := p.b
	if b == nil {
		return
	}
	door := b.door.Load()
	if door>>doorBits != p.grant.generation {
		return
	}
	if o == Success && door&doorQuiet != 0 {
		return
	}
	if o == Ignored && p.grant.slot == 0 {
		return
	}
	b.mu.Lock()
	if b.manual == ForcedClosed {
		b.mu.Unlock()
		return
	}
	before := b.m.state
	if o == Failure && p.grant.generation == b.m.generation {
		b.countedFails.Add(1)
	}
	b.m.done(p.grant, o, latency, b.now())
	change := b.settle(before)
	b.mu.Unlock()
	b.tell(change)
}

// State returns the state that requests meet. An open breaker whose recovery
// time is over stays open until a request comes.
func (b *Breaker) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.effective()
}

// Snapshot is a breaker at one instant.
type Snapshot struct {
	State      State // what requests meet; while Observing, what they would meet
	Manual     Manual
	Generation uint64
	Since      time.Time // when State was entered
	Share      float64   // of requests that are admitted: 0, 1, or between while ramping
	Failures   int       // in a row
	Window     Counts    // zero without a rate rule

	Refused      uint64 // since New
	WouldRefuse  uint64 // since New, while Observing
	FailureTotal uint64 // failures that counted, since New
}

// Snapshot returns the breaker's state for metrics and status pages.
func (b *Breaker) Snapshot() Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	return Snapshot{
		State:        b.effective(),
		Manual:       b.manual,
		Generation:   b.m.generation,
		Since:        b.m.since,
		Share:        b.share(now),
		Failures:     b.m.consecutive,
		Window:       b.m.window.counts(now),
		Refused:      b.refused.Load(),
		WouldRefuse:  b.wouldRefuse.Load(),
		FailureTotal: b.countedFails.Load(),
	}
}

// Reconfigure changes the rules and keeps the state. Counts are kept as well
// unless the window's own kind or length changes.
func (b *Breaker) Reconfigure(cfg policy.Breaker) {
	b.mu.Lock()
	before := b.m.state
	b.m.reconfigure(rulesOf(cfg), b.now())
	change := b.settle(before)
	b.mu.Unlock()
	b.tell(change)
}

func (b *Breaker) effective() State {
	switch b.manual {
	case ForcedOpen:
		return Open
	case ForcedClosed:
		return Closed
	default:
		return b.m.state
	}
}

func (b *Breaker) share(now time.Time) float64 {
	switch b.effective() {
	case Closed:
		if b.manual == ForcedClosed {
			return 1
		}
		return b.m.share(now)
	default:
		return 0
	}
}

// settle refreshes the mirror and returns the change since before, if any.
func (b *Breaker) settle(before State) Change {
	b.mirror()
	if before == b.m.state {
		return Change{}
	}
	return Change{
		From: before, To: b.m.state, Manual: b.manual, Cause: b.m.cause,
		Generation: b.m.generation, At: b.m.since,
	}
}

// mirror copies what the machine would say to door.
func (b *Breaker) mirror() {
	door := b.m.generation << doorBits
	switch b.manual {
	case ForcedClosed:
		door |= doorOpen | doorQuiet
	case Automatic, Observing:
		if b.m.state == Closed && !b.m.ramping {
			door |= doorOpen
			if b.m.consecutive == 0 && !b.m.rules.windowed() {
				door |= doorQuiet
			}
		}
	case ForcedOpen:
	}
	if door != b.door.Load() {
		b.door.Store(door)
	}
}

func (b *Breaker) tell(c Change) {
	if c.Cause != "" && b.onChange != nil {
		b.onChange(c)
	}
}
