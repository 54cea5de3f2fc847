package etcd

import (
	"context"
	"errors"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/safestate/safestate/internal/store"
)

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string) <-chan []store.Event {
	var now *history // as it was before the records were read
	return s.life.Watch(ctx, prefix, store.Followed{
		Read: func(ctx context.Context) ([]store.Entry, int64, error) {
			now = s.history.Load()
			return s.list(ctx, prefix)
		},
		Follow: func(ctx context.Context, _ []store.Entry, revision int64, feed *store.Feed) error {
			return s.follow(ctx, prefix, revision, now, feed)
		},
	}, s.options.Problem)
}

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
