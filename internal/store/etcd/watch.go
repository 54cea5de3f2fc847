package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/safestate/safestate/internal/store"
)

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string) <-chan []store.Event {
	out := make(chan []store.Event)
	feed := store.NewFeed()
	if !s.enter() {
		close(out)
		return out
	}
	ctx, cancel := s.join(ctx)
	s.group.Go(func() { feed.Deliver(ctx, out) })
	go func() {
		defer s.leave()
		defer cancel()
		s.feed(ctx, prefix, feed)
	}()
	return out
}

// feed reads the records, follows their changes, and begins anew whenever the
// thread is lost.
func (s *Store) feed(ctx context.Context, prefix string, feed *store.Feed) {
	for tries := 0; ctx.Err() == nil; tries++ {
		now := s.history.Load()
		entries, revision, err := s.list(ctx, prefix)
		if err == nil {
			begun := time.Now()
			feed.Replace(entries, revision)
			err = s.follow(ctx, prefix, revision, now, feed)
			if time.Since(begun) > lived { // one that is refused at once is tried more and more seldom
				tries = 0
			}
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.options.Problem(fmt.Errorf("%w: the watch of %s begins anew", err, prefix))
		}
		rest(ctx, tries)
	}
}

// lived is how long a watch has to have gone on for its end to be the first.
const lived = 2 * time.Second

// errSetBack: followHistory has told why.
var errSetBack = errors.New("store: the cluster was set back")

// follow feeds the changes after revision. It returns when it can follow no
// further: etcd's client mends broken connections by itself, but not a member
// without a leader, nor a history that was compacted meanwhile.
func (s *Store) follow(ctx context.Context, prefix string, revision int64, of *history, feed *store.Feed) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	var over chan struct{}
	if of != nil {
		over = of.over
	}
	responses := s.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(revision+1))
	for {
		select {
		case response, ok := <-responses:
			if !ok {
				return s.fault("watch", prefix, context.Cause(ctx))
			}
			if response.CompactRevision != 0 {
				return nil // as expected where we were away, or slow
			}
			if err := response.Err(); err != nil {
				return s.fault("watch", prefix, err)
			}
			feed.Apply(eventsOf(response.Events))
		case <-over:
			return errSetBack
		}
	}
}

func eventsOf(events []*clientv3.Event) []store.Event {
	out := make([]store.Event, len(events))
	for i, e := range events {
		out[i] = store.Event{Entry: entryOf(e.Kv), Deleted: e.Type == clientv3.EventTypeDelete}
		if out[i].Deleted {
			out[i].Value = nil
		}
	}
	return out
}
