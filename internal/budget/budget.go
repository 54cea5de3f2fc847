// Package budget bounds the share of a route's requests that the ladder
// answers, over a sliding window: past it a route that is mostly fallback is
// no longer a route with a fallback, and its owner has said what then.
package budget

import (
	"sync"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/time"
)

// Defaults of the fields of policy.Budget that are 0.
const (
	DefaultWindow      = time.Minute
	DefaultMinRequests = 20
)

// slices cuts the window into this many parts: its length is exact to one.
const slices = 20

// Budget counts one route. It is safe for concurrent use; a call is a mutex
// and a few additions. The time is the caller's: it may come from several
// goroutines slightly out of order.
type Budget struct {
	mu    sync.Mutex
	cfg   policy.Budget
	width time.Duration
	ring  [slices]count
	total count
	at    int64 // the number of the newest slice since the Unix epoch
	over  uint64
}

type count struct{ requests, fallbacks int64 }

// New returns an unspent budget.
func New(cfg policy.Budget) *Budget {
	b := &Budget{}
	b.configure(cfg)
	return b
}

// Reconfigure changes the limits; the counts are kept unless the window's
// length changes.
func (b *Budget) Reconfigure(cfg policy.Budget) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.configure(cfg)
}

func (b *Budget) configure(cfg policy.Budget) {
	if cfg.Window <= 0 {
		cfg.Window = policy.Duration(DefaultWindow)
	}
	if cfg.MinRequests <= 0 {
		cfg.MinRequests = DefaultMinRequests
	}
	if cfg.Window != b.cfg.Window {
		b.ring, b.total, b.at = [slices]count{}, count{}, 0
		b.width = max(cfg.Window.D()/slices, 1)
	}
	b.cfg = cfg
}

// Spend counts a request that the model did not answer and reports whether
// the ladder may answer it inside the budget: its own answer included, at most
// FallbackPercent of the window's requests are the ladder's. Under MinRequests
// it always may. What is over the budget and refused by policy is counted as a
// request only; what is answered all the same, as a fallback too.
func (b *Budget) Spend(now time.Time) (within bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.slice(now)
	s.requests++
	b.total.requests++
	within = b.total.requests < int64(b.cfg.MinRequests) ||
		100*float64(b.total.fallbacks+1) <= b.cfg.FallbackPercent*float64(b.total.requests)
	if !within {
		b.over++
		if b.cfg.Refuse {
			return false
		}
	}
	s.fallbacks++
	b.total.fallbacks++
	return within
}

// Observe counts a request that the model answered.
func (b *Budget) Observe(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slice(now).requests++
	b.total.requests++
}

// Snapshot is a budget at one instant.
type Snapshot struct {
	Requests  int64  // in the window
	Fallbacks int64  // of them, answered by the ladder
	Over      uint64 // requests over the budget since New
}

// Snapshot returns the counts for metrics.
func (b *Budget) Snapshot(now time.Time) Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slice(now)
	return Snapshot{Requests: b.total.requests, Fallbacks: b.total.fallbacks, Over: b.over}
}

// slice returns the part of the ring that now falls into, having dropped those
// that have left the window. A time before the newest slice counts in that.
func (b *Budget) slice(now time.Time) *count {
	n := now.UnixNano() / int64(b.width)
	for i := max(b.at+1, n-slices+1); i <= n; i++ {
		old := &b.ring[i%slices]
		b.total.requests -= old.requests
		b.total.fallbacks -= old.fallbacks
		*old = count{}
	}
	b.at = max(b.at, n)
	return &b.ring[b.at%slices]
}

// Set keeps budgets by route, across changes of the policy. Its zero value is
// ready; it is safe for concurrent use.
type Set struct {
	mu    sync.Mutex
	byKey map[string]*Budget
}

// NewSet returns an empty set.
func NewSet() *Set { return &Set{} }

// Get returns the budget of a route, making it the first time and applying cfg
// to it every time.
func (s *Set) Get(route string, cfg policy.Budget) *Budget {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.byKey[route]; ok {
		b.Reconfigure(cfg)
		return b
	}
	if s.byKey == nil {
		s.byKey = map[string]*Budget{}
	}
	b := New(cfg)
	s.byKey[route] = b
	return b
}

// Forget drops a route.
func (s *Set) Forget(route string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byKey, route)
}
