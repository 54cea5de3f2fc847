package etcd

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/safestate/safestate/internal/store"
)

// Elect implements store.Store. The records are those of etcd's own recipe
// (client/v3/concurrency): each candidate has NAME/LEASE on a lease, and the
// oldest one leads. The recipe itself is not used: its session may outlive the
// lease, and its end is not bounded.
func (s *Store) Elect(ctx context.Context, name, value string, lead func(context.Context)) {
	s.again(ctx, "the candidacy", name, func(ctx context.Context) error {
		return s.stand(ctx, name, value, lead)
	})
}

// stand is one candidacy: until the lease is lost, lead returns or ctx ends.
func (s *Store) stand(ctx context.Context, name, value string, lead func(context.Context)) error {
	l, err := s.grant(ctx, nil)
	if err != nil {
		return err
	}
	defer s.release(l)
	key := candidates(name) + fmt.Sprintf("%016x", l.id)
	if err := s.putLeased(l, key, []byte(value)); err != nil {
		return err
	}
	if err := s.awaitTurn(l.ctx, name, key); err != nil || ctx.Err() != nil {
		return err
	}
	leading, stop := context.WithCancel(l.ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		// A person who removes the record unseats the leader.
		for tries := 0; s.awaitGone(leading, key) != nil && leading.Err() == nil; tries++ {
			store.Breathe(leading, tries, store.Seldom)
		}
		stop()
	})
	lead(leading)
	stop()
	watch.Wait()
	if l.ctx.Err() != nil && ctx.Err() == nil {
		return errLost
	}
	return nil
}

// awaitTurn returns when no candidate is older than ours.
func (s *Store) awaitTurn(ctx context.Context, name, key string) error {
	for {
		line, err := s.line(ctx, name)
		if err != nil {
			return err
		}
		var before string
		ours := false
		for _, kv := range line {
			if ours = string(kv.Key) == key; ours {
				break
			}
			before = string(kv.Key)
		}
		switch {
		case !ours:
			return errLost
		case before == "":
			return nil
		}
		if err := s.awaitGone(ctx, before); err != nil {
			return err
		}
	}
}

// awaitGone returns when a key is not there.
func (s *Store) awaitGone(ctx context.Context, key string) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	bounded, stop := s.bound(ctx)
	now, err := s.client.Get(bounded, key, clientv3.WithCountOnly())
	stop()
	if err != nil {
		return s.fault("election", key, err)
	}
	if now.Count == 0 {
		return nil
	}
	for response := range s.client.Watch(ctx, key, clientv3.WithRev(now.Header.Revision+1)) {
		if err := response.Err(); err != nil {
			return s.fault("election", key, err)
		}
		for _, e := range response.Events {
			if e.Type == clientv3.EventTypeDelete {
				return nil
			}
		}
	}
	return s.fault("election", key, context.Canceled)
}

// line returns the candidates, the leader first.
func (s *Store) line(ctx context.Context, name string) ([]*mvccpb.KeyValue, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	got, err := s.client.Get(ctx, candidates(name), clientv3.WithPrefix(),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		return nil, s.fault("election", name, err)
	}
	return got.Kvs, nil
}

func candidates(name string) string { return strings.TrimSuffix(name, "/") + "/" }

// Leader implements store.Store.
func (s *Store) Leader(ctx context.Context, name string) (string, error) {
	if err := store.CheckKey(name); err != nil {
		return "", err
	}
	line, err := s.line(ctx, name)
	if err != nil {
		return "", err
	}
	if len(line) == 0 {
		return "", fmt.Errorf("store: leader of %s: %w", name, store.ErrNotFound)
	}
	return string(line[0].Value), nil
}
