package kill

import "sync"

// Live is the set that is in force, for those who enforce it. Its methods are
// safe for concurrent use.
type Live struct {
	mu      sync.Mutex
	set     *Set
	changed chan struct{}
}

// NewLive holds a set; nil: nothing is killed.
func NewLive(s *Set) *Live { return &Live{set: s, changed: make(chan struct{})} }

// Load returns the set in force, and a channel that is closed when it is no more.
func (l *Live) Load() (*Set, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.set, l.changed
}

// Store puts a set in force.
func (l *Live) Store(s *Set) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set = s
	close(l.changed)
	l.changed = make(chan struct{})
}
