package breaker

import (
	"sync"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/time"
)

// Set keeps breakers by key, so that their state outlives the policies that
// ask for them. Keys are the caller's: one for each version, rung and named
// dependency. Safe for concurrent use.
type Set struct {
	now      func() time.Time
	onChange func(key string, c Change)

	mu    sync.RWMutex
	byKey map[string]*member
}

type member struct {
	b   *Breaker
	cfg policy.Breaker
}

// NewSet returns an empty set. now may be nil for time.Now; onChange may be
// nil, and is called as Breaker.OnChange says.
func NewSet(now func() time.Time, onChange func(key string, c Change)) *Set {
	return &Set{now: now, onChange: onChange, byKey: map[string]*member{}}
}

// Get returns the breaker of a key, making it the first time. A configuration
// other than the last one's is applied to it and the state kept; where two
// policies ask for one key, the later one's configuration holds.
func (s *Set) Get(key string, cfg policy.Breaker) *Breaker {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, ok := s.byKey[key]; ok {
		if m.cfg != cfg {
			hold := cfg.Hold != m.cfg.Hold
			m.cfg = cfg
			m.b.Reconfigure(cfg)
			if hold {
				m.b.hold(cfg.Hold)
			}
		}
		return m.b
	}
	b := New(cfg, s.now)
	if s.onChange != nil {
		b.OnChange(func(c Change) { s.onChange(key, c) })
	}
	b.hold(cfg.Hold)
	s.byKey[key] = &member{b, cfg}
	return b
}

// Lookup returns the breaker of a key that some policy has asked for.
func (s *Set) Lookup(key string) (*Breaker, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	m, ok := s.byKey[key]
	if !ok {
		return nil, false
	}
	return m.b, true
}

// Forget drops a key and its state. Permits and pointers that are out go on
// working; the next Get starts anew.
func (s *Set) Forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byKey, key)
}

// Each calls f with every breaker's snapshot, in no order. f must not call the
// set.
func (s *Set) Each(f func(key string, snap Snapshot)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for key, m := range s.byKey {
		f(key, m.b.Snapshot())
	}
}
