package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/internal/store/storetest"
)

// failing is a store whose writes fail as the test says.
type failing struct {
	store.Store
	err map[string]error // by key; "" of all others
}

func (f *failing) Put(ctx context.Context, key string, value []byte, revision int64) (store.Entry, error) {
	err, is := f.err[key]
	if !is {
		err = f.err[""]
	}
	if err != nil {
		return store.Entry{}, fmt.Errorf("store: put %s: %w", key, err)
	}
	return f.Store.Put(ctx, key, value, revision)
}

// refusing is a store that takes no writes while it is full.
type refusing struct {
	store.Store
	full atomic.Bool
}

func (r *refusing) Put(ctx context.Context, key string, value []byte, revision int64) (store.Entry, error) {
	if r.full.Load() {
		return store.Entry{}, fmt.Errorf("store: put %s: %w: the file is full", key, store.ErrUnavailable)
	}
	return r.Store.Put(ctx, key, value, revision)
}

func TestAStoreThatAnswersAndTakesNoWritesIsToldOf(t *testing.T) {
	full := fmt.Errorf("%w: no space left", store.ErrUnavailable)
	f := &failing{Store: newMemory(t), err: map[string]error{}}
	n := newNoted(f)
	put := func(key string) {
		t.Helper()
		_, _ = n.Put(t.Context(), key, nil, 0)
	}
	told := func(want string) {
		t.Helper()
		what, since := n.trouble()
		if (what == "") != (want == "") || !strings.Contains(what, want) || since.IsZero() != (want == "") {
			t.Errorf("told %q since %s, want %q", what, since, want)
		}
	}
	put("/a")
	put("/a") // a conflict is an answer
	told("")
	f.err[""] = full
	put("/b")
	told("takes no writes (store: put /b")
	_, first := n.trouble()
	if _, err := n.Leader(t.Context(), "/leader"); !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	told("no space left") // reads say nothing of it
	put("/c")
	if _, since := n.trouble(); !since.Equal(first) {
		t.Errorf("since %s, and then %s", first, since)
	}
	delete(f.err, "")
	f.err["/large"] = store.ErrTooLarge
	put("/large")
	told("no space left")
	put("/d")
	told("too large") // and of one record alone
	delete(f.err, "/large")
	put("/e")
	told("too large")
	put("/large")
	told("")

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	f.err[""] = context.Canceled
	_, _ = n.Put(gone, "/f", nil, 0)
	told("") // nobody waited for it
}

func TestAStoreThatIsAwayIsToldOf(t *testing.T) {
	client := storetest.NewMemory(0).Open()
	n := newNoted(client)
	client.Cut(true)
	if _, err := n.Leader(t.Context(), "/leader"); err == nil {
		t.Fatal("a store that is cut off answers")
	}
	what, first := n.trouble()
	if !strings.HasPrefix(what, "does not answer (") || first.IsZero() {
		t.Errorf("%q since %s", what, first)
	}
	_, _ = n.Get(t.Context(), "/a")
	if _, since := n.trouble(); !since.Equal(first) {
		t.Errorf("since %s, and then %s", first, since)
	}
	client.Cut(false)
	_, _ = n.Get(t.Context(), "/a")
	if what, since := n.trouble(); what != "" || !since.IsZero() {
		t.Errorf("%q since %s", what, since)
	}
}

func newMemory(t *testing.T) store.Store {
	t.Helper()
	c := storetest.NewMemory(0).Open()
	t.Cleanup(func() { _ = c.Close() })
	return c
}
