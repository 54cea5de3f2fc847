package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/store"
)

// TestSeen: what is over, by our own eyes and clock.
func TestSeen(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(1000, 0).Add(time.Duration(s) * time.Second) }
	type look struct {
		version         string
		asked, answered int
		over            bool
	}
	for name, looks := range map[string][]look{
		"the first look says nothing":          {{"1", 0, 1, false}},
		"unchanged for its time":               {{"1", 0, 1, false}, {"1", 10, 11, false}, {"1", 11, 12, true}},
		"an answer that took long is no proof": {{"1", 0, 5, false}, {"1", 14, 30, false}, {"1", 15, 31, true}},
		"renewed":                              {{"1", 0, 1, false}, {"2", 11, 12, false}, {"2", 21, 22, false}, {"2", 22, 23, true}},
		"renewed after it was over":            {{"1", 0, 1, false}, {"1", 12, 13, true}, {"2", 14, 15, false}},
	} {
		known := sight{}
		for i, l := range looks {
			known = seen(known, l.version, 10*time.Second, at(l.asked), at(l.answered))
			if known.over != l.over {
				t.Errorf("%s: look %d: over %v", name, i, known.over)
			}
		}
	}
}

// TestDeadRegistration: of a process that is gone, others take the record away.
func TestDeadRegistration(t *testing.T) {
	t.Parallel()
	f, l := startFake(t), &link{}
	dead, living := open(t, f, func(o *Options) { o.Config.Dial = l.dial }), open(t, f)
	background(t, func(ctx context.Context) { dead.Register(ctx, "/r/a", func() []byte { return []byte("here") }) })
	events := living.Watch(t.Context(), "/r/")
	eventually(t, "the record", func() bool { _, err := living.Get(t.Context(), "/r/a"); return err == nil })
	l.cut(true)
	known := 0
	for gone := false; !gone; {
		for _, e := range next(t, events) {
			known++
			gone = e.Deleted
		}
	}
	if _, err := living.Get(t.Context(), "/r/a"); !errors.Is(err, store.ErrNotFound) || known != 2 {
		t.Errorf("after its end: %v, %d events", err, known)
	}
	l.cut(false)
	eventually(t, "the record again, of the one that came back", func() bool { _, err := living.Get(t.Context(), "/r/a"); return err == nil })
}

// TestTimesInLeasesDoNotCount: clocks of machines differ.
func TestTimesInLeasesDoNotCount(t *testing.T) {
	t.Parallel()
	f := startFake(t)
	s, other := open(t, f), open(t, f)
	// Two that nobody renews, of a holder who is a century late or early.
	for _, year := range []int{1950, 2150} {
		l := s.leaseOf(s.names.alive(), useAlive, "x", "")
		when := metav1.NewMicroTime(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC))
		l.Spec.RenewTime, l.Spec.AcquireTime = &when, &when
		if err := s.server.create(t.Context(), leasesResource, l, l); err != nil {
			t.Fatal(err)
		}
		known, asked := sight{}, time.Now()
		for gone := false; !gone; {
			there, err := other.readLease(t.Context(), l.Name)
			if err != nil {
				t.Fatal(err)
			}
			gone = there.ResourceVersion == ""
			known = seen(known, versionOf(there), shortLease, time.Now(), time.Now())
		}
		if lived := time.Since(asked); lived < shortLease {
			t.Errorf("of %d: it lived for %s, before a lease of %s was over", year, lived, shortLease)
		}
	}
}

// TestOutageKillsNobody: where nobody could renew, nobody is dead, however long; and
// those who live may come back later than those who look.
func TestOutageKillsNobody(t *testing.T) {
	t.Parallel()
	f := startFake(t)
	s, other := open(t, f), open(t, f)
	const many = 12 // some of them are looked at between their last renewal and the outage
	before := map[string]int64{}
	for i := range many {
		key := fmt.Sprint("/r/", i)
		background(t, func(ctx context.Context) { s.Register(ctx, key, func() []byte { return []byte("here") }) })
		eventually(t, "the record", func() bool {
			now, err := other.Get(t.Context(), key)
			before[key] = now.Revision
			return err == nil
		})
	}
	eventually(t, "a look at all of them", func() bool {
		other.sights.mu.Lock()
		defer other.sights.mu.Unlock()
		return len(other.sights.leases) == many
	})
	events := other.Watch(t.Context(), "/r/")
	next(t, events)
	f.deny(func(*http.Request) error { return apierrors.NewServiceUnavailable("away") })
	<-time.After(2 * shortLease) // what is tried is a length of time
	f.deny(func(r *http.Request) error {
		if r.Method == http.MethodPut || r.Method == http.MethodPost {
			return apierrors.NewServiceUnavailable("not for all yet")
		}
		return nil
	})
	<-time.After(shortLease / 2)
	f.deny(nil)
	for again := map[string]bool{}; len(again) < many; {
		for _, e := range next(t, events) {
			if e.Deleted {
				t.Fatalf("%s was taken for dead", e.Key)
			}
			again[e.Key] = e.Revision > before[e.Key]
		}
	}
}

