// Package cache keeps clean answers of a model for the ladder's cache rung, in
// the process (Memory) or in a Redis that replicas share (Redis).
//
// The flow of one request, in the order that the ladder has it:
//
//	tenant, ok := Cacheable(headers, cfg.TenantHeaders)   // may it be cached at all
//	digest, ok := Digest(root, tail, without...)          // what was asked
//	key := NewKey(Parts{…})
//	entry, found, err := store.Get(ctx, key)
//	switch AgeOf(entry, now, ttl, stale) { … }            // Fresh, Stale, Expired
//	body := EchoID(nil, answerRoot, requestID)            // without its id only
//
// and, once the model has given a clean answer that Storable accepts,
//
//	store.Set(ctx, key, entry, ttl+stale)
package cache

import (
	"context"
	"errors"
	"time"
)

// Entry is a clean answer. What a store returns is shared: Body and Headers
// must not be changed.
type Entry struct {
	Status      int
	ContentType string
	Headers     []Header // the few others without which Body cannot be read
	Body        []byte
	Stored      time.Time // when the model gave it
	// Model (namespace/name) and Version are what gave it. Stores take them
	// from the key.
	Model, Version string
}

// Header is one header of an entry, its name in lower case.
type Header struct{ Name, Value string }

// Store keeps entries. Implementations are safe for concurrent use.
type Store interface {
	// Get returns the entry of a key. Not found is no error; an error means
	// that the store could not tell, in at most its own deadline.
	Get(ctx context.Context, key Key) (Entry, bool, error)
	// Set keeps an entry for ttl, at most MaxTTL, and copies what it needs.
	// It does not wait for a network: a shared store writes later, and what
	// it cannot write then is counted.
	Set(ctx context.Context, key Key, e Entry, ttl time.Duration) error
	// Purge makes every entry of a model's version a miss, for good; an
	// empty version is all of them. Entries whose Stored is up to PurgeMargin
	// after the purge are misses too: answers that were in flight.
	Purge(ctx context.Context, model, version string) error
}

// MaxTTL is the longest that an entry is kept.
const MaxTTL = 7 * 24 * time.Hour

// PurgeMargin is how long after a purge entries of that version stay misses.
// It covers answers in flight and replicas whose clocks differ.
const PurgeMargin = 2 * time.Second

// DefaultMaxEntryBytes bounds one entry where a store's options do not.
const DefaultMaxEntryBytes = 1 << 20

// Errors that stores return.
var (
	ErrTooLarge = errors.New("cache: the entry is over the size limit")
	ErrAway     = errors.New("cache: the store cannot be reached")
	ErrBacklog  = errors.New("cache: too many entries wait to be written")
	ErrClosed   = errors.New("cache: the store is closed")
)

// Age says how old an entry is by a policy.
type Age uint8

// The ages.
const (
	Expired Age = iota // not to be used
	Fresh              // within its time to live
	Stale              // past it, within the time that it may be used while it is asked for anew
)

// AgeOf judges an entry. An entry from the future, of a replica whose clock is
// ahead, is fresh: the store's own expiry bounds it.
func AgeOf(e Entry, now time.Time, ttl, stale time.Duration) Age {
	switch age := now.Sub(e.Stored); {
	case age < ttl:
		return Fresh
	case age < ttl+stale:
		return Stale
	default:
		return Expired
	}
}

// Stats counts what a store did since it was made.
type Stats struct {
	Hits, Misses uint64
	Mismatches   uint64 // of the misses: the value is another key's
	Corrupt      uint64 // of the misses: the value cannot be read
	Purged       uint64 // of the misses: the entry's version was purged
	Errors       uint64 // Gets that the store could not answer, Asked ones among them
	Sets         uint64 // entries written
	SetErrors    uint64 // entries that were not: too large, no room to wait, the write failed
	Entries      int    // in the process; a shared store does not count them
	Bytes        uint64 // likewise
	Asked        uint64 // commands that a shared store was asked
	Refused      uint64 // that it was not asked, its breaker being open or its connection away
}
