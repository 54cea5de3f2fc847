package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Later is a Store that cannot be opened yet. Calls fail with ErrUnavailable and
// why; watches, registrations and candidacies wait. It is opened again and again,
// and from the first success on it is the store that was opened.
type Later struct {
	alive context.Context // ends with Close
	end   context.CancelFunc
	there chan struct{} // closed when store is set
	group sync.WaitGroup

	mu    sync.Mutex
	store Store // nil: not open
	why   error // it is not
}

// Bounds of the wait between two tries, which has full jitter: many processes wait
// for one store.
const (
	laterFirst   = 20 * time.Millisecond
	laterLongest = 5 * time.Second
)

// NewLater begins to open a store, which failed with why. open is bounded by itself;
// problem is told each error that differs from the one before.
func NewLater(open func(context.Context) (Store, error), why error, problem func(error)) *Later {
	l := &Later{there: make(chan struct{}), why: why}
	l.alive, l.end = context.WithCancel(context.Background())
	l.group.Go(func() { l.open(open, problem) })
	return l
}

func (l *Later) open(open func(context.Context) (Store, error), problem func(error)) {
	for longest := laterFirst; ; longest = min(2*longest, laterLongest) {
		select {
		case <-time.After(rand.N(longest) + time.Millisecond):
		case <-l.alive.Done():
			return
		}
		s, err := open(l.alive)
		l.mu.Lock()
		if err == nil {
			l.store = s
			close(l.there)
			l.mu.Unlock()
			return
		}
		news := l.why == nil || l.why.Error() != err.Error()
		l.why = err
		l.mu.Unlock()
		if news && l.alive.Err() == nil {
			problem(err)
		}
	}
}

// now returns the store, or why there is none.
func (l *Later) now(ctx context.Context) (Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.store == nil {
		return nil, fmt.Errorf("%w since the start: %w", ErrUnavailable, l.why)
	}
	return l.store, nil
}

// wait returns the store when it is there; nil where ctx or Close is first.
func (l *Later) wait(ctx context.Context) Store {
	select {
	case <-l.there:
		return l.store
	case <-ctx.Done():
	case <-l.alive.Done():
	}
	return nil
}

// Get implements Store.
func (l *Later) Get(ctx context.Context, key string) (Entry, error) {
	s, err := l.now(ctx)
	if err != nil {
		return Entry{}, err
	}
	return s.Get(ctx, key)
}

// List implements Store.
func (l *Later) List(ctx context.Context, prefix string) ([]Entry, error) {
	s, err := l.now(ctx)
	if err != nil {
		return nil, err
	}
	return s.List(ctx, prefix)
}

// Page implements Store.
func (l *Later) Page(ctx context.Context, prefix, from string, limit int) ([]Entry, error) {
	s, err := l.now(ctx)
	if err != nil {
		return nil, err
	}
	return s.Page(ctx, prefix, from, limit)
}

// Put implements Store.
func (l *Later) Put(ctx context.Context, key string, value []byte, revision int64) (Entry, error) {
	s, err := l.now(ctx)
	if err != nil {
		return Entry{}, err
	}
	return s.Put(ctx, key, value, revision)
}

// Delete implements Store.
func (l *Later) Delete(ctx context.Context, key string, revision int64) error {
	s, err := l.now(ctx)
	if err != nil {
		return err
	}
	return s.Delete(ctx, key, revision)
}

// Leader implements Store.
func (l *Later) Leader(ctx context.Context, name string) (string, error) {
	s, err := l.now(ctx)
	if err != nil {
		return "", err
	}
	return s.Leader(ctx, name)
}

// Watch implements Store.
func (l *Later) Watch(ctx context.Context, prefix string) <-chan []Event {
	out := make(chan []Event)
	go func() {
		defer close(out)
		s := l.wait(ctx)
		if s == nil {
			return
		}
		for events := range s.Watch(ctx, prefix) {
			select {
			case out <- events:
			case <-ctx.Done():
			case <-l.alive.Done():
			}
		}
	}()
	return out
}

// Register implements Store.
func (l *Later) Register(ctx context.Context, key string, value func() []byte) {
	if s := l.wait(ctx); s != nil {
		s.Register(ctx, key, value)
	}
}

// Elect implements Store.
func (l *Later) Elect(ctx context.Context, name, value string, lead func(context.Context)) {
	if s := l.wait(ctx); s != nil {
		s.Elect(ctx, name, value, lead)
	}
}

// Close implements Store.
func (l *Later) Close() error {
	l.end()
	l.group.Wait()
	if l.store == nil {
		return nil
	}
	return l.store.Close()
}
