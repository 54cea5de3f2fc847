package storetest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/safestate/safestate/internal/store"
)

// mirror folds events into the state that they tell.
type mirror struct {
	t     *testing.T
	in    <-chan []store.Event
	state map[string]store.Entry
	last  int64 // the highest revision seen
	count int   // events seen
}

func follow(t *testing.T, s store.Store, prefix string) *mirror {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return &mirror{t: t, in: s.Watch(ctx, prefix), state: map[string]store.Entry{}}
}

// next waits for one slice.
func (m *mirror) next(ctx context.Context) []store.Event {
	m.t.Helper()
	var events []store.Event
	select {
	case events = <-m.in:
	case <-ctx.Done():
		m.t.Fatal("the watch tells nothing more")
	}
	m.fold(events)
	return events
}

// fold takes one slice and holds it against what a watch promises.
func (m *mirror) fold(events []store.Event) {
	m.t.Helper()
	before := m.last
	for _, e := range events {
		if e.Revision < m.last || e.Revision <= before {
			m.t.Fatalf("%s at revision %d after %d", e.Key, e.Revision, m.last)
		}
		m.last = e.Revision
		m.count++
		if e.Deleted {
			if _, ok := m.state[e.Key]; !ok || e.Value != nil {
				m.t.Fatalf("%s was never there, or has a value, and is deleted", e.Key)
			}
			delete(m.state, e.Key)
			continue
		}
		m.state[e.Key] = e.Entry
	}
}

// until takes slices until the state is as wanted: key=value, sorted.
func (m *mirror) until(want string) {
	m.t.Helper()
	ctx := within(m.t)
	for m.String() != want {
		m.next(ctx)
	}
}

func (m *mirror) String() string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(m.state)) {
		out = append(out, fmt.Sprintf("%s=%s@%d", key, m.state[key].Value, m.state[key].Revision))
	}
	return strings.Join(out, " ")
}

