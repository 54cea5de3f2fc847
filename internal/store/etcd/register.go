package etcd

import (
	"bytes"
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Register implements store.Store.
func (s *Store) Register(ctx context.Context, key string, value func() []byte) {
	s.again(ctx, "the registration", key, func(ctx context.Context) error {
		return s.present(ctx, key, value)
	})
}

// present keeps one record on one lease until either ends.
func (s *Store) present(ctx context.Context, key string, value func() []byte) error {
	beat := make(chan struct{}, 1)
	l, err := s.grant(ctx, func(*lease) {
		select {
		case beat <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return err
	}
	defer s.release(l)
	var written []byte
	there := false
	for {
		if now := value(); !there || !bytes.Equal(now, written) {
			if err := s.putLeased(l, key, now); err != nil {
				return err
			}
			written = bytes.Clone(now)
		}
		select {
		case <-beat:
			// A person may have removed it. Where that cannot be known, the next
			// beat asks again, or the lease ends.
			if there, err = s.exists(l.ctx, key); err != nil {
				there = true
			}
		case <-l.ctx.Done():
			if ctx.Err() != nil {
				return nil
			}
			return errLost
		}
	}
}

// exists reports whether there is a record, whoever wrote it.
func (s *Store) exists(ctx context.Context, key string) (bool, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	got, err := s.client.Get(ctx, key, clientv3.WithCountOnly())
	if err != nil {
		return false, s.fault("register", key, err)
	}
	return got.Count > 0, nil
}

// putLeased writes a record that goes with the lease, whatever was there.
func (s *Store) putLeased(l *lease, key string, value []byte) error {
	if err := s.writable("register", key); err != nil {
		return err
	}
	ctx, cancel := s.bound(l.ctx)
	defer cancel()
	if _, err := s.client.Put(ctx, key, string(value), clientv3.WithLease(l.id)); err != nil {
		return s.fault("register", key, err)
	}
	return nil
}
