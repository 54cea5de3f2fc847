package etcd

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/safestate/safestate/internal/store"
)

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := store.CheckKey(key); err != nil {
		return store.Entry{}, err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	got, err := s.client.Get(ctx, key)
	if err != nil {
		return store.Entry{}, s.fault("get", key, err)
	}
	if len(got.Kvs) == 0 {
		return store.Entry{}, fmt.Errorf("store: get %s: %w", key, store.ErrNotFound)
	}
	return entryOf(got.Kvs[0]), nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]store.Entry, error) {
	entries, _, err := s.list(ctx, prefix)
	return entries, err
}

// list also returns the revision at which the records were so.
func (s *Store) list(ctx context.Context, prefix string) ([]store.Entry, int64, error) {
	if err := store.CheckKey(prefix); err != nil {
		return nil, 0, err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	got, err := s.client.Get(ctx, prefix, clientv3.WithPrefix()) // sorted by key
	if err != nil {
		return nil, 0, s.fault("list", prefix, err)
	}
	return entriesOf(got.Kvs), got.Header.Revision, nil
}

// Page implements store.Store. Etcd reads no more than the limit only upwards: in
// the other order it reads all, and sorts that.
func (s *Store) Page(ctx context.Context, prefix, from string, limit int) ([]store.Entry, error) {
	if err := store.CheckKey(prefix); err != nil {
		return nil, err
	}
	if limit <= 0 {
		return []store.Entry{}, nil // to etcd 0 is no limit
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	got, err := s.client.Get(ctx, max(prefix, from), clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)), clientv3.WithLimit(int64(limit)))
	if err != nil {
		return nil, s.fault("page", prefix, err)
	}
	return entriesOf(got.Kvs), nil
}

func entriesOf(kvs []*mvccpb.KeyValue) []store.Entry {
	entries := make([]store.Entry, len(kvs))
	for i, kv := range kvs {
		entries[i] = entryOf(kv)
	}
	return entries
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, key string, value []byte, revision int64) (store.Entry, error) {
	if err := store.CheckKey(key); err != nil {
		return store.Entry{}, err
	}
	if len(value) > store.MaxValue {
		return store.Entry{}, fmt.Errorf("store: put %s: %w: %d bytes, at most %d", key, store.ErrTooLarge, len(value), store.MaxValue)
	}
	if err := s.writable("put", key); err != nil {
		return store.Entry{}, err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	done, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
		Then(clientv3.OpPut(key, string(value))).
		Commit()
	if err != nil {
		return store.Entry{}, s.fault("put", key, err)
	}
	if !done.Succeeded {
		return store.Entry{}, fmt.Errorf("store: put %s at revision %d: %w", key, revision, store.ErrConflict)
	}
	return store.Entry{Key: key, Value: value, Revision: done.Header.Revision}, nil
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, key string, revision int64) error {
	if err := store.CheckKey(key); err != nil {
		return err
	}
	if revision <= 0 {
		return fmt.Errorf("store: delete %s: revision %d: give the revision that was read", key, revision)
	}
	if err := s.writable("delete", key); err != nil {
		return err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	done, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
		Then(clientv3.OpDelete(key)).
		Else(clientv3.OpGet(key, clientv3.WithCountOnly())).
		Commit()
	if err != nil {
		return s.fault("delete", key, err)
	}
	if done.Succeeded {
		return nil
	}
	why := store.ErrConflict
	if done.Responses[0].GetResponseRange().Count == 0 {
		why = store.ErrNotFound
	}
	return fmt.Errorf("store: delete %s at revision %d: %w", key, revision, why)
}

// writable refuses what the embedded server could not finish.
func (s *Store) writable(call, key string) error {
	if s.server == nil {
		return nil
	}
	if err := s.server.writable(); err != nil {
		return fmt.Errorf("store: %s %s: %w: %w", call, key, store.ErrUnavailable, err)
	}
	return nil
}

func entryOf(kv *mvccpb.KeyValue) store.Entry {
	return store.Entry{Key: string(kv.Key), Value: kv.Value, Revision: kv.ModRevision}
}
