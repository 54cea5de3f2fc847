package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/internal/store/kube"
)

// within bounds what a test waits for.
const within = time.Minute

// background runs what blocks until its context ends; end waits for it.
func background(t *testing.T, run func(context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); run(ctx) }()
	end = func() { cancel(); <-done }
	t.Cleanup(end)
	return end
}

// mirror is the state that a watch tells.
type mirror struct {
	mu    sync.Mutex
	state map[string]store.Entry
}

func follow(t *testing.T, s store.Store, prefix string) *mirror {
	m, first := &mirror{state: map[string]store.Entry{}}, make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	events := s.Watch(ctx, prefix)
	go func() {
		told := sync.OnceFunc(func() { close(first) })
		for slice := range events {
			m.mu.Lock()
			for _, e := range slice {
				if e.Deleted {
					delete(m.state, e.Key)
				} else {
					m.state[e.Key] = e.Entry
				}
			}
			m.mu.Unlock()
			told()
		}
	}()
	<-first
	return m
}

func (m *mirror) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return text(slices.Collect(maps.Values(m.state)))
}

func text(entries []store.Entry) string {
	var out []string
	for _, e := range entries {
		out = append(out, fmt.Sprintf("%s=%s@%d", e.Key, e.Value, e.Revision))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// agrees waits until a watch tells what the store holds.
func (m *mirror) agrees(t *testing.T, s store.Store, prefix string) {
	t.Helper()
	last := ""
	defer func() {
		if t.Failed() {
			t.Logf("stored:  %s\nwatched: %s", last, m)
		}
	}()
	dataplane.Eventually(t, within, "the watch agrees with the store", func() bool {
		entries, err := s.List(t.Context(), prefix)
		last = text(entries)
		return err == nil && last == m.String()
	})
}

// TestStoreKeepsWhatItAcknowledged: over crashes of the API server and its etcd
// while many write; and a watch goes on, with what changed meanwhile.
func TestStoreKeepsWhatItAcknowledged(t *testing.T) {
	api := startStore(t)
	watching := open(t, api.Admin)
	m := follow(t, watching, "/w/")
	var mu sync.Mutex
	known := map[string]store.Entry{} // the last acknowledged of each key
	unsure := map[string]string{}     // what was written since, without an answer
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 4 {
		s, key := open(t, api.Admin), fmt.Sprintf("/w/%d", w)
		writers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				now, err := s.Get(t.Context(), key)
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					continue
				}
				value := fmt.Sprint(n)
				written, err := s.Put(t.Context(), key, []byte(value), now.Revision)
				mu.Lock()
				switch {
				case err == nil:
					known[key] = written
					delete(unsure, key)
				case errors.Is(err, store.ErrUnavailable):
					unsure[key] = value
				default:
					t.Errorf("put of the only writer: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	progress := func(t *testing.T) {
		mu.Lock()
		before := maps.Clone(known)
		mu.Unlock()
		dataplane.Eventually(t, within, "every writer goes on", func() bool {
			mu.Lock()
			defer mu.Unlock()
			for w := range 4 {
				key := fmt.Sprintf("/w/%d", w)
				if known[key].Revision == before[key].Revision {
					return false
				}
			}
			return true
		})
	}
	for range 3 {
		progress(t)
		api.Kill()
		api.Start()
	}
	progress(t)
	close(stop)
	writers.Wait()
	for key, want := range known {
		got, err := watching.Get(t.Context(), key)
		if err != nil || got.Revision < want.Revision || !bytes.Equal(got.Value, want.Value) && string(got.Value) != unsure[key] {
			t.Errorf("%s: acknowledged %s@%d, there is %s@%d, %v", key, want.Value, want.Revision, got.Value, got.Revision, err)
		}
	}
	m.agrees(t, watching, "/w/")
}

// reign counts who leads.
type reign struct {
	mu        sync.Mutex
	now, most int
	leads     chan context.Context
}

func (r *reign) stand(t *testing.T, s store.Store, name string) {
	background(t, func(ctx context.Context) {
		s.Elect(ctx, "/leader", name, func(ctx context.Context) {
			r.add(1)
			r.leads <- ctx
			<-ctx.Done()
			r.add(-1)
		})
	})
}

func (r *reign) add(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now += n
	r.most = max(r.most, r.now)
}

// check wants that one led at a time.
func (r *reign) check(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.most != 1 {
		t.Errorf("%d led at once", r.most)
	}
}

// TestStoreOnAFrozenServer: calls end in time, the leader stops before another can
// lead, and when the server goes on nobody is dead who only could not say that he
// lives.
func TestStoreOnAFrozenServer(t *testing.T) {
	api := startStore(t)
	var stores []*kube.Store
	r := &reign{leads: make(chan context.Context, 100)}
	for range 2 {
		s := open(t, api.Admin, func(o *options) { o.CallTimeout = time.Second })
		stores = append(stores, s)
		r.stand(t, s, "candidate")
	}
	s := stores[0]
	background(t, func(ctx context.Context) { s.Register(ctx, "/r/a", func() []byte { return []byte("here") }) })
	dataplane.Eventually(t, within, "the registration", func() bool { _, err := s.Get(t.Context(), "/r/a"); return err == nil })
	m, leading := follow(t, stores[1], "/r/"), <-r.leads

	api.Freeze()
	calls := map[string]func() error{
		"get":    func() error { _, err := s.Get(t.Context(), "/r/a"); return err },
		"list":   func() error { _, err := s.List(t.Context(), "/"); return err },
		"page":   func() error { _, err := s.Page(t.Context(), "/", "", 1); return err },
		"put":    func() error { _, err := s.Put(t.Context(), "/b", nil, 0); return err },
		"delete": func() error { return s.Delete(t.Context(), "/b", 1) },
		"leader": func() error { _, err := s.Leader(t.Context(), "/leader"); return err },
	}
	var group sync.WaitGroup
	for name, call := range calls {
		group.Go(func() {
			begun := time.Now()
			if err := call(); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%s on a frozen server: %v", name, err)
			}
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("%s took %s; its bound is 1 s", name, took)
			}
		})
	}
	group.Wait()
	select {
	case <-leading.Done():
	case <-time.After(within):
		t.Fatal("who cannot renew still leads")
	}
	api.Thaw()
	api.WaitReady()
	<-r.leads
	r.check(t)
	m.agrees(t, s, "/r/")
	var err error
	dataplane.Eventually(t, within, "the store answers in its second", func() bool {
		_, err = s.Get(t.Context(), "/r/a")
		return !errors.Is(err, store.ErrUnavailable)
	})
	if err != nil {
		t.Errorf("the registration of one who lives: %v", err)
	}
}

// TestStoreOverAnOutageOfTheNetwork: of one replica only. Others take its lead and
// its registration, in that order after it has stopped, and it comes back.
func TestStoreOverAnOutageOfTheNetwork(t *testing.T) {
	api := startStore(t)
	l := &link{}
	r := &reign{leads: make(chan context.Context, 100)}
	first := open(t, api.Admin, func(o *options) { o.Config.Dial = l.dial })
	r.stand(t, first, "first")
	leading := <-r.leads
	second := open(t, api.Admin)
	r.stand(t, second, "second")
	background(t, func(ctx context.Context) { first.Register(ctx, "/r/a", func() []byte { return []byte("here") }) })
	there := func() bool { _, err := second.Get(t.Context(), "/r/a"); return err == nil }
	dataplane.Eventually(t, within, "the registration", there)
	m := follow(t, second, "/r/")
	l.cut(true)
	<-r.leads
	if leading.Err() == nil {
		t.Error("two lead")
	}
	dataplane.Eventually(t, within, "the registration is gone", func() bool { return !there() })
	if value, err := second.Leader(t.Context(), "/leader"); err != nil || value != "second" {
		t.Errorf("leader %q, %v", value, err)
	}
	l.cut(false)
	dataplane.Eventually(t, within, "the registration is back", there)
	m.agrees(t, second, "/r/")
	r.check(t)
}

// TestStoreOfTwoInstallations: in one namespace they do not meet, by their prefix.
func TestStoreOfTwoInstallations(t *testing.T) {
	api := startStore(t)
	blue, green := open(t, api.Admin, func(o *options) { o.Prefix = "blue" }), open(t, api.Admin, func(o *options) { o.Prefix = "green" })
	m := follow(t, green, "/")
	r := &reign{leads: make(chan context.Context, 2)}
	r.stand(t, blue, "blue")
	r.stand(t, green, "green")
	<-r.leads
	<-r.leads // both
	if _, err := blue.Put(t.Context(), "/a", []byte("blue"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := green.Get(t.Context(), "/a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the other's record: %v", err)
	}
	if _, err := green.Put(t.Context(), "/a", []byte("green"), 0); err != nil {
		t.Fatal(err)
	}
	m.agrees(t, green, "/")
	if got, err := blue.List(t.Context(), "/"); err != nil || len(got) != 1 || string(got[0].Value) != "blue" {
		t.Errorf("blue has %s, %v", text(got), err)
	}
}

// TestStorePages: the server takes ranges of labels, so that a page and a watch of
// few records read few, and knows the largest record under the longest key.
func TestStorePages(t *testing.T) {
	api := startStore(t)
	s := open(t, api.Admin, func(o *options) {
		o.Problem = func(err error) { t.Errorf("it says %v", err) }
		o.CallTimeout = 10 * time.Second
	})
	long := "/" + strings.Repeat("a/", 30) + strings.Repeat("z", 451)
	if _, err := s.Put(t.Context(), long, make([]byte, store.MaxValue), 0); err != nil {
		t.Fatal(err)
	}
	m := follow(t, s, "/h/ns/m/00000000000001") // not a folder's end
	var want []store.Entry
	for i := range 200 {
		e, err := s.Put(t.Context(), fmt.Sprintf("/h/ns/m/%016d", i), fmt.Append(nil, i), 0)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, e)
	}
	for _, from := range []int{0, 99, 195} {
		got, err := s.Page(t.Context(), "/h/ns/m/", want[from].Key, 10)
		if err != nil || text(got) != text(want[from:min(from+10, 200)]) {
			t.Errorf("from %d: %s, %v", from, text(got), err)
		}
	}
	m.agrees(t, s, "/h/ns/m/00000000000001")
	if got, err := s.List(t.Context(), "/a/a/a/a/a/a/a/a/a/a/a/a/a/a"); err != nil || len(got) != 1 || got[0].Key != long || len(got[0].Value) != store.MaxValue {
		t.Errorf("the longest: %d records, %v", len(got), err)
	}
}
