package ladder

import (
	"sync/atomic"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/bulkhead"
)

// place is the right to ask a model once: a place in its bulkhead and its
// breaker's permit. It is safe for concurrent use.
type place struct {
	permit   breaker.Permit
	bulkhead *bulkhead.Bulkhead // nil: none
	over     func()             // ends the call where it counts as open; nil: it does not
	left     atomic.Bool
}

// enter takes a place. ok is false where the breaker is open or the bulkhead
// full; either may be nil. Who enters must leave.
func enter(b *breaker.Breaker, h *bulkhead.Bulkhead) (p *place, ok bool) {
	p = &place{bulkhead: h}
	if h != nil && !h.TryAcquire() {
		return nil, false
	}
	if b == nil {
		return p, true
	}
	if p.permit, ok = b.Allow(); !ok {
		if h != nil {
			h.Release()
		}
		return nil, false
	}
	return p, true
}

// leave gives the place back and tells the breaker how it went. Only the first
// call counts.
func (p *place) leave(o breaker.Outcome, took time.Duration) {
	if p.left.Swap(true) {
		return
	}
	if p.over != nil {
		p.over()
	}
	p.permit.Done(o, took)
	if p.bulkhead != nil {
		p.bulkhead.Release()
	}
}