// reign counts who leads.
type reign struct {
	mu        sync.Mutex
	now, most int
	leads     chan string
}

func (r *reign) stand(t *testing.T, s *Store, name string) {
	background(t, func(ctx context.Context) {
		s.Elect(ctx, "/leader", name, func(ctx context.Context) {
			r.add(1)
			r.leads <- name
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

// TestOneLeadsWhateverHappens: who leads has ended before the next one leads.
func TestOneLeadsWhateverHappens(t *testing.T) {
	t.Parallel()
	long := func(o *Options) { o.Lease = conformLease }
	for name, happens := range map[string]func(t *testing.T, l *link, person *Store){
		"the leader cannot reach the server": func(_ *testing.T, l *link, _ *Store) { l.cut(true) },
		"nor know that its Lease is deleted": func(t *testing.T, l *link, person *Store) { l.cut(true); deleteLease(t, person) },
		"its Lease is deleted":               func(t *testing.T, _ *link, person *Store) { deleteLease(t, person) },
		"its Lease is taken":                 func(t *testing.T, _ *link, person *Store) { takeLease(t, person) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, l := startFake(t), &link{}
			r := &reign{leads: make(chan string, 100)}
			first, second := open(t, f, long, func(o *Options) { o.Config.Dial = l.dial }), open(t, f, long)
			r.stand(t, first, "first")
			<-r.leads
			r.stand(t, second, "second")
			happens(t, l, second)
			by := <-r.leads
			if value, err := second.Leader(t.Context(), "/leader"); err != nil || value != by {
				t.Errorf("leader %q, %v; %s leads", value, err, by)
			}
			l.cut(false)
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.most != 1 {
				t.Errorf("%d led at once", r.most)
			}
		})
	}
}

func deleteLease(t *testing.T, s *Store) {
	t.Helper()
	if err := s.server.request(http.MethodDelete, leasesResource).Name(s.names.election("/leader")).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
}

// takeLease gives the Lease to somebody who never renews it.
func takeLease(t *testing.T, s *Store) {
	t.Helper()
	eventually(t, "the taking", func() bool {
		there, err := s.readLease(t.Context(), s.names.election("/leader"))
		if err != nil {
			t.Fatal(err)
		}
		person := "a person"
		there.Spec.HolderIdentity = &person
		return s.server.update(t.Context(), leasesResource, there.Name, there, &coordinationv1.Lease{}) == nil
	})
}

// TestDeadLeaderIsNamedUntilItsLeaseIsOver, where nobody else stands.
func TestDeadLeaderIsNamedUntilItsLeaseIsOver(t *testing.T) {
	t.Parallel()
	f, l := startFake(t), &link{}
	dead, living := open(t, f, func(o *Options) { o.Config.Dial = l.dial }), open(t, f)
	r := &reign{leads: make(chan string, 10)}
	r.stand(t, dead, "dead")
	<-r.leads
	l.cut(true)
	if got, err := living.Leader(t.Context(), "/leader"); err != nil || got != "dead" {
		t.Fatalf("leader %q, %v", got, err)
	}
	eventually(t, "no leader", func() bool {
		_, err := living.Leader(t.Context(), "/leader")
		return errors.Is(err, store.ErrNotFound)
	})
}

// TestRegistrationWithoutRights: it says so, and is there once it may.
func TestRegistrationWithoutRights(t *testing.T) {
	t.Parallel()
	f := startFake(t)
	said := make(chan error, 100)
	s := open(t, f, func(o *Options) { o.Problem = func(err error) { said <- err } })
	f.deny(func(r *http.Request) error {
		if r.Method == http.MethodPost && strings.Contains(r.URL.Path, "leases") {
			return apierrors.NewUnauthorized("no")
		}
		return nil
	})
	background(t, func(ctx context.Context) { s.Register(ctx, "/r/a", func() []byte { return nil }) })
	if err := <-said; !errors.Is(err, store.ErrDenied) {
		t.Errorf("it says %v", err)
	}
	f.deny(nil)
	eventually(t, "the record", func() bool { _, err := s.Get(t.Context(), "/r/a"); return err == nil })
}

// TestDue: who registered a key later keeps it.
func TestDue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lease, value string // of what is there
		first, due   bool
	}{
		{"mine", "new", false, false},
		{"mine", "old", false, true},
		{"another's", "old", false, false},
		{"another's", "new", true, true},
		{"", "new", false, true}, // who wrote that knows nothing of its owner
	} {
		there := &v1alpha1.StateRecord{Spec: v1alpha1.StateRecordSpec{Lease: c.lease, Value: []byte(c.value)}}
		if got := due(there, "mine", []byte("new"), c.first); got != c.due {
			t.Errorf("%+v: due %v", c, got)
		}
	}
}
