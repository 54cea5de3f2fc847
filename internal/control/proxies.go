package control

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/store"
)

// register is the list of the proxies that were seen lately, by any replica, so
// that one which restarts knows whom to expect: else a proof that it gives before
// they are back would lack them. It is safe for concurrent use.
type register struct {
	store store.Store
	xds   *xds.Server
	copy  *localCopy // by node: when it was last known to be connected

	mu       sync.Mutex
	read     bool // the store was asked once
	list     registered
	revision int64
	written  time.Time
	kept     map[string]time.Time // what copy has
}

// registered is the list as the store keeps it.
type registered struct {
	Seen map[string]time.Time `json:"seen"`           // by node: when it was last known to be connected
	Gone map[string]time.Time `json:"gone"`           // by node: when a person took it out
	More int                  `json:"more,omitempty"` // that Seen has no room for
	// Records are who did, and why, the newest last.
	Records []admin.ProxyRecord `json:"records,omitempty"`
}

const (
	// registerEvery is how often times are written; a proxy that is new is written
	// within writesUp.
	registerEvery = time.Minute
	// registerRoom, in bytes, and keptProxyRecords bound the list, and so its size in
	// the store: some ten thousand proxies.
	registerRoom     = 600 << 10
	keptProxyRecords = 200
)

func newRegister(s store.Store, x *xds.Server) *register {
	return &register{store: s, xds: x, list: registered{Seen: map[string]time.Time{}, Gone: map[string]time.Time{}}, kept: map[string]time.Time{}}
}

// follow expects whom the list names, and no more whom a person took out, until
// ctx ends.
func (r *register) follow(ctx context.Context) {
	for events := range r.store.Watch(ctx, proxiesKey) {
		for i := range events {
			if !events[i].Deleted {
				r.take(events[i].Entry, false)
			}
		}
		r.mu.Lock()
		r.read = true
		r.mu.Unlock()
	}
}

// known reports whether the list was read: before that nobody knows which proxies
// to expect.
func (r *register) known() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read
}

// take takes over what the store has; anyway, also where its revision is an older
// one: the store was set back.
func (r *register) take(e store.Entry, anyway bool) {
	var list registered
	if json.Unmarshal(e.Value, &list) != nil {
		return // the next write puts it right
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Revision <= r.revision && !anyway {
		return
	}
	if !r.read {
		list.resume(time.Now())
	}
	r.revision = e.Revision
	if list.Seen != nil {
		r.list.Seen = list.Seen
	}
	if list.Gone != nil {
		r.list.Gone = list.Gone
	}
	r.list.Records, r.list.More = list.Records, list.More
	for node, at := range r.list.Seen {
		if !r.list.Gone[node].After(at) {
			r.expect(node, at)
		}
	}
	for node, at := range r.list.Gone {
		if at.After(r.list.Seen[node]) {
			_ = r.xds.Deregister(node) // connected: then it is there again
		}
	}
}

// resume makes up for the time in which there was no control plane, and so nobody
// for a proxy to connect to: the proxies are back soon.
func (l *registered) resume(now time.Time) {
	var newest time.Time
	for _, at := range l.Seen {
		if at.After(newest) {
			newest = at
		}
	}
	if gap := now.Sub(newest); gap > 2*registerEvery {
		for node, at := range l.Seen {
			l.Seen[node] = at.Add(gap)
		}
		for node, at := range l.Gone {
			l.Gone[node] = at.Add(gap)
		}
	}
}

// write brings the list up to date with who is connected, where that is news.
func (r *register) write(ctx context.Context, connected []string, now time.Time) error {
	r.mu.Lock()
	next := registered{Seen: maps.Clone(r.list.Seen), Gone: maps.Clone(r.list.Gone), Records: r.list.Records}
	revision, full, news := r.revision, r.list.More > 0, now.Sub(r.written) >= registerEvery
	r.mu.Unlock()
	for _, node := range connected {
		_, known := next.Seen[node]
		_, gone := next.Gone[node]
		news = news || !known && !full || gone
		next.Seen[node] = now.UTC().Truncate(time.Second)
		delete(next.Gone, node)
	}
	old := now.Add(-xds.DefaultExpect)
	tooOld := func(_ string, at time.Time) bool { return at.Before(old) }
	maps.DeleteFunc(next.Seen, tooOld)
	maps.DeleteFunc(next.Gone, tooOld)
	if !news {
		return nil
	}
	next.fit()
	return r.put(ctx, next, revision, now)
}

// fit leaves out those for whom there is no room.
func (l *registered) fit() {
	room := registerRoom
	for _, node := range sortedKeys(l.Seen) {
		if room -= len(node) + len(`"":"2006-01-02T15:04:05Z",`); room < 0 {
			delete(l.Seen, node)
			l.More++
		}
	}
}

// more is how many proxies the list has no room for.
func (r *register) more() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list.More
}

func (r *register) put(ctx context.Context, next registered, revision int64, now time.Time) error {
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	e, err := r.store.Put(ctx, proxiesKey, text, revision)
	if errors.Is(err, store.ErrConflict) { // somebody else's: the next write adds to it
		e, err = r.store.Get(ctx, proxiesKey)
		switch {
		case err == nil:
			r.take(e, true)
		case errors.Is(err, store.ErrNotFound): // somebody took it away
			r.mu.Lock()
			r.revision = 0
			r.mu.Unlock()
			err = nil
		}
		return err
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Revision > r.revision || r.revision == revision {
		r.list, r.revision, r.written = next, e.Revision, now
	}
	return nil
}

// deregister takes a proxy out of the list, and notes who did and why, in one change.
// Where somebody has already, there is nothing to do.
func (r *register) deregister(ctx context.Context, d admin.ProxyRecord) error {
	for range attempts {
		r.mu.Lock()
		if at, gone := r.list.Gone[d.Node]; gone && at.After(r.list.Seen[d.Node]) {
			r.mu.Unlock()
			return nil
		}
		next := registered{Seen: maps.Clone(r.list.Seen), Gone: maps.Clone(r.list.Gone), More: r.list.More}
		next.Records = append(slices.Clone(r.list.Records), d)
		next.Records = next.Records[max(0, len(next.Records)-keptProxyRecords):]
		revision := r.revision
		r.mu.Unlock()
		next.Gone[d.Node] = d.At
		delete(next.Seen, d.Node)
		if err := r.put(ctx, next, revision, time.Now()); err != nil {
			return err
		}
	}
	return admin.Conflict(0, "the list of proxies changes all the time: try again")
}

// history are the newest records, newest first.
func (r *register) history(limit int) []admin.ProxyRecord {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.list.Records)
	slices.Reverse(out)
	return append([]admin.ProxyRecord{}, out[:min(len(out), limit)]...)
}

// seen is when a proxy was last known to be connected, or was taken out; zero: never
// lately.
func (r *register) seen(node string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at := r.list.Seen[node]; !at.IsZero() {
		return at
	}
	return r.list.Gone[node]
}
