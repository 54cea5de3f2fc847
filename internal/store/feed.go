package store

import (
	"cmp"
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
)

// Feed is what lies between an engine that learns of changes and one receiver
// of a watch. It holds at most the newest state of each key, so its memory is
// bounded by the number of keys, however slow the receiver is. One goroutine
// writes (Replace, Apply), one runs Deliver.
type Feed struct {
	dirty chan struct{} // 1: pending has something to tell, or the first state

	mu      sync.Mutex
	pending map[string]Event    // not yet given to the receiver, by key
	known   map[string]content  // of each live record, as written
	sent    map[string]struct{} // the records that the receiver knows of
}

// content tells what a record holds. A store that was set back and written to since
// may have another value at the same revision.
type content struct {
	revision int64
	sum      uint64
}

// seed is of the sums, which do not leave the process.
var seed = maphash.MakeSeed()

func contentOf(e Entry) content { return content{e.Revision, maphash.Bytes(seed, e.Value)} }

// NewFeed returns a feed of which the receiver knows nothing.
func NewFeed() *Feed {
	return &Feed{
		dirty:   make(chan struct{}, 1),
		pending: map[string]Event{},
		known:   map[string]content{},
		sent:    map[string]struct{}{},
	}
}

// Replace tells the whole state as it is at revision: what differs from the
// state before is told on. The first call is told even if there is nothing.
func (f *Feed) Replace(entries []Entry, revision int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	live := make(map[string]content, len(entries))
	for _, e := range entries {
		live[e.Key] = contentOf(e)
		if f.known[e.Key] != live[e.Key] {
			f.put(Event{Entry: e})
		}
	}
	for key := range f.known {
		if _, ok := live[key]; !ok {
			f.put(Event{Entry: Entry{Key: key, Revision: revision}, Deleted: true})
		}
	}
	f.known = live
	f.wake()
}

// Apply tells changes, in the order in which they happened.
func (f *Feed) Apply(events []Event) {
	if len(events) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range events {
		if e.Deleted {
			delete(f.known, e.Key)
		} else {
			f.known[e.Key] = contentOf(e.Entry)
		}
		f.put(e)
	}
	f.wake()
}

// put keeps the newest state of a key. That a record is gone is no news to a
// receiver who never heard of it.
func (f *Feed) put(e Event) {
	if _, ok := f.sent[e.Key]; e.Deleted && !ok {
		delete(f.pending, e.Key)
		return
	}
	f.pending[e.Key] = e
}

func (f *Feed) wake() {
	select {
	case f.dirty <- struct{}{}:
	default:
	}
}

// Deliver gives the receiver what is pending, again and again, until ctx ends.
// It closes out.
func (f *Feed) Deliver(ctx context.Context, out chan<- []Event) {
	defer close(out)
	for first := true; ; first = false {
		select {
		case <-f.dirty:
		case <-ctx.Done():
			return
		}
		events := f.take()
		if len(events) == 0 && !first {
			continue
		}
		select {
		case out <- events:
		case <-ctx.Done():
			return
		}
	}
}

// take hands over what is pending, sorted by revision.
func (f *Feed) take() []Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	events := make([]Event, 0, len(f.pending))
	for key, e := range f.pending {
		events = append(events, e)
		if e.Deleted {
			delete(f.sent, key)
		} else {
			f.sent[key] = struct{}{}
		}
	}
	clear(f.pending)
	slices.SortFunc(events, func(a, b Event) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), strings.Compare(a.Key, b.Key))
	})
	return events
}
