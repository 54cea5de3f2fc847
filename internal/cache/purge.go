package cache

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// target is what a purge names; an empty version is every version.
type target struct{ model, version string }

// name is the target as a text; no two targets share one.
func (t target) name() string { return strconv.Itoa(len(t.model)) + ":" + t.model + ":" + t.version }

// purges remembers what was purged here, so that an entry which is written
// after its purge is a miss all the same. Safe for concurrent use.
type purges struct {
	any atomic.Bool // nothing was ever purged: Get takes no lock
	mu  sync.RWMutex
	at  map[target]time.Time // entries stored before are misses
}

// add notes a purge at now and returns the time before which entries are
// misses. Purges whose entries have all expired are forgotten.
func (p *purges) add(t target, now time.Time) time.Time {
	until := now.Add(PurgeMargin)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at == nil {
		p.at = map[target]time.Time{}
	}
	for old, at := range p.at {
		if now.Sub(at) > MaxTTL {
			delete(p.at, old)
		}
	}
	p.at[t] = until
	p.any.Store(true)
	return until
}

// covers reports whether an entry was purged.
func (p *purges) covers(e *Entry) bool {
	if !p.any.Load() {
		return false
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, t := range [...]target{{e.Model, e.Version}, {e.Model, ""}} {
		if at, ok := p.at[t]; ok && !e.Stored.After(at) {
			return true
		}
	}
	return false
}
