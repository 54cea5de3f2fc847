// Package bulkhead bounds how many requests are in flight at one model, so
// that a slow one cannot take everything down with it. The excess is refused
// at once: nothing waits.
package bulkhead

import (
	"sync"
	"sync/atomic"
)

// Bulkhead is a number of places. It is safe for concurrent use; its zero
// value has no limit.
type Bulkhead struct {
	limit   atomic.Int64 // 0: none
	taken   atomic.Int64
	refused atomic.Uint64
}

// New returns a bulkhead of limit places; 0 or less is no limit.
func New(limit int) *Bulkhead {
	b := &Bulkhead{}
	b.Resize(limit)
	return b
}

// TryAcquire takes a place if one is free. Who gets one must give it back with
// Release, once.
func (b *Bulkhead) TryAcquire() bool {
	for {
		taken, limit := b.taken.Load(), b.limit.Load()
		if limit > 0 && taken >= limit {
			b.refused.Add(1)
			return false
		}
		if b.taken.CompareAndSwap(taken, taken+1) {
			return true
		}
	}
}

// Release gives a place back. One that nobody holds is not given: a Release
// too many must not widen the limit.
func (b *Bulkhead) Release() {
	for {
		taken := b.taken.Load()
		if taken == 0 || b.taken.CompareAndSwap(taken, taken-1) {
			return
		}
	}
}

// Resize changes the limit; 0 or less is none. Places that are taken beyond a
// smaller limit stay taken until they are given back.
func (b *Bulkhead) Resize(limit int) { b.limit.Store(int64(max(limit, 0))) }

// Limit returns the number of places; 0 is no limit.
func (b *Bulkhead) Limit() int { return int(b.limit.Load()) }

// InFlight returns how many places are taken.
func (b *Bulkhead) InFlight() int { return int(b.taken.Load()) }

// Refused returns how many requests found no place, since New.
func (b *Bulkhead) Refused() uint64 { return b.refused.Load() }

// Set keeps bulkheads by key, so that requests in flight are counted across a
// change of the policy. Its zero value is ready; it is safe for concurrent use.
type Set struct {
	mu    sync.Mutex
	byKey map[string]*Bulkhead
}

// NewSet returns an empty set.
func NewSet() *Set { return &Set{} }

// Get returns the bulkhead of a key with the limit given, making it the first
// time. Where two policies ask for one key, the later one's limit holds.
func (s *Set) Get(key string, limit int) *Bulkhead {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.byKey[key]; ok {
		b.Resize(limit)
		return b
	}
	if s.byKey == nil {
		s.byKey = map[string]*Bulkhead{}
	}
	b := New(limit)
	s.byKey[key] = b
	return b
}

// Forget drops a key. Places that are out go on counting in the bulkhead that
// gave them.
func (s *Set) Forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byKey, key)
}

// Each calls f with every bulkhead, in no order. f must not call the set.
func (s *Set) Each(f func(key string, b *Bulkhead)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, b := range s.byKey {
		f(key, b)
	}
}
