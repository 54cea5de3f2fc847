package refresh

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Body is one policy's view of a source. Get and Stats are safe for concurrent
// use and do no I/O.
type Body struct {
	interval time.Duration
	validate func([]byte) error

	good     atomic.Pointer[[]byte]
	reads    atomic.Uint64
	failures atomic.Uint64
	goodAt   atomic.Int64 // Unix nanoseconds; 0: never
	problem  atomic.Pointer[string]

	// Guarded by the registry's lock.
	seen     bool  // the source's latest content was offered
	rejected error // what was wrong with it; nil: nothing
}

// Get returns the last good body; ok is false while there has been none. The
// body is shared and must not be changed.
func (b *Body) Get() (body []byte, ok bool) {
	p := b.good.Load()
	if p == nil {
		return nil, false
	}
	return *p, true
}

// Stats is how a body has fared.
type Stats struct {
	Reads    uint64    // reads of the source that gave a good body
	Failures uint64    // reads that failed and bodies that were not valid
	GoodAt   time.Time // of the last good read; zero: never
	Problem  string    // of the latest read; empty: it was good
}

// Stats returns the counts for metrics and /readyz.
func (b *Body) Stats() Stats {
	s := Stats{Reads: b.reads.Load(), Failures: b.failures.Load()}
	if at := b.goodAt.Load(); at != 0 {
		s.GoodAt = time.Unix(0, at)
	}
	if p := b.problem.Load(); p != nil {
		s.Problem = *p
	}
	return s
}

var errEmpty = errors.New("the body is empty")

// offer takes a new content of the source and keeps it if it is good.
func (b *Body) offer(read []byte) {
	b.seen, b.rejected = true, nil
	switch {
	case len(read) == 0:
		b.rejected = errEmpty
	case b.validate != nil:
		if err := b.validate(read); err != nil {
			b.rejected = fmt.Errorf("not a valid body: %w", err)
		}
	}
	if b.rejected == nil {
		b.good.Store(&read)
	}
	b.confirm()
}

// confirm counts one more reading of the content that was offered last.
func (b *Body) confirm() {
	if b.rejected != nil {
		b.failed(b.rejected)
		return
	}
	b.reads.Add(1)
	b.goodAt.Store(time.Now().UnixNano())
	b.problem.Store(nil)
}

func (b *Body) failed(err error) {
	b.failures.Add(1)
	text := err.Error()
	b.problem.Store(&text)
}
