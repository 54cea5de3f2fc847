package kube

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/store"
)

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := store.CheckKey(key); err != nil {
		return store.Entry{}, err
	}
	o, err := s.fetch(ctx, "get", key)
	if err != nil {
		return store.Entry{}, err
	}
	e, err := s.entryOf(o)
	if err != nil {
		s.pass(o, err)
		return store.Entry{}, fmt.Errorf("store: get %s: %w", key, store.ErrNotFound)
	}
	return e, nil
}

// fetch reads a key's object, whatever it holds.
func (s *Store) fetch(ctx context.Context, call, key string) (*v1alpha1.StateRecord, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	o := &v1alpha1.StateRecord{}
	err := s.server.get(ctx, recordsResource, s.names.record(key), o)
	if absent(err, recordsResource) {
		return nil, fmt.Errorf("store: %s %s: %w", call, key, store.ErrNotFound)
	}
	if err != nil {
		return nil, s.fault(call, key, err)
	}
	return o, nil
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, key string, value []byte, revision int64) (store.Entry, error) {
	if err := store.CheckKey(key); err != nil {
		return store.Entry{}, err
	}
	if len(value) > store.MaxValue {
		return store.Entry{}, fmt.Errorf("store: put %s: %w: %d bytes, at most %d", key, store.ErrTooLarge, len(value), store.MaxValue)
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	now, err := s.write(ctx, "put", key, value, "", revision)
	if err != nil {
		return store.Entry{}, err
	}
	return store.Entry{Key: key, Value: value, Revision: now}, nil
}

// write compares and swaps, and returns the new revision.
func (s *Store) write(ctx context.Context, call, key string, value []byte, lease string, revision int64) (int64, error) {
	var written v1alpha1.StateRecord
	var err error
	if revision == 0 {
		err = s.server.create(ctx, recordsResource, s.object(key, value, lease, ""), &written)
		if code(err) == http.StatusConflict && s.clear(ctx, key) {
			err = s.server.create(ctx, recordsResource, s.object(key, value, lease, ""), &written)
		}
	} else {
		o := s.object(key, value, lease, strconv.FormatInt(revision, 10))
		err = s.server.update(ctx, recordsResource, o.Name, o, &written)
	}
	switch {
	case absent(err, recordsResource), code(err) == http.StatusConflict:
		return 0, fmt.Errorf("store: %s %s at revision %d: %w", call, key, revision, store.ErrConflict)
	case err != nil:
		return 0, s.fault(call, key, err)
	}
	now, err := revisionOf(written.ResourceVersion)
	if err != nil {
		return 0, fmt.Errorf("store: %s %s: %s: %w", call, key, s.server.where, err)
	}
	return now, nil
}

// clear takes an object out of the way of a new record that is nobody's record,
// and reports whether it did.
func (s *Store) clear(ctx context.Context, key string) bool {
	o, err := s.fetch(ctx, "put", key)
	if err != nil {
		return false
	}
	_, why := s.entryOf(o)
	if why == nil {
		return false
	}
	s.pass(o, why)
	return s.server.remove(ctx, recordsResource, o.Name, o.ResourceVersion) == nil
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, key string, revision int64) error {
	if err := store.CheckKey(key); err != nil {
		return err
	}
	if revision <= 0 {
		return fmt.Errorf("store: delete %s: revision %d: give the revision that was read", key, revision)
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	err := s.server.remove(ctx, recordsResource, s.names.record(key), strconv.FormatInt(revision, 10))
	switch {
	case err == nil:
		return nil
	case absent(err, recordsResource):
		return fmt.Errorf("store: delete %s at revision %d: %w", key, revision, store.ErrNotFound)
	case code(err) == http.StatusConflict:
		return fmt.Errorf("store: delete %s at revision %d: %w", key, revision, store.ErrConflict)
	}
	return s.fault("delete", key, err)
}
