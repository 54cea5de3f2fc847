package kube

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/store"
)

// Watch implements store.Store. The thread is lost with a connection that broke, a
// server that forgot, or the end that an API server puts to each watch after some half
// an hour.
func (s *Store) Watch(ctx context.Context, prefix string) <-chan []store.Event {
	return s.life.Watch(ctx, prefix, store.Followed{
		Read: func(ctx context.Context) ([]store.Entry, int64, error) { return s.read(ctx, "watch", prefix, "", -1) },
		Follow: func(ctx context.Context, entries []store.Entry, revision int64, feed *store.Feed) error {
			return s.follow(ctx, prefix, entries, revision, feed)
		},
	}, s.options.Problem)
}

// follow feeds the changes after revision, at which the records were entries. It
// returns when it can follow no further.
func (s *Store) follow(ctx context.Context, prefix string, entries []store.Entry, revision int64, feed *store.Feed) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := s.server.request(http.MethodGet, recordsResource).
		Param("watch", "true").Param("labelSelector", s.names.selector(prefix, "", !s.unranged.Load())).
		Param("resourceVersion", strconv.FormatInt(revision, 10)).Watch(ctx)
	if err != nil {
		return s.ending(prefix, err)
	}
	defer events.Stop()
	keys := make(map[string]string, len(entries)) // of the objects that are records, by name
	for _, e := range entries {
		keys[s.names.record(e.Key)] = e.Key
	}
	for event := range events.ResultChan() {
		if event.Type == apiwatch.Error {
			return s.ending(prefix, apierrors.FromObject(event.Object))
		}
		o, ok := event.Object.(*v1alpha1.StateRecord)
		if !ok {
			continue
		}
		change, ok, err := s.changeOf(event.Type, o, prefix, keys)
		if err != nil {
			return err
		}
		if ok {
			feed.Apply([]store.Event{change})
		}
	}
	return nil
}

// ending is what a watch ended with; nil where that is as expected of one that was
// away, or slow.
func (s *Store) ending(prefix string, err error) error {
	if code(err) == http.StatusGone {
		return nil
	}
	return s.fault("watch", prefix, err)
}

// changeOf is what an event says about a record, if it says anything, and keeps
// keys.
func (s *Store) changeOf(kind apiwatch.EventType, o *v1alpha1.StateRecord, prefix string, keys map[string]string) (store.Event, bool, error) {
	revision, err := revisionOf(o.ResourceVersion)
	if err != nil {
		return store.Event{}, false, fmt.Errorf("store: watch %s: %s: %w", prefix, s.server.where, err)
	}
	if kind == apiwatch.Added || kind == apiwatch.Modified {
		e, err := s.entryOf(o)
		if err == nil {
			keys[o.Name] = e.Key
			return store.Event{Entry: e}, strings.HasPrefix(e.Key, prefix), nil
		}
		s.pass(o, err)
	}
	key, known := keys[o.Name]
	delete(keys, o.Name)
	return store.Event{Entry: store.Entry{Key: key, Revision: revision}, Deleted: true}, known && strings.HasPrefix(key, prefix), nil
}
