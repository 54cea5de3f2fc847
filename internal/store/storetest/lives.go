package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/store"
)

// value returns what a key holds, or "-".
func value(t *testing.T, s store.Store, key string) string {
	t.Helper()
	e, err := s.Get(t.Context(), key)
	if errors.Is(err, store.ErrNotFound) {
		return "-"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(e.Value)
}

// background runs what blocks until its context ends; end waits for it.
func background(t *testing.T, run func(ctx context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); run(ctx) }()
	end = func() {
		t.Helper()
		cancel()
		select {
		case <-done:
		case <-time.After(hang):
			t.Fatal("does not end with its context")
		}
	}
	t.Cleanup(end)
	return end
}

func register(t *testing.T, e Engine) {
	s, other, key := e.Open(t), e.Open(t), space(t)+"a"
	end := background(t, func(ctx context.Context) { s.Register(ctx, key, func() []byte { return []byte("here") }) })
	eventually(t, "the record", func() bool { return value(t, other, key) == "here" })
	second := background(t, func(ctx context.Context) { other.Register(ctx, key, func() []byte { return []byte("next") }) })
	eventually(t, "the later one's record", func() bool { return value(t, s, key) == "next" })
	end()
	if got := value(t, other, key); got != "next" {
		t.Errorf("the end of the first took the second's record: %s", got)
	}
	second()
	if got := value(t, s, key); got != "-" {
		t.Errorf("left behind: %s", got)
	}
}

func registerValue(t *testing.T, e Engine) {
	s, key := e.Open(t), space(t)+"a"
	var now atomic.Pointer[string]
	var asked atomic.Int64
	set := func(v string) { now.Store(&v) }
	set("one")
	background(t, func(ctx context.Context) {
		s.Register(ctx, key, func() []byte { asked.Add(1); return []byte(*now.Load()) })
	})
	eventually(t, "the first value", func() bool { return value(t, s, key) == "one" })
	first := get(t, s, key)
	eventually(t, "more looks at the value", func() bool { return asked.Load() > 3 })
	if got := get(t, s, key); got.Revision != first.Revision {
		t.Error("a value that stays is written again")
	}
	set("two")
	eventually(t, "the second value", func() bool { return value(t, s, key) == "two" })
	if get(t, s, key).Revision <= first.Revision {
		t.Error("the record changed without a revision")
	}
}

func registerAnew(t *testing.T, e Engine) {
	s, key := e.Open(t), space(t)+"a"
	background(t, func(ctx context.Context) { s.Register(ctx, key, func() []byte { return []byte("here") }) })
	eventually(t, "the record", func() bool { return value(t, s, key) == "here" })
	if err := s.Delete(t.Context(), key, get(t, s, key).Revision); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the record again", func() bool { return value(t, s, key) == "here" })
}

// candidate is one who stands, and who tells when it leads.
type candidate struct {
	name string
	end  func()
}

func stand(t *testing.T, s store.Store, at, name string, lead func(context.Context, string)) candidate {
	return candidate{name, background(t, func(ctx context.Context) {
		s.Elect(ctx, at, name, func(ctx context.Context) { lead(ctx, name) })
	})}
}

func electOne(t *testing.T, e Engine) {
	at, names := space(t)+"leader", []string{"a", "b", "c"}
	if _, err := e.Open(t).Leader(t.Context(), at); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("leader of nobody: %v", err)
	}
	var mu sync.Mutex
	var leads []string
	most := 0
	started := make(chan string, 100)
	lead := func(ctx context.Context, name string) {
		mu.Lock()
		leads = append(leads, name)
		most = max(most, len(leads))
		mu.Unlock()
		started <- name
		<-ctx.Done()
		mu.Lock()
		leads = slices.DeleteFunc(leads, func(n string) bool { return n == name })
		mu.Unlock()
	}
	standing := map[string]candidate{}
	seen := map[string]bool{}
	// Each in turn, as those who have led do not stand again before all have: twice.
	for turn := range 2 * len(names) {
		if turn%len(names) == 0 {
			for _, name := range names {
				standing[name] = stand(t, e.Open(t), at, name, lead)
			}
		}
		name := <-started
		seen[name] = true
		for i := range 3 {
			got, err := e.Open(t).Leader(t.Context(), at)
			if err != nil || got != name {
				t.Fatalf("look %d: %s leads, the store says %s, %v", i, name, got, err)
			}
		}
		standing[name].end()
	}
	mu.Lock()
	defer mu.Unlock()
	if most != 1 || len(seen) != len(names) || len(leads) != 0 {
		t.Errorf("%d led at once, %d of %d in all, %v at the end", most, len(seen), len(names), leads)
	}
}

// electNext: one that steps down is followed without waiting for its lease.
func electNext(t *testing.T, e Engine) {
	at := space(t) + "leader"
	started := make(chan time.Time, 10)
	lead := func(ctx context.Context, _ string) {
		started <- time.Now()
		<-ctx.Done()
	}
	first := stand(t, e.Open(t), at, "first", lead)
	<-started
	stand(t, e.Open(t), at, "second", lead)
	stopped := time.Now()
	first.end()
	if took := (<-started).Sub(stopped); took >= e.Lease {
		t.Errorf("the next one led after %s, a lease is %s", took, e.Lease)
	}
	if got, err := e.Open(t).Leader(t.Context(), at); err != nil || got != "second" {
		t.Errorf("leader %q, %v", got, err)
	}
}

func electReturns(t *testing.T, e Engine) {
	at := space(t) + "leader"
	led := make(chan string)
	lead := func(ctx context.Context, name string) {
		select {
		case led <- name:
		case <-ctx.Done():
		}
	}
	stand(t, e.Open(t), at, "a", lead)
	stand(t, e.Open(t), at, "b", lead)
	seen := map[string]int{}
	ctx := within(t)
	for seen["a"] < 2 || seen["b"] < 2 {
		select {
		case name := <-led:
			seen[name]++
		case <-ctx.Done():
			t.Fatalf("led: %v", seen)
		}
	}
}
