package storetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/store"
)

// Memory is a store for tests: in memory, as quick as a map, and of one clock
// with testing/synctest. It passes the suite. Each process that a test plays
// has a Client.
type Memory struct {
	lease time.Duration

	mu       sync.Mutex
	revision int64
	records  map[string]record
	watches  map[*watch]struct{}
	changed  chan struct{} // closed and made anew at every change
}

type record struct {
	store.Entry
	created int64
	lease   *lease // nil: it stays
}

type watch struct {
	client *Client
	prefix string
	feed   *store.Feed
}

// lease is what goes with its process. It is over when its timer fires.
type lease struct{ timer *time.Timer }

// NewMemory returns an empty store.
func NewMemory(lease time.Duration) *Memory {
	return &Memory{
		lease: lease, records: map[string]record{}, watches: map[*watch]struct{}{}, changed: make(chan struct{}),
	}
}

// Client is one process's way to a Memory.
type Client struct {
	memory *Memory
	alive  context.Context
	end    context.CancelFunc
	group  sync.WaitGroup
	cut    bool // guarded by the memory's mutex
}

var _ store.Store = (*Client)(nil)

// Open returns a new client.
func (m *Memory) Open() *Client {
	c := &Client{memory: m}
	c.alive, c.end = context.WithCancel(context.Background())
	return c
}

// Cut takes the store away from this client, as a broken network does, or gives
// it back.
func (c *Client) Cut(away bool) {
	m := c.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	c.cut = away
	for w := range m.watches {
		if w.client == c && !away {
			w.feed.Replace(m.list(w.prefix), m.revision)
		}
	}
	m.wake()
}

// do runs a call under the lock.
func (c *Client) do(ctx context.Context, what, key string, call func(m *Memory) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("store: %s %s: %w", what, key, err)
	}
	if !strings.HasPrefix(key, "/") || len(key) > 512 || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return fmt.Errorf("store: key %q is none", key)
	}
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	err := store.ErrUnavailable
	if !c.cut && c.alive.Err() == nil {
		err = call(c.memory)
	}
	if err != nil {
		return fmt.Errorf("store: %s %s: %w", what, key, err)
	}
	return nil
}

// Get implements store.Store.
func (c *Client) Get(ctx context.Context, key string) (e store.Entry, err error) {
	return e, c.do(ctx, "get", key, func(m *Memory) error {
		r, ok := m.records[key]
		if e = r.Entry; !ok {
			return store.ErrNotFound
		}
		e.Value = bytes.Clone(e.Value)
		return nil
	})
}

// List implements store.Store.
func (c *Client) List(ctx context.Context, prefix string) (entries []store.Entry, err error) {
	err = c.do(ctx, "list", prefix, func(m *Memory) error {
		entries = m.list(prefix)
		return nil
	})
	return entries, err
}

// Page implements store.Store.
func (c *Client) Page(ctx context.Context, prefix, from string, limit int) (entries []store.Entry, err error) {
	err = c.do(ctx, "page", prefix, func(m *Memory) error {
		entries = slices.DeleteFunc(m.list(prefix), func(e store.Entry) bool { return e.Key < from })
		entries = entries[:min(len(entries), max(limit, 0))]
		return nil
	})
	return entries, err
}

func (m *Memory) list(prefix string) []store.Entry {
	entries := []store.Entry{}
	for _, key := range slices.Sorted(maps.Keys(m.records)) {
		if strings.HasPrefix(key, prefix) {
			e := m.records[key].Entry
			e.Value = bytes.Clone(e.Value)
			entries = append(entries, e)
		}
	}
	return entries
}

// Put implements store.Store.
func (c *Client) Put(ctx context.Context, key string, value []byte, revision int64) (e store.Entry, err error) {
	err = c.do(ctx, "put", key, func(m *Memory) error {
		switch {
		case len(value) > store.MaxValue:
			return store.ErrTooLarge
		case m.records[key].Revision != revision:
			return store.ErrConflict
		}
		e = m.put(key, value, nil)
		return nil
	})
	return e, err
}

func (m *Memory) put(key string, value []byte, l *lease) store.Entry {
	m.revision++
	r := m.records[key]
	r.Entry = store.Entry{Key: key, Value: bytes.Clone(value), Revision: m.revision}
	r.created, r.lease = cmp.Or(r.created, m.revision), l
	m.records[key] = r
	m.tell(store.Event{Entry: r.Entry})
	return r.Entry
}

// Delete implements store.Store.
func (c *Client) Delete(ctx context.Context, key string, revision int64) error {
	return c.do(ctx, "delete", key, func(m *Memory) error {
		switch r, ok := m.records[key]; {
		case !ok:
			return store.ErrNotFound
		case r.Revision != revision:
			return store.ErrConflict
		}
		m.remove(key)
		return nil
	})
}

func (m *Memory) remove(key string) {
	m.revision++
	delete(m.records, key)
	m.tell(store.Event{Entry: store.Entry{Key: key, Revision: m.revision}, Deleted: true})
}

func (m *Memory) tell(e store.Event) {
	for w := range m.watches {
		if strings.HasPrefix(e.Key, w.prefix) && !w.client.cut {
			copied := e
			copied.Value = bytes.Clone(e.Value)
			w.feed.Apply([]store.Event{copied})
		}
	}
	m.wake()
}

func (m *Memory) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// Watch implements store.Store.
func (c *Client) Watch(ctx context.Context, prefix string) <-chan []store.Event {
	m, out := c.memory, make(chan []store.Event)
	ctx, cancel := c.join(ctx)
	w := &watch{client: c, prefix: prefix, feed: store.NewFeed()}
	m.mu.Lock()
	m.watches[w] = struct{}{}
	if !c.cut {
		w.feed.Replace(m.list(prefix), m.revision)
	}
	m.mu.Unlock()
	c.group.Go(func() {
		defer cancel()
		w.feed.Deliver(ctx, out)
		m.mu.Lock()
		delete(m.watches, w)
		m.mu.Unlock()
	})
	return out
}

// join is a context that ends with ctx and with the client.
func (c *Client) join(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.alive, cancel)
	return ctx, func() { stop(); cancel() }
}

// Close implements store.Store.
func (c *Client) Close() error {
	c.end()
	c.group.Wait()
	return nil
}
