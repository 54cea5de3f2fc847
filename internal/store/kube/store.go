package kube

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/store"
)

var _ store.Store = (*Store)(nil)

// Store is a store.Store on the API server.
type Store struct {
	options  Options
	names    names
	server   *server
	sights   sights
	unranged atomic.Bool // the server refuses selectors of ranges
	odd      odd

	life  *store.Life // ends with Close
	close func()      // once
}

// openWait bounds the wait for the first answers.
const openWait = 5 * time.Second

// Open opens the store. It waits for an answer, at most until ctx ends and 5 s:
// an API server that cannot be reached, or does not know the kind, is
// store.ErrUnavailable; missing rights are store.ErrDenied, as far as reading
// shows them.
func Open(ctx context.Context, options Options) (*Store, error) {
	options = options.withDefaults()
	if err := options.check(); err != nil {
		return nil, err
	}
	s := &Store{options: options, names: names{options.Prefix}, life: store.NewLife(context.Background())}
	s.close = sync.OnceFunc(s.shut)
	var err error
	if s.server, err = connect(options.Config, options.Namespace); err != nil {
		return nil, err
	}
	if err := s.greet(ctx); err != nil {
		_ = s.Close() // the error that matters is at hand
		return nil, err
	}
	s.life.Go(s.look)
	return s, nil
}

// greet waits for the first answers. A server that starts, or has just got to know
// the kind, is asked again.
func (s *Store) greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openWait)
	defer cancel()
	for tries := 0; ; tries++ {
		version, err := s.ask(ctx)
		if err == nil {
			if _, err := revisionOf(version); err != nil {
				return fmt.Errorf("store: open: %s: %w", s.server.where, err)
			}
			return nil
		}
		busy := code(err) == http.StatusTooManyRequests || code(err) == http.StatusServiceUnavailable
		if !busy || ctx.Err() != nil {
			return s.fault("open", "", err)
		}
		store.Breathe(ctx, tries, store.Seldom)
	}
}

// ask asks for a record and for the Leases, and returns a resourceVersion.
func (s *Store) ask(ctx context.Context) (string, error) {
	var records v1alpha1.StateRecordList
	if err := s.server.list(ctx, recordsResource, s.names.selector("/", "", false), "", 1, &records); err != nil {
		return "", err
	}
	return records.ResourceVersion, s.server.list(ctx, leasesResource, s.selectLeases(), "", 0, &coordinationv1.LeaseList{})
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.close()
	return nil
}

func (s *Store) shut() {
	s.life.End()
	s.server.close()
}

// bound is the context of one call.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.options.CallTimeout)
}

// again runs what holds a lease until ctx ends. Those who wait for the end of one
// should not be first.
func (s *Store) again(ctx context.Context, what, key string, hold func(context.Context) error) {
	s.life.Again(ctx, what, key, s.options.Lease, min(store.Seldom, s.options.Lease/looks), s.options.Problem, hold)
}
