package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/safestate/safestate/internal/store"
)

func records(t *testing.T, e Engine) {
	s, ctx, key := e.Open(t), t.Context(), space(t)+"a"
	if _, err := s.Get(ctx, key); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("get of nothing: %v", err)
	}
	if _, err := s.Put(ctx, key, []byte("x"), 7); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("put at a revision of nothing: %v", err)
	}
	if err := s.Delete(ctx, key, 7); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("delete of nothing: %v", err)
	}

	first := put(t, s, key, "one", 0)
	if got := get(t, s, key); got.Key != key || string(got.Value) != "one" || got.Revision != first.Revision {
		t.Fatalf("got %+v, put %+v", got, first)
	}
	if _, err := s.Put(ctx, key, []byte("x"), 0); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("create of what is there: %v", err)
	}
	second := put(t, s, key, "two", first.Revision)
	if _, err := s.Put(ctx, key, []byte("x"), first.Revision); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("put at an old revision: %v", err)
	}
	if err := s.Delete(ctx, key, first.Revision); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("delete at an old revision: %v", err)
	}
	if err := s.Delete(ctx, key, 0); err == nil {
		t.Fatal("delete without a revision was taken")
	}
	if got := get(t, e.Open(t), key); string(got.Value) != "two" {
		t.Fatalf("another client sees %q", got.Value)
	}

	if err := s.Delete(ctx, key, second.Revision); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, key); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("get after delete: %v", err)
	}
	if _, err := s.Put(ctx, key, []byte("x"), second.Revision); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("put at the revision of a deleted record: %v", err)
	}
	third := put(t, s, key, "three", 0)
	if _, err := s.Put(ctx, key, []byte("x"), second.Revision); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("put at a revision of the record's former life: %v", err)
	}
	if third.Revision <= second.Revision {
		t.Fatalf("revision %d after %d", third.Revision, second.Revision)
	}
}

func keysAndValues(t *testing.T, e Engine) {
	s, ctx, at := e.Open(t), t.Context(), space(t)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for name, value := range map[string][]byte{
		"empty": {}, "nil": nil, "bytes": all, "largest": bytes.Repeat([]byte{'x'}, store.MaxValue),
	} {
		if _, err := s.Put(ctx, at+name, value, 0); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := get(t, s, at+name); !bytes.Equal(got.Value, value) {
			t.Errorf("%s: %d bytes came back as %d", name, len(value), len(got.Value))
		}
	}
	if _, err := s.Put(ctx, at+"over", make([]byte, store.MaxValue+1), 0); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("over MaxValue: %v", err)
	}
	for _, key := range []string{"", "a", "/a b", "/a\n", "/ä", "/" + strings.Repeat("a", 600)} {
		if _, err := s.Put(ctx, key, nil, 0); err == nil || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("key %q: %v", key, err)
		}
	}
}

func list(t *testing.T, e Engine) {
	s, ctx, at := e.Open(t), t.Context(), space(t)
	if got, err := s.List(ctx, at); err != nil || len(got) != 0 {
		t.Fatalf("list of nothing: %v, %v", got, err)
	}
	for _, name := range []string{"x/b", "x/a/c", "x/a", "xy", "w"} {
		put(t, s, at+name, name, 0)
	}
	got, err := s.List(ctx, at+"x/")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range got {
		names = append(names, string(entry.Value))
		if entry.Key != at+string(entry.Value) || entry.Revision == 0 {
			t.Errorf("entry %+v", entry)
		}
	}
	if want := []string{"x/a", "x/a/c", "x/b"}; !slices.Equal(names, want) {
		t.Errorf("listed %v, want %v", names, want)
	}
}

