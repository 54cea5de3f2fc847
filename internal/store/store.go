// Package store says what safestate keeps its state in: records under keys,
// each changed by compare-and-swap, watched, some of them alive only as long
// as the process that wrote them, and one leader among several processes.
//
// The interface is what etcd and the Kubernetes API server can both do, and no
// more: there is no transaction over two keys. Who needs one keeps the second
// change inside the first record and writes it out from there.
//
// An engine passes the suite in package storetest.
package store

import (
	"context"
	"errors"
)

// What calls fail with; match with errors.Is. An error that is none of them,
// and not the end of the caller's context, is a mistake of the caller.
var (
	// ErrNotFound: the key is not there.
	ErrNotFound = errors.New("not found")

	// ErrConflict: the record is not at the revision that the caller read.
	// Read it again and decide anew.
	ErrConflict = errors.New("changed by another")

	// ErrUnavailable: the store cannot be reached, does not answer in time, or
	// takes no writes. After a write it says nothing about whether the write
	// happened: read the record again.
	ErrUnavailable = errors.New("store unavailable")

	// ErrDenied: the store answers, and refuses this user. Trying again does
	// not help.
	ErrDenied = errors.New("refused by the store")

	// ErrTooLarge: the value is over MaxValue.
	ErrTooLarge = errors.New("value too large")
)

// MaxValue is the length that every engine takes as a value, in bytes. Etcd's
// own bound is 1.5 MiB a request.
const MaxValue = 1 << 20

// Entry is a record. Revision is the store's at the record's last change. It is
// over 0, and what changes later has a higher one, whatever its key; only a
// restored backup brings old ones back, each with the value that it had.
type Entry struct {
	Key      string
	Value    []byte
	Revision int64
}

// Event is a record's new state. Of a deleted record, Value is nil, and
// Revision is a moment at which it was gone.
type Event struct {
	Entry
	Deleted bool
}

// Store is safe for concurrent use. Get, List, Page, Put, Delete and Leader return
// when their context ends, and after the engine's own bound at the latest.
//
// Keys are printable and start with "/". Values may be empty.
type Store interface {
	// Get returns a record, or ErrNotFound. What was written before is seen,
	// whoever wrote it.
	Get(ctx context.Context, key string) (Entry, error)

	// List returns the records whose key starts with prefix, sorted by key, as
	// they were at one moment.
	List(ctx context.Context, prefix string) ([]Entry, error)

	// Page is List of at most limit records, from the key from on; an empty from
	// is the first. What it costs depends on limit, not on how many there are.
	Page(ctx context.Context, prefix, from string, limit int) ([]Entry, error)

	// Put writes a record if it is still at the revision that the caller read;
	// at revision 0, if it is not there. Else ErrConflict. When Put returns the
	// new record, it is durable.
	Put(ctx context.Context, key string, value []byte, revision int64) (Entry, error)

	// Delete removes a record if it is still at the revision that the caller
	// read. Else ErrConflict, or ErrNotFound where there is none.
	Delete(ctx context.Context, key string, revision int64) error

	// Watch tells the state of the records under prefix, first as it is (an
	// empty slice where there are none), then every change, until ctx ends,
	// which closes the channel. Until the first slice nothing is known, since
	// the store has not answered.
	//
	// A slice is sorted by revision, and moves the receiver from one state of
	// the store to a later one. A slow receiver gets a record's newest state
	// and not each one in between: it never gets less than the truth, and holds
	// up nobody. Broken connections and compacted histories are not seen: the
	// records are then read anew, and what differs is sent.
	Watch(ctx context.Context, prefix string) <-chan []Event

	// Register keeps a record for as long as ctx lives: it is gone soon after
	// the process is, and at once when ctx ends. What value returns is written
	// again when it differs, within a third of the engine's lease, and the
	// record is made anew where it got lost. It returns when ctx has ended. The
	// key belongs to the caller: one who registers it later overwrites it.
	Register(ctx context.Context, key string, value func() []byte)

	// Elect stands for the leadership called name, a key, until ctx ends. While
	// it leads, Elect runs lead, whose context ends before another can lead,
	// unless the process stands still for a lease; so what lead writes is
	// compared and swapped all the same. Where lead returns, the leadership is
	// given up and stood for again. When ctx ends, Elect waits for lead and
	// gives the leadership up, so that the next one leads at once. Value is what
	// Leader returns meanwhile, everywhere.
	Elect(ctx context.Context, name, value string, lead func(ctx context.Context))

	// Leader returns the value of who leads name, or ErrNotFound. A leader that
	// died is named until its lease is over.
	Leader(ctx context.Context, name string) (string, error)

	// Close ends watches, registrations and elections, and waits for them.
	Close() error
}
