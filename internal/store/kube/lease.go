package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/safestate/safestate/internal/store"
)

// lease is one that is renewed until it is released or lost. Its time counts from
// when the question left, and others count it from when they saw the answer's
// effect, so it ends for its holder first.
type lease struct {
	name   string
	object *coordinationv1.Lease // as it was written last; renew's until done
	holder string                // in it, and of this lease only
	ctx    context.Context       // ends before another can take it
	cancel context.CancelFunc
	done   chan struct{} // closed when it is renewed no more
	why    error         // the last renewal failed with; renew's until done
}

// margin is the part of a lease that its holder does without: the time that it
// has to stop what it does, and by which clocks may differ in their pace.
const margin = 6

// leaseOf is what a Lease is written as.
func (s *Store) leaseOf(name, use, holder, value string) *coordinationv1.Lease {
	now := metav1.NowMicro() // for people: nobody decides by it
	seconds := int32(s.options.Lease / time.Second)
	return &coordinationv1.Lease{
		TypeMeta: metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: s.options.Namespace,
			Labels:      map[string]string{labelStore: s.options.Prefix, labelUse: use},
			Annotations: map[string]string{noteValue: value},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now},
	}
}

// holderOf is who holds a Lease; empty: nobody.
func holderOf(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// keep renews a Lease that was taken by a question of asked. It lives at most as
// long as ctx. Each time that it was renewed, renewed is called; nudge has it
// renewed at once.
func (s *Store) keep(ctx context.Context, object *coordinationv1.Lease, asked time.Time, renewed func(), nudge <-chan struct{}) *lease {
	l := &lease{name: object.Name, object: object, holder: holderOf(object), done: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(ctx)
	go s.renew(l, asked, renewed, nudge)
	return l
}

// renew keeps the lease; it ends l.ctx when the lease may be lost.
func (s *Store) renew(l *lease, asked time.Time, renewed func(), nudge <-chan struct{}) {
	defer close(l.done)
	defer l.cancel()
	span := s.options.Lease
	for {
		end := s.endOf(asked)
		timer := time.NewTimer(time.Until(asked.Add(span / 3)))
		select {
		case <-timer.C:
		case <-nudge:
		case <-l.ctx.Done():
		}
		timer.Stop()
		for {
			try := time.Now()
			if l.ctx.Err() != nil || !try.Before(end) {
				return
			}
			ctx, cancel := context.WithDeadline(l.ctx, earlier(end, try.Add(span/4)))
			err := s.renewOnce(ctx, l)
			cancel()
			if l.why = err; err == nil {
				asked = try
				break
			}
			if errors.Is(err, errLost) || !store.Pause(l.ctx, min(50*time.Millisecond, time.Until(end))) {
				return
			}
		}
		if renewed != nil {
			renewed()
		}
	}
}

// endOf is when the holder's time is over, of a Lease that was written by a
// question of asked.
func (s *Store) endOf(asked time.Time) time.Time {
	return asked.Add(s.options.Lease - s.options.Lease/margin)
}

// renewOnce writes the Lease once. It is lost where another holds it, or nobody.
func (s *Store) renewOnce(ctx context.Context, l *lease) error {
	next, now := l.object.DeepCopy(), metav1.NowMicro()
	next.Spec.RenewTime = &now
	err := s.server.update(ctx, leasesResource, next.Name, next, next)
	switch {
	case err == nil:
		l.object = next
		return nil
	case absent(err, leasesResource):
		return errLost
	case code(err) != http.StatusConflict:
		return err
	}
	// A renewal of ours whose answer got lost, or another's word.
	there := &coordinationv1.Lease{}
	if err := s.server.get(ctx, leasesResource, next.Name, there); err != nil {
		if absent(err, leasesResource) {
			return errLost
		}
		return err
	}
	if holderOf(there) != l.holder {
		return errLost
	}
	l.object = there
	return fmt.Errorf("%s: its version was another", next.Name)
}

// errLost: another holds the Lease, or nobody.
var errLost = errors.New("the Lease is not ours any more")

// lost is why a lease that is done was lost.
func (s *Store) lost(l *lease, call, key string) error {
	if l.why == nil || errors.Is(l.why, errLost) {
		return fmt.Errorf("store: %s %s: %w", call, key, errLost)
	}
	return s.fault(call, key, l.why)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// stop renews no more.
func (l *lease) stop() {
	l.cancel()
	<-l.done
}

// last is the context of what is said when a lease ends: a bounded time more than
// its holder has.
func (s *Store) last(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), min(s.options.CallTimeout, s.options.Lease))
}
