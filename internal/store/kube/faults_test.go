package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/safestate/safestate/internal/store"
)

// hang is the time after which a test gives up.
const hang = 30 * time.Second

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %s", what, hang)
		}
	}
}

// next waits for one slice of a watch.
func next(t *testing.T, events <-chan []store.Event) []store.Event {
	t.Helper()
	select {
	case got := <-events:
		return got
	case <-time.After(hang):
		t.Fatal("the watch tells nothing more")
		return nil
	}
}

// background runs what blocks until its context ends; end waits for it.
func background(t *testing.T, run func(context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); run(ctx) }()
	end = func() { cancel(); <-done }
	t.Cleanup(end)
	return end
}

// TestRefusalsHaveAClass: by what an API server answers, in every call.
func TestRefusalsHaveAClass(t *testing.T) {
	t.Parallel()
	f := startFake(t)
	s := open(t, f)
	resource := schema.GroupResource{Group: "safestate.dev", Resource: recordsResource}
	for _, c := range []struct {
		answer error
		class  error // nil: none
		says   string
	}{
		{apierrors.NewUnauthorized("no"), store.ErrDenied, "does not know this user"},
		{apierrors.NewForbidden(resource, "x", errors.New("no right")), store.ErrDenied, "no right"},
		{apierrors.NewTooManyRequests("later", 1), store.ErrUnavailable, "later"},
		{apierrors.NewInternalError(errors.New("etcd")), store.ErrUnavailable, "etcd"},
		{apierrors.NewServiceUnavailable("starts"), store.ErrUnavailable, "starts"},
		{apierrors.NewTimeoutError("slow", 1), store.ErrUnavailable, "slow"},
		{apierrors.NewRequestEntityTooLargeError("3 MB"), store.ErrTooLarge, "3 MB"},
		{apierrors.NewInvalid(schema.GroupKind{Kind: "StateRecord"}, "x", nil), nil, "takes no such object"},
		{apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "test"), store.ErrUnavailable, "no namespace test"},
		{apierrors.NewGenericServerResponse(http.StatusNotFound, "get", resource, "", "404 page not found", 0, true), store.ErrUnavailable, "apply istio/crds"},
	} {
		f.deny(func(r *http.Request) error {
			if strings.Contains(r.URL.Path, "leases") {
				return nil
			}
			return c.answer
		})
		for call, err := range callsOf(t.Context(), s) {
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s where the server says %q: %v", call, c.answer, err)
			}
			for _, class := range []error{store.ErrDenied, store.ErrUnavailable, store.ErrTooLarge, store.ErrNotFound, store.ErrConflict} {
				if errors.Is(err, class) != (class == c.class) {
					t.Errorf("%s where the server says %q: %v", call, c.answer, err)
				}
			}
		}
	}
}

// callsOf makes every call about records once.
func callsOf(ctx context.Context, s *Store) map[string]error {
	out := map[string]error{}
	_, out["get"] = s.Get(ctx, "/a")
	_, out["list"] = s.List(ctx, "/")
	_, out["page"] = s.Page(ctx, "/", "", 1)
	_, out["create"] = s.Put(ctx, "/a", nil, 0)
	_, out["put"] = s.Put(ctx, "/a", nil, 7)
	out["delete"] = s.Delete(ctx, "/a", 7)
	return out
}

