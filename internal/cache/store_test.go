package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// until waits for a condition that other goroutines or processes bring about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.After(30 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited 30 s in vain: %s", what)
		}
	}
}

func keyOf(version, name string) Key {
	return NewKey(Parts{Route: "r", Path: "/" + name, Model: "default/fraud", Version: version})
}

func entryOf(body string) Entry {
	return Entry{Status: 200, ContentType: "application/json", Body: []byte(body), Stored: time.Now()}
}

type counted interface {
	Store
	Stats() Stats
}

// suite is what every store must do. put sets and waits until it is done.
func suite(t *testing.T, s counted) {
	ctx := t.Context()
	put := func(k Key, e Entry) {
		t.Helper()
		before := s.Stats().Sets
		if err := s.Set(ctx, k, e, time.Minute); err != nil {
			t.Fatal(err)
		}
		until(t, "the entry to be written", func() bool { return s.Stats().Sets > before })
	}
	get := func(k Key) string {
		t.Helper()
		e, ok, err := s.Get(ctx, k)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return ""
		}
		return string(e.Body)
	}
	if got := get(keyOf("v1", "a")); got != "" {
		t.Errorf("an empty store has %q", got)
	}
	body := []byte(`{"a":1}`)
	e := entryOf("")
	e.Body, e.Headers = body, []Header{{"content-encoding", "identity"}}
	put(keyOf("v1", "a"), e)
	body[0] = 'X' // the store has its own
	got, ok, err := s.Get(ctx, keyOf("v1", "a"))
	if err != nil || !ok || string(got.Body) != `{"a":1}` || got.Status != 200 || got.ContentType != "application/json" ||
		got.Model != "default/fraud" || got.Version != "v1" || len(got.Headers) != 1 || !got.Stored.Equal(e.Stored) {
		t.Errorf("got %+v, %v, %v", got, ok, err)
	}
	put(keyOf("v1", "a"), entryOf("second"))
	if got := get(keyOf("v1", "a")); got != "second" {
		t.Errorf("set again, it has %q", got)
	}
	if err := s.Set(ctx, keyOf("v1", "no time"), entryOf("x"), 0); err != nil {
		t.Error(err)
	}
	if got := get(keyOf("v1", "no time")); got != "" {
		t.Errorf("kept %q for no time", got)
	}
	if err := s.Set(ctx, keyOf("v1", "big"), entryOf(string(make([]byte, 5001))), time.Minute); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}

	put(keyOf("v1", "b"), entryOf("v1"))
	put(keyOf("v2", "b"), entryOf("v2"))
	if err := s.Purge(ctx, "default/fraud", "v1"); err != nil {
		t.Fatal(err)
	}
	put(keyOf("v1", "late"), entryOf("in flight when it was purged"))
	later := entryOf("after")
	later.Stored = later.Stored.Add(PurgeMargin + time.Second)
	put(keyOf("v1", "later"), later)
	for k, want := range map[Key]string{
		keyOf("v1", "a"): "", keyOf("v1", "b"): "", keyOf("v1", "late"): "", keyOf("v1", "later"): "after", keyOf("v2", "b"): "v2",
	} {
		if got := get(k); got != want {
			t.Errorf("after the purge of v1 %s has %q, want %q", k.version, got, want)
		}
	}
	if err := s.Purge(ctx, "default/fraud", ""); err != nil {
		t.Fatal(err)
	}
	if got := get(keyOf("v2", "b")); got != "" {
		t.Errorf("after the purge of the model v2 has %q", got)
	}
	st := s.Stats()
	if st.Hits != 4 || st.Purged == 0 || st.Misses != 6 || st.SetErrors != 1 || st.Errors != 0 {
		t.Errorf("counted %+v", st)
	}
}

func memory(t *testing.T, opt MemoryOptions) *Memory {
	t.Helper()
	m, err := NewMemory(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func TestMemory(t *testing.T) { suite(t, memory(t, MemoryOptions{MaxEntryBytes: 5000})) }

func TestMemoryExpires(t *testing.T) {
	m := memory(t, MemoryOptions{})
	key := keyOf("v1", "a")
	if err := m.Set(t.Context(), key, entryOf("x"), 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := m.Set(t.Context(), keyOf("v1", "b"), entryOf("x"), time.Hour); err != nil {
		t.Fatal(err)
	}
	until(t, "the entry to expire", func() bool { _, ok, _ := m.Get(context.Background(), key); return !ok })
	if _, ok, _ := m.Get(t.Context(), keyOf("v1", "b")); !ok {
		t.Error("another expired with it")
	}
}

func TestMemoryMismatch(t *testing.T) {
	m := memory(t, MemoryOptions{})
	a, forged := keyOf("v1", "a"), keyOf("v1", "b")
	if err := m.Set(t.Context(), a, entryOf("a"), time.Minute); err != nil {
		t.Fatal(err)
	}
	forged.hash = a.hash
	if _, ok, _ := m.Get(t.Context(), forged); ok || m.Stats().Mismatches != 1 {
		t.Errorf("another key's entry: found %v, counted %+v", ok, m.Stats())
	}
}

// TestMemoryBound fills the store many times over.
func TestMemoryBound(t *testing.T) {
	const bound = 1 << 20
	m := memory(t, MemoryOptions{Bytes: bound})
	body := bytes.Repeat([]byte("x"), 2000)
	for i := range 20_000 {
		e := entryOf("")
		e.Body = body
		if err := m.Set(t.Context(), keyOf("v1", fmt.Sprint(i)), e, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the store to shrink to its bound", func() bool { m.cache.CleanUp(); return m.Stats().Bytes <= bound })
	s := m.Stats()
	if least, most := bound/(2000+overhead+200)/2, bound/2000; s.Entries < least || s.Entries > most {
		t.Errorf("%d entries in %d bytes, want %d to %d", s.Entries, s.Bytes, least, most)
	}
}

func TestAgeOf(t *testing.T) {
	stored := time.Unix(1000, 0)
	for after, want := range map[time.Duration]Age{
		-time.Hour: Fresh, 0: Fresh, time.Minute - 1: Fresh, time.Minute: Stale, time.Hour + time.Minute - 1: Stale, time.Hour + time.Minute: Expired,
	} {
		if got := AgeOf(Entry{Stored: stored}, stored.Add(after), time.Minute, time.Hour); got != want {
			t.Errorf("after %s: %d, want %d", after, got, want)
		}
	}
}

func TestFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFlights(2, time.Minute)
		var runs atomic.Int64
		release := make(chan struct{})
		work := func(context.Context) { runs.Add(1); <-release }
		for range 10 {
			f.Go(keyOf("v1", "a"), work)
		}
		synctest.Wait()
		if runs.Load() != 1 {
			t.Errorf("%d at once for one key", runs.Load())
		}
		if !f.Go(keyOf("v1", "b"), work) || f.Go(keyOf("v1", "c"), work) {
			t.Error("not exactly two at once")
		}
		close(release)
		synctest.Wait()
		if !f.Go(keyOf("v1", "a"), work) {
			t.Error("the key is still busy")
		}
		synctest.Wait()
		var ended time.Duration
		began := time.Now()
		f.Go(keyOf("v1", "slow"), func(ctx context.Context) { <-ctx.Done(); ended = time.Since(began) })
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if ended != time.Minute {
			t.Errorf("a slow work was ended after %s", ended)
		}
		f.Go(keyOf("v1", "slow"), func(ctx context.Context) { <-ctx.Done() })
		f.Close()
		if f.Go(keyOf("v1", "a"), work) {
			t.Error("work was started after Close")
		}
	})
}
