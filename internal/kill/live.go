package kill

import (
	"sync"
	"sync/atomic"
)

// Live is the set that is in force, for those who enforce it. Its methods are
// safe for concurrent use; Load takes no lock.
type Live struct {
	now     atomic.Pointer[inForce]
	storing sync.Mutex
}

type inForce struct {
	set     *Set
	changed chan struct{}
}

// NewLive holds a set; nil: nothing is killed.
func NewLive(s *Set) *Live {
	l := &Live{}
	l.now.Store(&inForce{s, make(chan struct{})})
	return l
}

// Load returns the set in force, and a channel that is closed when it is no more.
func (l *Live) Load() (*Set, <-chan struct{}) {
	now := l.now.Load()
	return now.set, now.changed
}

// Store puts a set in force.
func (l *Live) Store(s *Set) {
	l.storing.Lock()
	defer l.storing.Unlock()
	close(l.now.Swap(&inForce{s, make(chan struct{})}).changed)
}
