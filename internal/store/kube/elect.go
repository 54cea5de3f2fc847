package kube

import (
	"context"
	"fmt"
	"net/http"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"github.com/safestate/safestate/internal/store"
)

// Elect implements store.Store. One Lease has the leader's name; it is there for
// good, and without a holder where nobody leads.
//
// Client-go's leaderelection is not used: it counts a leader's time from when an
// answer came and not from when the question left, gives the Lease up before the
// leader has stopped, and takes a Lease that a person deleted at once, while the
// leader may not know of that yet.
func (s *Store) Elect(ctx context.Context, name, value string, lead func(context.Context)) {
	s.again(ctx, "the candidacy", name, func(ctx context.Context) error {
		return s.stand(ctx, name, value, lead)
	})
}

// stand is one candidacy: until the lease is lost, lead returns or ctx ends.
func (s *Store) stand(ctx context.Context, name, value string, lead func(context.Context)) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	nudge := s.nudges(watching, s.names.election(name))
	object, asked := s.claim(ctx, name, value, nudge)
	if object == nil {
		return nil
	}
	l := s.keep(ctx, object, asked, nil, nudge)
	if ctx.Err() == nil && time.Now().Before(s.endOf(asked)) {
		lead(l.ctx)
	}
	lost := l.ctx.Err() != nil && ctx.Err() == nil
	l.stop()
	s.resign(l)
	if lost {
		return s.lost(l, "election", name)
	}
	store.Pause(ctx, s.options.Lease/looks) // others come first now
	return nil
}

// claim waits for the lead. It returns our Lease and when the question left by
// which it became ours; nil where ctx ended.
func (s *Store) claim(ctx context.Context, name, value string, nudge <-chan struct{}) (*coordinationv1.Lease, time.Time) {
	mine := s.leaseOf(s.names.election(name), useLead, fresh(), value)
	var known sight
	var claimed time.Time // when our last try to take it left
	told, tries := "", 0
	for ctx.Err() == nil {
		asked := time.Now()
		there, err := s.readLease(ctx, mine.Name)
		answered := time.Now()
		if err == nil {
			known = seen(known, versionOf(there), max(spanOf(there, s.options.Lease), known.span), asked, answered)
			switch {
			case holderOf(there) == holderOf(mine): // the answer to our try got lost
				return there, claimed
			case there.ResourceVersion != "" && holderOf(there) == "", known.over:
				claimed = answered
				var taken *coordinationv1.Lease
				if taken, err = s.take(ctx, mine, there); taken != nil {
					return taken, claimed
				}
			default:
				s.await(ctx, nudge)
			}
		}
		if err == nil {
			told, tries = "", 0
			continue
		}
		if err = s.fault("election", name, err); err.Error() != told && ctx.Err() == nil {
			told = err.Error()
			s.options.Problem(fmt.Errorf("%w: the candidacy tries again", err))
		}
		store.Breathe(ctx, tries, min(store.Seldom, s.options.Lease/looks))
		tries++
	}
	return nil, time.Time{}
}

// none is the version of a Lease that is not there: who deleted it has told its
// holder nothing, who may lead until its time is over.
const none = "none"

func versionOf(l *coordinationv1.Lease) string {
	if l.ResourceVersion == "" {
		return none
	}
	return l.ResourceVersion
}

// readLease returns a Lease, an empty one where there is none.
func (s *Store) readLease(ctx context.Context, name string) (*coordinationv1.Lease, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	there := &coordinationv1.Lease{}
	if err := s.server.get(ctx, leasesResource, name, there); err != nil && !absent(err, leasesResource) {
		return nil, err
	}
	return there, nil
}

// take writes our Lease over what is there. It returns nil where another was first.
// The end of ctx does not break it off: what was taken has to be given up.
func (s *Store) take(ctx context.Context, mine, there *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	ctx, cancel := s.bound(context.WithoutCancel(ctx))
	defer cancel()
	next, taken := s.leaseOf(mine.Name, useLead, holderOf(mine), mine.Annotations[noteValue]), &coordinationv1.Lease{}
	var err error
	if there.ResourceVersion == "" {
		err = s.server.create(ctx, leasesResource, next, taken)
	} else {
		changes := int32(1)
		if there.Spec.LeaseTransitions != nil {
			changes += *there.Spec.LeaseTransitions
		}
		next.ResourceVersion, next.Spec.LeaseTransitions = there.ResourceVersion, &changes
		err = s.server.update(ctx, leasesResource, next.Name, next, taken)
	}
	switch {
	case err == nil:
		return taken, nil
	case code(err) == http.StatusConflict, absent(err, leasesResource):
		return nil, nil
	}
	return nil, err
}

// resign gives the lead up, unless it is another's by now.
func (s *Store) resign(l *lease) {
	ctx, cancel := s.last(l.ctx)
	defer cancel()
	for range 2 { // the second time after a renewal whose answer got lost
		next, nobody := l.object.DeepCopy(), ""
		next.Spec.HolderIdentity = &nobody
		delete(next.Annotations, noteValue)
		if code(s.server.update(ctx, leasesResource, next.Name, next, next)) != http.StatusConflict {
			return
		}
		there := &coordinationv1.Lease{}
		if err := s.server.get(ctx, leasesResource, next.Name, there); err != nil || holderOf(there) != l.holder {
			return
		}
		l.object = there
	}
}

// await waits until something may have happened to a Lease.
func (s *Store) await(ctx context.Context, nudge <-chan struct{}) {
	timer := time.NewTimer(s.options.Lease / looks)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-nudge:
	case <-ctx.Done():
	}
}

// nudges says that a Lease has another holder, or none, or is gone. It only saves
// time: whoever waits looks for itself now and then.
func (s *Store) nudges(ctx context.Context, name string) <-chan struct{} {
	nudge := make(chan struct{}, 1)
	s.life.Go(func() {
		for tries := 0; ctx.Err() == nil; tries++ {
			begun := time.Now()
			err := s.watchHolder(ctx, name, nudge)
			if code(err) == http.StatusForbidden && tries == 0 {
				s.options.Problem(fmt.Errorf("%w: who leads is noticed later", s.fault("watch", "the election", err)))
			}
			if time.Since(begun) > store.Lived {
				tries = 0
			}
			store.Breathe(ctx, tries, store.Seldom)
		}
	})
	return nudge
}

func (s *Store) watchHolder(ctx context.Context, name string, nudge chan<- struct{}) error {
	events, err := s.server.request(http.MethodGet, leasesResource).
		Param("watch", "true").Param("fieldSelector", "metadata.name="+name).Watch(ctx)
	if err != nil {
		return err
	}
	defer events.Stop()
	last := ""
	for event := range events.ResultChan() {
		l, ok := event.Object.(*coordinationv1.Lease)
		if !ok {
			return apierrors.FromObject(event.Object)
		}
		now := holderOf(l)
		if event.Type != apiwatch.Deleted && now == last && now != "" {
			continue // renewed
		}
		last = now
		select {
		case nudge <- struct{}{}:
		default:
		}
	}
	return nil
}

// Leader implements store.Store.
func (s *Store) Leader(ctx context.Context, name string) (string, error) {
	if err := store.CheckKey(name); err != nil {
		return "", err
	}
	there, err := s.readLease(ctx, s.names.election(name))
	if err != nil {
		return "", s.fault("leader of", name, err)
	}
	if holderOf(there) == "" || s.sights.over(there.Name, there.ResourceVersion) {
		return "", fmt.Errorf("store: leader of %s: %w", name, store.ErrNotFound)
	}
	return there.Annotations[noteValue], nil
}
