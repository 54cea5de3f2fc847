package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// DefaultMemoryBytes bounds a Memory where its options do not.
const DefaultMemoryBytes = 64 << 20

// MemoryOptions bound a Memory. Fields that are 0 have their defaults.
type MemoryOptions struct {
	Bytes         int64 // of all entries, keys and bookkeeping included
	MaxEntryBytes int   // of one entry's body
}

// Memory is a Store in the process. Past its size it drops entries that are
// unlikely to be asked for again. Get takes no lock but the cache's own.
type Memory struct {
	cache    *otter.Cache[[sha256.Size]byte, held]
	maxEntry int
	purged   purges

	hits, misses, mismatches, covered, sets, setErrors atomic.Uint64
}

// held is an entry with what belongs to it in the process.
type held struct {
	full string
	ttl  time.Duration
	e    Entry
}

// overhead is about what an entry takes besides its texts: the hash, the
// structs and the cache's node.
const overhead = 400

// NewMemory returns an empty store. Close ends its clean-up goroutine.
func NewMemory(opt MemoryOptions) (*Memory, error) {
	if opt.Bytes <= 0 {
		opt.Bytes = DefaultMemoryBytes
	}
	if opt.MaxEntryBytes <= 0 {
		opt.MaxEntryBytes = DefaultMaxEntryBytes
	}
	c, err := otter.New(&otter.Options[[sha256.Size]byte, held]{
		MaximumWeight: uint64(opt.Bytes),
		Weigher:       func(_ [sha256.Size]byte, v held) uint32 { return v.weight() },
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[[sha256.Size]byte, held]) time.Duration {
			return e.Value.ttl
		}),
	})
	if err != nil {
		return nil, err
	}
	return &Memory{cache: c, maxEntry: opt.MaxEntryBytes}, nil
}

func (v *held) weight() uint32 {
	n := overhead + len(v.full) + len(v.e.Body) + len(v.e.ContentType)
	for _, h := range v.e.Headers {
		n += len(h.Name) + len(h.Value)
	}
	return uint32(min(n, math.MaxUint32))
}

// Get implements Store. It never fails and does not wait.
func (m *Memory) Get(_ context.Context, key Key) (Entry, bool, error) {
	v, ok := m.cache.GetIfPresent(key.hash)
	switch {
	case !ok:
	case v.full != key.full:
		m.mismatches.Add(1)
	case m.purged.covers(&v.e):
		m.covered.Add(1)
	default:
		m.hits.Add(1)
		return v.e, true, nil
	}
	m.misses.Add(1)
	return Entry{}, false, nil
}

// Set implements Store.
func (m *Memory) Set(_ context.Context, key Key, e Entry, ttl time.Duration) error {
	if len(e.Body) > m.maxEntry {
		m.setErrors.Add(1)
		return ErrTooLarge
	}
	ttl = min(ttl, MaxTTL)
	if ttl <= 0 {
		return nil
	}
	e.Model, e.Version = key.model, key.version
	e.Body, e.Headers = bytes.Clone(e.Body), slices.Clone(e.Headers)
	m.cache.Set(key.hash, held{key.full, ttl, e})
	m.sets.Add(1)
	return nil
}

// Purge implements Store.
func (m *Memory) Purge(_ context.Context, model, version string) error {
	m.purged.add(target{model, version}, time.Now())
	for hash, v := range m.cache.All() {
		if v.e.Model == model && (version == "" || v.e.Version == version) {
			m.cache.Invalidate(hash)
		}
	}
	return nil
}

// Stats returns the counts for metrics.
func (m *Memory) Stats() Stats {
	return Stats{
		Hits: m.hits.Load(), Misses: m.misses.Load(), Mismatches: m.mismatches.Load(), Purged: m.covered.Load(),
		Sets: m.sets.Load(), SetErrors: m.setErrors.Load(),
		Entries: m.cache.EstimatedSize(), Bytes: m.cache.WeightedSize(),
	}
}

// Close ends the clean-up goroutine and drops every entry.
func (m *Memory) Close() {
	m.cache.StopAllGoroutines()
	m.cache.InvalidateAll()
}