// TestOpenSaysWhy: what keeps the store from being opened has a class too.
func TestOpenSaysWhy(t *testing.T) {
	t.Parallel()
	f := startFake(t)
	f.deny(func(r *http.Request) error {
		if strings.Contains(r.URL.Path, "leases") {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "leases"}, "", errors.New("no right"))
		}
		return nil
	})
	good := func() Options { return Options{Config: f.config(), Namespace: "test"} }
	if _, err := Open(t.Context(), good()); !errors.Is(err, store.ErrDenied) {
		t.Errorf("without a right: %v", err)
	}
	nobody := good()
	nobody.Config.Host = "http://127.0.0.1:1"
	if _, err := Open(t.Context(), nobody); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("where nobody listens: %v", err)
	}
	f.deny(nil)
	busy := 3
	f.deny(func(*http.Request) error {
		if busy--; busy >= 0 {
			return apierrors.NewTooManyRequests("storage is (re)initializing", 1)
		}
		return nil
	})
	s, err := Open(t.Context(), good())
	if err != nil {
		t.Fatalf("of a server that starts: %v", err)
	}
	_ = s.Close() // returns nil
	for what, o := range map[string]Options{
		"no address": {Namespace: "test"}, "no namespace": {Config: f.config()},
		"a prefix": {Config: f.config(), Namespace: "test", Prefix: "No"},
	} {
		if _, err := Open(t.Context(), o); err == nil || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestPagesCostTheirLimit: how many objects come over the network.
func TestPagesCostTheirLimit(t *testing.T) {
	t.Parallel()
	f := startFake(t)
	s := open(t, f)
	key := func(i int) string { return fmt.Sprintf("/h/m/%016d", i) }
	for i := range 500 {
		if _, err := s.Put(t.Context(), key(i), nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	cost := func(from string, limit int) ([]store.Entry, int) {
		f.mu.Lock()
		before := f.listed
		f.mu.Unlock()
		got, err := s.Page(t.Context(), "/h/m/", from, limit)
		if err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		return got, f.listed - before
	}
	for _, from := range []int{0, 250, 490} {
		got, n := cost(key(from), 10)
		if len(got) != 10 || got[0].Key != key(from) || n > 13 { // the Leases are looked at meanwhile
			t.Errorf("from %d: %d records from %s, %d objects", from, len(got), got[0].Key, n)
		}
	}

	// An API server that knows no ranges: the same records for more.
	f.deny(func(r *http.Request) error {
		if strings.ContainsAny(r.URL.Query().Get("labelSelector"), "<>") {
			return apierrors.NewBadRequest("unable to parse requirement")
		}
		return nil
	})
	if got, n := cost(key(490), 10); len(got) != 10 || got[0].Key != key(490) || n < 500 {
		t.Errorf("without ranges: %d records, %d objects", len(got), n)
	}
}

// TestListIsOfOneMoment: it comes in parts, and begins anew where the server forgets
// the moment that it is of.
func TestListIsOfOneMoment(t *testing.T) {
	t.Parallel()
	f := startFake(t)
	s := open(t, f)
	var all []store.Entry
	for i := range 2*listed + 1 {
		e, err := s.Put(t.Context(), fmt.Sprintf("/h/%04d", i), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	last := all[len(all)-1]
	writer := open(t, f)
	for _, forgets := range []bool{false, true} {
		once := sync.OnceFunc(func() {
			now, err := writer.Put(t.Context(), last.Key, []byte("while it is read"), last.Revision)
			if err != nil {
				t.Error(err)
			}
			if last = now; forgets {
				f.forget()
			}
		})
		want := last.Revision
		f.deny(func(r *http.Request) error {
			if r.URL.Query().Get("continue") != "" {
				once()
			}
			return nil
		})
		got, err := s.List(t.Context(), "/h/")
		if err != nil || len(got) != len(all) || (got[len(got)-1].Revision == want) == forgets {
			t.Errorf("forgets %v: %d records, the last at %d, was at %d and is at %d; %v",
				forgets, len(got), got[len(got)-1].Revision, want, last.Revision, err)
		}
	}
}

// TestLongKeys: names tell only the beginning of a key, and are in another order
// then; lists and pages are in that of the keys.
func TestLongKeys(t *testing.T) {
	t.Parallel()
	s := open(t, startFake(t))
	at := "/" + strings.Repeat("a", wholeKey)
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprintf("%s%02d", at, i))
		if _, err := s.Put(t.Context(), want[i], nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []int{0, 10, 25} {
		var got []string
		page, err := s.Page(t.Context(), at, want[from], 10)
		for _, e := range page {
			got = append(got, e.Key)
		}
		if err != nil || !slices.Equal(got, want[from:min(from+10, 30)]) {
			t.Errorf("from %d: %q, %v", from, got, err)
		}
	}
}

// TestSilentConnections: where a network swallows what is said, calls end within
// their bound, and a watch is with the store again long before TCP would notice.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	f, l := startFake(t), &link{}
	s, writer := open(t, f, func(o *Options) { o.Config.Dial, o.CallTimeout = l.dial, time.Second }), open(t, f)
	events := s.Watch(t.Context(), "/a")
	next(t, events)
	l.silence()
	if _, err := writer.Put(t.Context(), "/a", []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if got := next(t, events); len(got) != 1 || string(got[0].Value) != "x" {
		t.Errorf("got %+v", got)
	}
}

// TestLostAnswers: a write whose answer is lost is said to be unknown, and a
// leader whose renewal got through goes on.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	f := startFake(t)
	s := open(t, f)
	var writes atomic.Int64
	f.losing(func(r *http.Request) bool { return r.Method != http.MethodGet && writes.Add(1)%3 == 1 })
	if _, err := s.Put(t.Context(), "/a", nil, 0); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("put: %v", err)
	}
	if _, err := s.Get(t.Context(), "/a"); err != nil {
		t.Fatalf("it is there: %v", err)
	}
	writes.Store(0)
	leads := make(chan context.Context, 10)
	background(t, func(ctx context.Context) {
		s.Elect(ctx, "/leader", "me", func(ctx context.Context) { leads <- ctx; <-ctx.Done() })
	})
	leading := <-leads // taken by a question whose answer got lost
	ends := s.endOf(time.Now())
	eventually(t, "more than its lease's time", func() bool { return leading.Err() != nil || time.Now().After(ends.Add(shortLease)) })
	if leading.Err() != nil {
		t.Error("the leader gave up, though its renewals got through")
	}
}

// TestOddObjects: what a person wrote is nobody's record, is told of once, and
// does not stand in the way.
func TestOddObjects(t *testing.T) {
	t.Parallel()
	f := startFake(t)
	var mu sync.Mutex
	var told []string
	s := open(t, f, func(o *Options) {
		o.Problem = func(err error) { mu.Lock(); defer mu.Unlock(); told = append(told, err.Error()) }
	})
	events := s.Watch(t.Context(), "/")
	next(t, events)
	bad := map[string]func() (name string){
		"its name is not that": func() string { return s.names.record("/other") },
		"its labels are not":   func() string { return s.names.record("/a") },
	}
	for why, name := range bad {
		o := s.object("/a", []byte("by hand"), "", "")
		o.Name = name()
		if o.Name == s.names.record("/a") {
			delete(o.Labels, s.names.folder("/"))
			o.Labels["mine"] = "too"
		}
		if err := s.server.create(t.Context(), recordsResource, o, o); err != nil {
			t.Fatal(err)
		}
		_, _ = s.List(t.Context(), "/")
		_, err := s.Get(t.Context(), "/a")
		if _, other := s.Get(t.Context(), "/other"); !errors.Is(err, store.ErrNotFound) || !errors.Is(other, store.ErrNotFound) {
			t.Errorf("%s: get says %v, %v", why, err, other)
		}
		mu.Lock()
		if n := len(slices.DeleteFunc(slices.Clone(told), func(s string) bool { return !strings.Contains(s, why) })); n != 1 {
			t.Errorf("%s: told %d times: %q", why, n, told)
		}
		mu.Unlock()
	}
	for _, key := range []string{"/a", "/other"} {
		if _, err := s.Put(t.Context(), key, []byte("ours"), 0); err != nil {
			t.Errorf("over what a person wrote: %v", err)
		}
	}
	seen := map[string]bool{}
	for !seen["/a"] || !seen["/other"] {
		for _, e := range next(t, events) {
			if e.Deleted || string(e.Value) != "ours" {
				t.Fatalf("the watch tells %+v", e)
			}
			seen[e.Key] = true
		}
	}
	// A record whose object a person spoils is gone.
	o, err := s.fetch(t.Context(), "test", "/a")
	if err != nil {
		t.Fatal(err)
	}
	o.Labels = map[string]string{}
	if err := s.server.update(t.Context(), recordsResource, o.Name, o, &metav1.PartialObjectMetadata{}); err != nil && code(err) != 0 {
		t.Fatal(err)
	}
	for _, e := range next(t, events) {
		if e.Key != "/a" || !e.Deleted {
			t.Errorf("the watch tells %+v", e)
		}
	}
}
