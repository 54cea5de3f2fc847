package store_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/internal/store/storetest"
)

var errAway = errors.New("nobody listens")

// opened is a Later whose store is there.
func opened(t *testing.T, s store.Store) *store.Later {
	t.Helper()
	l := store.NewLater(func(context.Context) (store.Store, error) { return s, nil }, errAway, func(err error) { t.Error(err) })
	t.Cleanup(func() { _ = l.Close() })
	for {
		if _, err := l.List(t.Context(), "/"); err == nil {
			return l
		}
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("it is never there")
		}
	}
}

func TestLaterConforms(t *testing.T) {
	const lease = 3 * time.Second // machines are busy, and who stands still leads for too long
	memory := storetest.NewMemory(lease)
	storetest.Run(t, storetest.Engine{
		Open:   func(t *testing.T) store.Store { return opened(t, memory.Open()) },
		Forget: func(*testing.T) {},
		Lease:  lease,
	})
}

// What was begun before the store was there goes on when it is, and calls say until
// then that it is away, and why.
func TestLaterJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := storetest.NewMemory(time.Second)
		var there atomic.Bool
		var told []string
		l := store.NewLater(func(context.Context) (store.Store, error) {
			if !there.Load() {
				return nil, errors.New("still nobody")
			}
			return memory.Open(), nil
		}, errAway, func(err error) { told = append(told, err.Error()) })
		ctx, cancel := context.WithCancel(t.Context())
		events, leads := l.Watch(ctx, "/a"), make(chan struct{})
		go l.Register(ctx, "/r", func() []byte { return []byte("here") })
		go l.Elect(ctx, "/leader", "us", func(ctx context.Context) { close(leads); <-ctx.Done() })
		_, err := l.Get(ctx, "/a")
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), errAway.Error()) {
			t.Errorf("a call before it is there: %v", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		select {
		case <-events:
			t.Error("a watch tells of a store that is away")
		case <-leads:
			t.Error("leads without a store")
		default:
		}
		if len(told) != 1 || told[0] != "still nobody" {
			t.Errorf("told %q", told)
		}
		there.Store(true)
		if got := <-events; len(got) != 0 {
			t.Errorf("%v", got)
		}
		<-leads
		if _, err := l.Put(ctx, "/a", []byte("x"), 0); err != nil {
			t.Fatal(err)
		}
		if got := <-events; len(got) != 1 || got[0].Key != "/a" {
			t.Errorf("%v", got)
		}
		if e, err := l.Get(ctx, "/r"); err != nil || string(e.Value) != "here" {
			t.Errorf("%s, %v", e.Value, err)
		}
		cancel()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestLaterThatNeverComesIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := store.NewLater(func(context.Context) (store.Store, error) { return nil, errAway }, errAway, func(error) {})
		events := l.Watch(t.Context(), "/a")
		done := make(chan struct{})
		go func() { defer close(done); l.Register(t.Context(), "/r", nil) }()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		for range events { // closed, or the test hangs
		}
		<-done
	})
}
