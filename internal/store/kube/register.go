package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/store"
)

// Register implements store.Store. Each registration has a Lease of its own: its
// record is there as long as that. See look for how it ends.
func (s *Store) Register(ctx context.Context, key string, value func() []byte) {
	s.again(ctx, "the registration", key, func(ctx context.Context) error {
		return s.present(ctx, key, value)
	})
}

// present keeps one record on one Lease until either ends.
func (s *Store) present(ctx context.Context, key string, value func() []byte) error {
	beat := make(chan struct{}, 1)
	asked := time.Now()
	object := &coordinationv1.Lease{}
	name := s.names.alive()
	bounded, cancel := s.bound(ctx)
	err := s.server.create(bounded, leasesResource, s.leaseOf(name, useAlive, name, key), object)
	cancel()
	if err != nil {
		return s.fault("register", key, err)
	}
	l := s.keep(ctx, object, asked, func() {
		select {
		case beat <- struct{}{}:
		default:
		}
	}, nil)
	defer l.stop()
	for first := true; ; {
		err := s.state(l, key, value(), first)
		switch {
		case err == nil:
			first = false
		case first: // later the next beat writes it, or the lease ends
			s.retract(l, key)
			return err
		}
		select {
		case <-beat:
		case <-l.ctx.Done():
			<-l.done
			if ctx.Err() != nil {
				s.retract(l, key)
				return nil
			}
			return s.lost(l, "register", key) // the record waits for the next Lease
		}
	}
}

// stateTries bounds how often a registration is written over what came between.
const stateTries = 5

// state writes the record where it is due.
func (s *Store) state(l *lease, key string, value []byte, first bool) error {
	var err error
	for range stateTries {
		var there *v1alpha1.StateRecord
		there, err = s.fetch(l.ctx, "register", key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		revision := int64(0)
		if there != nil {
			if !due(there, l.name, value, first) {
				return nil
			}
			if _, odd := s.entryOf(there); odd == nil { // else write takes it out of the way
				revision, _ = revisionOf(there.ResourceVersion) // entryOf read it
			}
		}
		ctx, cancel := s.bound(l.ctx)
		_, err = s.write(ctx, "register", key, value, l.name, revision)
		cancel()
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return err
}

// due reports whether a registration writes over what is there: at first always,
// later where it is its own and of another value, or nobody's. Who registered the
// key later keeps it.
func due(there *v1alpha1.StateRecord, lease string, value []byte, first bool) bool {
	switch there.Spec.Lease {
	case lease:
		return !bytes.Equal(there.Spec.Value, value)
	case "":
		return true
	}
	return first
}

// retract ends a registration: its record, if it still has the key, then the
// Lease. What does not succeed others do when the Lease is over.
func (s *Store) retract(l *lease, key string) {
	l.stop()
	ctx, cancel := s.last(l.ctx)
	defer cancel()
	there, err := s.fetch(ctx, "register", key)
	if err == nil && there.Spec.Lease == l.name {
		err = s.bury(ctx, recordsResource, there.Name, there.ResourceVersion)
	}
	if err == nil || errors.Is(err, store.ErrNotFound) {
		err = s.bury(ctx, leasesResource, l.name, l.object.ResourceVersion)
	}
	if err != nil {
		s.options.Problem(fmt.Errorf("%w: the registration of %s stays until its lease is over", err, key))
	}
}
