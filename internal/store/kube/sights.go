package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/safestate/safestate/internal/store"
)

// sight is what this process has seen of a Lease. Clocks of machines differ: a
// Lease is over when it was not renewed for as long as it says, by our own clock
// and before our own eyes (as client-go's leader election judges it), never by
// the times that its holder wrote.
type sight struct {
	version string        // its resourceVersion
	since   time.Time     // when we first knew of that version
	over    bool          // nothing has changed for its whole time
	span    time.Duration // how long it lasts without being renewed
}

// longestLease bounds what a Lease may say of itself.
const longestLease = 10 * time.Minute

// spanOf is how long a Lease lasts, and ours where it does not say.
func spanOf(l *coordinationv1.Lease, ours time.Duration) time.Duration {
	if l.Spec.LeaseDurationSeconds == nil || *l.Spec.LeaseDurationSeconds <= 0 {
		return ours
	}
	return min(time.Duration(*l.Spec.LeaseDurationSeconds)*time.Second, longestLease)
}

// seen is what is known of a Lease after a look that was asked for at asked and
// answered at answered: it may have been renewed up to the answer, and was as told
// at the question at the earliest.
func seen(before sight, version string, span time.Duration, asked, answered time.Time) sight {
	if before.version != version || before.since.IsZero() {
		return sight{version: version, since: answered, span: span}
	}
	before.span = span
	before.over = asked.Sub(before.since) >= span
	return before
}

// sights are the Leases of this installation, by name.
type sights struct {
	mu     sync.Mutex
	leases map[string]sight
}

// over reports whether a Lease was seen to end at this version.
func (s *sights) over(name, version string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.leases[name]
	return known.over && known.version == version
}

// looks is how many times in a lease the Leases are looked at.
const looks = 6

// look looks at the Leases until the store is closed, and takes away what died:
// first the Lease, if it still is as it was seen to end, then its records. So
// every process takes a registration for dead at the same moment, and one that
// was taken for dead too early makes itself anew.
//
// A look that is not answered in time shows that connections died without a word,
// which watches on them would notice much later: they are dropped.
func (s *Store) look() {
	swept, told := time.Time{}, ""
	for store.Pause(s.life.Alive, s.options.Lease/looks) {
		sweep := time.Since(swept) >= s.options.Lease
		held, leases, err := s.survey(s.life.Alive, sweep)
		gone := false
		if err == nil {
			gone, err = s.clean(s.life.Alive, held, leases)
		} else {
			s.sights.forget()
			if errors.Is(err, context.DeadlineExceeded) {
				s.server.drop()
			}
		}
		switch {
		case gone:
			swept = time.Time{} // the next look takes the records
		case sweep && err == nil:
			swept = time.Now()
		}
		news := ""
		if err != nil {
			news = err.Error()
		}
		if news != "" && news != told && s.life.Alive.Err() == nil {
			s.options.Problem(fmt.Errorf("%w: what died stays for now", err))
		}
		told = news
	}
}

// forget drops what was seen: where nobody could renew, nobody is dead.
func (s *sights) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases = nil
}

// survey looks once: at the records with a Lease, where asked for, and at the
// Leases.
func (s *Store) survey(ctx context.Context, sweep bool) (held []metav1.PartialObjectMetadata, leases []coordinationv1.Lease, err error) {
	if sweep { // before the Leases: a record's Lease is there before it
		if held, err = s.heldRecords(ctx); err != nil {
			return nil, nil, err
		}
	}
	asked := time.Now()
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var all coordinationv1.LeaseList
	if err := s.server.list(ctx, leasesResource, s.selectLeases(), "", 0, &all); err != nil {
		return nil, nil, s.fault("look at Leases", "", err)
	}
	s.sights.update(all.Items, s.options.Lease, asked, time.Now())
	return held, all.Items, nil
}

// clean takes away what died, and reports whether Leases did.
func (s *Store) clean(ctx context.Context, held []metav1.PartialObjectMetadata, leases []coordinationv1.Lease) (gone bool, err error) {
	living := map[string]bool{}
	for i := range leases {
		l := &leases[i]
		living[l.Name] = true
		if l.Labels[labelUse] == useAlive && s.sights.over(l.Name, l.ResourceVersion) {
			gone = true
			err = cmp.Or(err, s.bury(ctx, leasesResource, l.Name, l.ResourceVersion))
		}
	}
	for i := range held {
		if o := &held[i]; !living[o.Labels[labelLease]] {
			err = cmp.Or(err, s.bury(ctx, recordsResource, o.Name, o.ResourceVersion))
		}
	}
	return gone, err
}

// update takes in a look.
func (s *sights) update(leases []coordinationv1.Lease, ours time.Duration, asked, answered time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := make(map[string]sight, len(leases))
	for i := range leases {
		l := &leases[i]
		now[l.Name] = seen(s.leases[l.Name], l.ResourceVersion, spanOf(l, ours), asked, answered)
	}
	s.leases = now
}

// bury deletes what is dead, unless it changed: then it lives, or another was first.
func (s *Store) bury(ctx context.Context, resource, name, version string) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	err := s.server.remove(ctx, resource, name, version)
	if err == nil || absent(err, resource) || code(err) == http.StatusConflict {
		return nil
	}
	return s.fault("remove "+resource, name, err)
}

// heldRecords are the records with a Lease, without their values.
func (s *Store) heldRecords(ctx context.Context) ([]metav1.PartialObjectMetadata, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	text, err := s.server.request(http.MethodGet, recordsResource).
		SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").
		Param("labelSelector", s.names.folder("/")+","+labelLease).Do(ctx).Raw()
	if err != nil {
		return nil, s.fault("list", "registrations", err)
	}
	var list metav1.PartialObjectMetadataList
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, s.fault("list", "registrations", err)
	}
	return list.Items, nil
}

func (s *Store) selectLeases() string { return labelStore + "=" + s.options.Prefix }
