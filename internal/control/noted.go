package control

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/store"
)

// noted is a store that remembers what went wrong with it, for status: a store may
// answer, and take no writes. It is safe for concurrent use.
type noted struct {
	store.Store

	mu     sync.Mutex
	away   fault            // it does not answer
	writes map[string]fault // it takes no writes, by key
}

// fault is an error and since when it is so; the zero fault is none.
type fault struct {
	err   error
	since time.Time
}

// mostFaults bounds the keys that are told apart.
const mostFaults = 100

func newNoted(s store.Store) *noted { return &noted{Store: s, writes: map[string]fault{}} }

// Leader implements store.Store.
func (n *noted) Leader(ctx context.Context, name string) (string, error) {
	value, err := n.Store.Leader(ctx, name)
	n.asked(ctx, err)
	return value, err
}

// Get implements store.Store.
func (n *noted) Get(ctx context.Context, key string) (store.Entry, error) {
	e, err := n.Store.Get(ctx, key)
	n.asked(ctx, err)
	return e, err
}

// Put implements store.Store.
func (n *noted) Put(ctx context.Context, key string, value []byte, revision int64) (store.Entry, error) {
	e, err := n.Store.Put(ctx, key, value, revision)
	n.wrote(ctx, key, err)
	return e, err
}

// Delete implements store.Store.
func (n *noted) Delete(ctx context.Context, key string, revision int64) error {
	err := n.Store.Delete(ctx, key, revision)
	n.wrote(ctx, key, err)
	return err
}

// asked notes how a question went.
func (n *noted) asked(ctx context.Context, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case answered(err):
		n.away = fault{}
	case !errors.Is(ctx.Err(), context.Canceled): // else nobody waited for it
		n.away.happens(err)
	}
}

// wrote notes how a write went. A good one ends what kept all of them from the store;
// what is wrong with one record ends with a good one of that.
func (n *noted) wrote(ctx context.Context, key string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if answered(err) {
		n.away = fault{}
		delete(n.writes, key)
		for other, f := range n.writes {
			if !errors.Is(f.err, store.ErrTooLarge) {
				delete(n.writes, other)
			}
		}
		return
	}
	f, known := n.writes[key]
	if errors.Is(ctx.Err(), context.Canceled) || !known && len(n.writes) >= mostFaults {
		return
	}
	f.happens(err)
	n.writes[key] = f
}

// answered reports whether the store did what it is there for: also where it said no.
func answered(err error) bool {
	return err == nil || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound)
}

func (f *fault) happens(err error) {
	if f.since.IsZero() {
		f.since = time.Now().UTC()
	}
	f.err = err
}

// trouble is what is wrong, in a few words, and since when; empty: nothing is.
func (n *noted) trouble() (what string, since time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.away.err != nil {
		return "does not answer (" + n.away.err.Error() + ")", n.away.since
	}
	for _, f := range n.writes {
		if since.IsZero() || f.since.Before(since) {
			what, since = "takes no writes ("+f.err.Error()+")", f.since
		}
	}
	return what, since
}
