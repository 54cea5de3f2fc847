package audit

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/store"
)

// What Append fails with; match with errors.Is. The error of the disk is within
// it as well (syscall.ENOSPC).
var (
	// ErrNotWritten: the entry is not in the chain.
	ErrNotWritten = errors.New("the audit entry is not written")

	// ErrClosed: the log was closed.
	ErrClosed = errors.New("the audit log is closed")
)

// Options of a log.
type Options struct {
	// Dir is a folder of the log's own; it is made, mode 0700. It has to be on a
	// disk that stays.
	Dir string
	// Name of the replica: letters, digits, '.', '-' and '_', at most 63.
	Name string
	// About goes into the start entry: the program's version, its configuration.
	About json.RawMessage

	// Store that the replicas share; nil: there is none. It may be away.
	Store store.Store
	// Anchors get signed heads.
	Anchors []Anchor

	SegmentBytes int64         // of a file; default 4 MiB
	HeadEvery    uint64        // entries after which a head is signed; default 100
	HeadInterval time.Duration // and at the latest so long after an entry; default 10 s
	Heartbeat    time.Duration // between heads in the store where nothing happens; default 15 s
	JoinEvery    time.Duration // least time between two entries that join the same peer; default 10 min
	Keep         uint64        // entries of a chain in the store; default 10,000

	// Warn is told what a person should know: what is wrong with a chain, an
	// anchor that does not answer. It is called from several goroutines, and must
	// not wait.
	Warn func(text string)
}

func (o Options) withDefaults() Options {
	o.SegmentBytes = cmp.Or(o.SegmentBytes, 4<<20)
	o.HeadEvery = cmp.Or(o.HeadEvery, 100)
	o.HeadInterval = cmp.Or(o.HeadInterval, 10*time.Second)
	o.Heartbeat = cmp.Or(o.Heartbeat, 15*time.Second)
	o.JoinEvery = cmp.Or(o.JoinEvery, 10*time.Minute)
	o.Keep = cmp.Or(o.Keep, 10_000)
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	return o
}

// maxWaiting is how many entries may wait for a disk that does not answer.
const maxWaiting = 4096

// Log is the chain of one writer. Its methods are safe for concurrent use.
type Log struct {
	o    Options
	key  ed25519.PrivateKey
	lock *os.File
	stop context.CancelFunc
	work sync.WaitGroup

	wake    chan struct{} // 1: there is something to write
	listing chan struct{} // 1: a list is being made
	damaged chan damage   // the store says that this chain lost entries
	quit    chan struct{} // closed: write what waits, and end
	stopped chan struct{} // closed when the writing goroutine has ended

	mu       sync.Mutex
	closed   bool
	waiting  []*item          // not yet taken by the writing goroutine
	inFlight map[string]*item // by ID: waiting, or being written
	ids      idSet
	end      position      // of what is on the disk
	changed  chan struct{} // closed, and made anew, when end changes
	status   Status

	// The writing goroutine's alone, once Open has returned.
	chain *chain
	first []Entry // of the log itself, which come before any other
}

// position is the end of a chain.
type position struct {
	writer   writer
	sequence uint64
	hash     Hash
	news     uint64 // the last entry that is no join
}

// item is an entry on its way to the disk.
type item struct {
	entry   Entry
	callers int           // who wait for it; guarded by the log's mutex
	done    chan struct{} // closed when the entry is on the disk, or err says why not
	err     error
}

// Append writes an entry, and returns it as it was written once it is on the
// disk. An ID that is in the chain already gives the entry that is there.
//
// An error that is [ErrNotWritten] or [ErrClosed], or one that names a mistake in
// the entry, says that it is not in the chain. Where ctx ends while the disk is
// written to, nobody knows: append the same ID again.
func (l *Log) Append(ctx context.Context, e Entry) (Entry, error) {
	if callers, known := kinds[e.Kind]; known && !callers {
		return e, fmt.Errorf("audit: entries of kind %s are the log's own", e.Kind)
	}
	return l.append(ctx, e)
}

func (l *Log) append(ctx context.Context, e Entry) (Entry, error) {
	if e.ID == "" {
		e.ID = rand.Text()
	}
	e, err := e.prepared()
	if err != nil {
		return e, err
	}
	it, there, err := l.enter(e)
	switch {
	case err != nil:
		return e, fmt.Errorf("audit: %s %s: %w", e.Kind, e.ID, err)
	case there != 0:
		return l.written(e, there)
	}
	select {
	case <-it.done:
	case <-ctx.Done():
		if l.withdraw(it) {
			return e, fmt.Errorf("audit: %s %s: %w: %w", e.Kind, e.ID, ErrNotWritten, ctx.Err())
		}
		return e, fmt.Errorf("audit: %s %s: the disk does not answer, and whether it is written is not known: %w", e.Kind, e.ID, ctx.Err())
	}
	if it.err != nil {
		return e, fmt.Errorf("audit: %s %s: %w", e.Kind, e.ID, it.err)
	}
	return it.entry, nil
}

// enter puts an entry among those that wait. Where its ID is there already it
// returns that entry's item, or its sequence number.
func (l *Log) enter(e Entry) (it *item, there uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, 0, ErrClosed
	}
	if it := l.inFlight[e.ID]; it != nil {
		it.callers++
		return it, 0, nil
	}
	if sequence, ok := l.ids.get(e.ID); ok {
		return nil, sequence, nil
	}
	if len(l.waiting) >= maxWaiting {
		return nil, 0, fmt.Errorf("%w: %d others wait for the disk", ErrNotWritten, len(l.waiting))
	}
	it = &item{entry: e, callers: 1, done: make(chan struct{})}
	l.waiting = append(l.waiting, it)
	l.inFlight[e.ID] = it
	nudge(l.wake)
	return it, 0, nil
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// withdraw takes a caller's entry back if it is not being written yet and nobody
// else waits for it, and says whether it did.
func (l *Log) withdraw(it *item) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	it.callers--
	i := slices.Index(l.waiting, it)
	if i < 0 || it.callers > 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	delete(l.inFlight, it.entry.ID)
	return true
}

// written reads back the entry of an ID that is in the chain.
func (l *Log) written(e Entry, sequence uint64) (Entry, error) {
	end, _ := l.position()
	lines, err := (&cursor{dir: l.dirOf(end.writer)}).read(sequence, sequence)
	if err == nil && len(lines) == 1 {
		if old, err := Parse(lines[0]); err == nil && old.ID == e.ID {
			return old, nil
		}
	}
	// It was there when it was written or read first: the file was changed since,
	// which Verify will say.
	e.Writer, e.Sequence = end.writer.String(), sequence
	return e, nil
}

// position is the end of the chain, and a channel that is closed when it changes.
func (l *Log) position() (position, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end, l.changed
}

func (l *Log) dirOf(w writer) string { return filepath.Join(l.o.Dir, w.String()) }