func page(t *testing.T, e Engine) {
	s, ctx, at := e.Open(t), t.Context(), space(t)
	for _, name := range []string{"x/4", "x/1", "xy", "x/3", "w", "x/2", "x/2-a"} {
		put(t, s, at+name, name, 0)
	}
	for _, c := range []struct {
		from  string
		limit int
		want  string
	}{
		{"", 2, "x/1 x/2"}, {at + "x/2", 2, "x/2 x/2-a"}, {at + "x/2-", 9, "x/2-a x/3 x/4"}, {at + "x/5", 9, ""}, {at, 1, "x/1"}, {"/zz", 9, ""}, {"", 0, ""},
	} {
		got, err := s.Page(ctx, at+"x/", c.from, c.limit)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, entry := range got {
			names = append(names, string(entry.Value))
			if entry.Key != at+string(entry.Value) || entry.Revision == 0 {
				t.Errorf("entry %+v", entry)
			}
		}
		if text := strings.Join(names, " "); text != c.want {
			t.Errorf("%d from %q: %s, want %s", c.limit, c.from, text, c.want)
		}
	}
}

func revisions(t *testing.T, e Engine) {
	s, other, at := e.Open(t), e.Open(t), space(t)
	last := int64(0)
	for i := range 10 {
		for _, by := range []store.Store{s, other} {
			key := at + strconv.Itoa(i%3)
			before, err := by.Get(t.Context(), key)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Fatal(err)
			}
			now := put(t, by, key, "", before.Revision)
			if now.Revision <= last {
				t.Fatalf("revision %d after %d", now.Revision, last)
			}
			last = now.Revision
		}
	}
}

// counter adds by compare-and-swap from many places.
func counter(t *testing.T, e Engine) {
	const writers, each = 8, 15
	key := space(t) + "n"
	put(t, e.Open(t), key, "0", 0)
	ctx := within(t)
	var group sync.WaitGroup
	for range writers {
		s := e.Open(t)
		group.Go(func() {
			for range each {
				if err := add(ctx, s, key); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	if got := get(t, e.Open(t), key); string(got.Value) != strconv.Itoa(writers*each) {
		t.Errorf("%d additions made %s", writers*each, got.Value)
	}
}

func add(ctx context.Context, s store.Store, key string) error {
	for {
		now, err := s.Get(ctx, key)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(now.Value))
		if err != nil {
			return err
		}
		_, err = s.Put(ctx, key, []byte(strconv.Itoa(n+1)), now.Revision)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

func createOnce(t *testing.T, e Engine) {
	key := space(t) + "a"
	ctx := within(t)
	won := make(chan string, 16)
	var group sync.WaitGroup
	for i := range cap(won) {
		s, name := e.Open(t), fmt.Sprint("writer ", i)
		group.Go(func() {
			switch _, err := s.Put(ctx, key, []byte(name), 0); {
			case err == nil:
				won <- name
			case !errors.Is(err, store.ErrConflict):
				t.Error(err)
			}
		})
	}
	group.Wait()
	close(won)
	var winners []string
	for name := range won {
		winners = append(winners, name)
	}
	if got := get(t, e.Open(t), key); len(winners) != 1 || string(got.Value) != winners[0] {
		t.Errorf("created by %v, holds %s", winners, got.Value)
	}
}

func contexts(t *testing.T, e Engine) {
	s, at := e.Open(t), space(t)
	ctx, cancel := context.WithCancel(t.Context())
	events := s.Watch(ctx, at)
	<-events
	cancel()
	for range events { // closed, or the test hangs
	}
	calls := map[string]func() error{
		"get":    func() error { _, err := s.Get(ctx, at+"a"); return err },
		"list":   func() error { _, err := s.List(ctx, at); return err },
		"page":   func() error { _, err := s.Page(ctx, at, "", 1); return err },
		"put":    func() error { _, err := s.Put(ctx, at+"a", nil, 0); return err },
		"delete": func() error { return s.Delete(ctx, at+"a", 1) },
		"leader": func() error { _, err := s.Leader(ctx, at+"a"); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s after its context ended: %v", name, err)
		}
	}
	s.Register(ctx, at+"r", func() []byte { return nil })
	s.Elect(ctx, at+"e", "v", func(context.Context) { t.Error("leads after its context ended") })
	if got, err := s.List(t.Context(), at); err != nil || len(got) != 0 {
		t.Errorf("left behind: %v, %v", got, err)
	}
}
