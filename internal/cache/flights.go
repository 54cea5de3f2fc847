package cache

import (
	"context"
	"sync"
	"time"
)

// Flights runs background work once per key at a time: asking for a stale
// entry anew while callers get the old one. Safe for concurrent use.
type Flights struct {
	ctx     context.Context //nolint:containedctx // the life of the background work
	cancel  context.CancelFunc
	timeout time.Duration
	most    int

	mu    sync.Mutex
	under map[Key]struct{}
	wg    sync.WaitGroup
}

// NewFlights returns a Flights that runs at most most works at once (0: 32),
// each with a context that ends after timeout (0: 10 s).
func NewFlights(most int, timeout time.Duration) *Flights {
	if most <= 0 {
		most = 32
	}
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Flights{ctx: ctx, cancel: cancel, timeout: timeout, most: most, under: map[Key]struct{}{}}
}

// Go starts work for a key and does not wait for it. It reports whether it
// did: not where work for the key is under way, or too much altogether, or
// after Close. work must return soon after its context ends.
func (f *Flights) Go(key Key, work func(ctx context.Context)) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, busy := f.under[key]; busy || len(f.under) >= f.most || f.ctx.Err() != nil {
		return false
	}
	f.under[key] = struct{}{}
	f.wg.Go(func() {
		ctx, cancel := context.WithTimeout(f.ctx, f.timeout)
		defer cancel()
		defer f.done(key)
		work(ctx)
	})
	return true
}

func (f *Flights) done(key Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.under, key)
}

// Close ends the contexts of all work and waits for it.
func (f *Flights) Close() {
	f.mu.Lock()
	f.cancel()
	f.mu.Unlock()
	f.wg.Wait()
}
