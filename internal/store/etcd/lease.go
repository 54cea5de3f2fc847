package etcd

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/safestate/safestate/internal/store"
)

// lease is one that is renewed until it is released or lost. Etcd's own
// keep-alive counts from when an answer arrived and looks twice a second: by it
// a leader may believe for longer than the server does. Ours counts from when
// the question left, so it ends first.
type lease struct {
	id     clientv3.LeaseID
	ttl    time.Duration   // as the server granted it
	ctx    context.Context // ends before the server lets go of the lease
	cancel context.CancelFunc
	done   chan struct{} // closed when it is renewed no more
}

// margin is the part of a lease that its holder does without: the time that it
// has to stop what it does.
const margin = 6

// grant takes a lease of ttl, which lives at most as long as ctx. Each time
// that it was renewed, renewed is called.
func (s *Store) grant(ctx context.Context, renewed func(*lease)) (*lease, error) {
	if err := s.writable("grant a lease", ""); err != nil {
		return nil, err
	}
	asked := time.Now()
	bounded, cancel := s.bound(ctx)
	defer cancel()
	seconds := max(1, int64((s.options.Lease+time.Second-1)/time.Second))
	granted, err := s.client.Grant(bounded, seconds)
	if err != nil {
		return nil, s.fault("grant a lease", "", err)
	}
	l := &lease{id: granted.ID, ttl: time.Duration(granted.TTL) * time.Second, done: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(ctx)
	go s.renew(l, asked, renewed)
	return l, nil
}

// renew keeps the lease alive; it ends l.ctx when the lease may be lost.
func (s *Store) renew(l *lease, asked time.Time, renewed func(*lease)) {
	defer close(l.done)
	defer l.cancel()
	for {
		end := asked.Add(l.ttl - l.ttl/margin)
		if !store.Pause(l.ctx, time.Until(asked.Add(l.ttl/3))) {
			return
		}
		for try := time.Now(); ; try = time.Now() {
			// A try is bounded, so that the next one meets another member.
			ctx, cancel := context.WithDeadline(l.ctx, earlier(end, try.Add(l.ttl/4)))
			left, err := s.keepAlive(ctx, l.id)
			cancel()
			if left > 0 {
				asked = try
				break
			}
			if err == nil || l.ctx.Err() != nil || time.Now().After(end) ||
				!store.Pause(l.ctx, min(50*time.Millisecond, time.Until(end))) {
				return
			}
		}
		if renewed != nil {
			renewed(l)
		}
	}
}

// keepAlive renews once and returns the seconds that the lease has then, 0 if
// there is no such lease. The client's own KeepAliveOnce tries again without a
// pause for as long as nobody answers.
func (s *Store) keepAlive(ctx context.Context, id clientv3.LeaseID) (int64, error) {
	stream, err := pb.NewLeaseClient(s.client.ActiveConnection()).LeaseKeepAlive(clientv3.WithRequireLeader(ctx))
	if err != nil {
		return 0, err
	}
	defer func() { _ = stream.CloseSend() }() // the context ends it in any case
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(id)}); err != nil {
		return 0, err
	}
	answer, err := stream.Recv()
	if err != nil {
		return 0, err
	}
	return answer.TTL, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// release ends the lease and what hangs on it, at once where etcd can be
// reached, else when its time is over.
func (s *Store) release(l *lease) {
	l.cancel()
	<-l.done
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), min(s.options.CallTimeout, l.ttl))
	defer cancel()
	_, _ = s.client.Revoke(ctx, l.id) // else it ends by itself
}

// again runs what holds a lease until ctx ends.
func (s *Store) again(ctx context.Context, what, key string, hold func(context.Context) error) {
	s.life.Again(ctx, what, key, s.options.Lease, store.Seldom, s.options.Problem, hold)
}

var errLost = errors.New("store: the lease was lost")