// stored is what the store holds, as mirror writes it.
func stored(t *testing.T, s store.Store, prefix string) string {
	t.Helper()
	entries, err := s.List(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	m := mirror{state: map[string]store.Entry{}}
	for _, e := range entries {
		m.state[e.Key] = e
	}
	return m.String()
}

func watchState(t *testing.T, e Engine) {
	s, at := e.Open(t), space(t)
	if first := follow(t, s, at).next(within(t)); first == nil || len(first) != 0 {
		t.Fatalf("of nothing: %v, want an empty slice", first)
	}
	put(t, s, at+"a", "1", 0)
	b := put(t, s, at+"b", "2", 0)
	put(t, s, at+"b", "3", b.Revision)
	m := follow(t, s, at)
	if first := m.next(within(t)); len(first) != 2 || m.String() != stored(t, s, at) {
		t.Fatalf("first %v, stored %s", first, stored(t, s, at))
	}
}

func watchChanges(t *testing.T, e Engine) {
	s, at := e.Open(t), space(t)
	m := follow(t, s, at)
	ctx := within(t)
	m.next(ctx)
	a := put(t, e.Open(t), at+"a", "1", 0)
	if got := m.next(ctx); len(got) != 1 || got[0].Key != a.Key || string(got[0].Value) != "1" || got[0].Revision != a.Revision || got[0].Deleted {
		t.Fatalf("created: %+v", got)
	}
	put(t, s, strings.TrimSuffix(at, "/")+"-other", "no", 0)
	a = put(t, s, at+"a", "2", a.Revision)
	if got := m.next(ctx); len(got) != 1 || string(got[0].Value) != "2" || got[0].Revision != a.Revision {
		t.Fatalf("changed: %+v", got)
	}
	if err := s.Delete(ctx, a.Key, a.Revision); err != nil {
		t.Fatal(err)
	}
	if got := m.next(ctx); len(got) != 1 || got[0].Key != a.Key || !got[0].Deleted || got[0].Revision <= a.Revision {
		t.Fatalf("deleted: %+v", got)
	}
	put(t, s, at+"a", "3", 0)
	if got := m.next(ctx); len(got) != 1 || string(got[0].Value) != "3" || got[0].Deleted {
		t.Fatalf("created again: %+v", got)
	}
}

// watchSlow holds a receiver up while others go on.
func watchSlow(t *testing.T, e Engine) {
	s, at := e.Open(t), space(t)
	slow, fast := follow(t, s, at), follow(t, s, at)
	ctx := within(t)
	fast.next(ctx)
	const keys, rounds = 5, 40
	at5 := map[string]int64{}
	for i := range keys * rounds {
		key := fmt.Sprint(at, i%keys)
		at5[key] = put(t, s, key, fmt.Sprint(i), at5[key]).Revision
	}
	born := put(t, s, at+"short-lived", "", 0)
	if err := s.Delete(ctx, born.Key, born.Revision); err != nil {
		t.Fatal(err)
	}
	want := stored(t, s, at)
	fast.until(want) // not held up by slow
	slow.until(want)
	// What it held when it stopped, what was offered since, and the newest.
	if slow.count > 3*keys {
		t.Errorf("the slow receiver got %d events of %d keys", slow.count, keys)
	}
}

// watchModel compares watches with the store after random changes.
func watchModel(t *testing.T, e Engine) {
	at := space(t)
	ctx := within(t)
	var watches []*mirror
	for range 3 {
		watches = append(watches, follow(t, e.Open(t), at))
	}
	var group sync.WaitGroup
	for seed := range uint64(3) {
		s := e.Open(t)
		group.Go(func() { scramble(ctx, t, s, at, seed, 60) })
	}
	written := make(chan struct{})
	go func() { group.Wait(); close(written) }()
	for running := true; running; {
		select {
		case <-written:
			running = false
		case events := <-watches[0].in: // the others are slow
			watches[0].fold(events)
		}
	}
	want := stored(t, e.Open(t), at)
	for _, m := range watches {
		m.until(want)
	}
}

// scramble changes random records.
func scramble(ctx context.Context, t *testing.T, s store.Store, at string, seed uint64, changes int) {
	random := rand.New(rand.NewPCG(seed, 1))
	for i := range changes {
		key := fmt.Sprint(at, random.IntN(8))
		now, err := s.Get(ctx, key)
		if err == nil && random.IntN(3) == 0 {
			_ = s.Delete(ctx, key, now.Revision) // another may have been first
			continue
		}
		_, _ = s.Put(ctx, key, fmt.Appendf(nil, "%d-%d", seed, i), now.Revision) // as above
	}
}

func watchForgotten(t *testing.T, e Engine) {
	s, at := e.Open(t), space(t)
	m := follow(t, s, at)
	m.next(within(t))
	a := put(t, s, at+"a", "1", 0)
	put(t, s, at+"a", "2", a.Revision)
	e.Forget(t)
	m.until(stored(t, s, at))
	put(t, s, at+"b", "3", 0)
	m.until(stored(t, s, at))
	late := follow(t, s, at)
	late.until(stored(t, s, at))
}

func watchOutage(t *testing.T, e Engine) {
	if e.Outage == nil {
		return // nothing can break
	}
	writer, s, at := e.Open(t), e.Open(t), space(t)
	for _, key := range []string{"kept", "changed", "deleted", "again"} {
		put(t, writer, at+key, "old", 0)
	}
	m := follow(t, s, at)
	m.until(stored(t, writer, at))
	change := func(key, value string) {
		now := get(t, writer, at+key)
		if value == "" {
			if err := writer.Delete(t.Context(), now.Key, now.Revision); err != nil {
				t.Fatal(err)
			}
			return
		}
		put(t, writer, now.Key, value, now.Revision)
	}
	e.Outage(t, s, func() {
		change("changed", "new")
		change("deleted", "")
		change("again", "")
		put(t, writer, at+"again", "old", 0)
		put(t, writer, at+"created", "new", 0)
	})
	m.until(stored(t, writer, at))
	change("created", "")
	m.until(stored(t, writer, at))
}
