package kube

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/store"
)

// listed is how many objects a list has at most in one part. Records of the
// largest size make some 140 MB of that.
const listed = 100

// A list has so many times a call's bound, and is begun anew so often where the
// server forgets the moment that it is of.
const (
	listCalls = 4
	listTries = 3
)

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]store.Entry, error) {
	entries, _, err := s.read(ctx, "list", prefix, "", -1)
	return entries, err
}

// Page implements store.Store. What comes over the network depends on limit; the
// API server looks at the labels of all that it has in memory.
func (s *Store) Page(ctx context.Context, prefix, from string, limit int) ([]store.Entry, error) {
	entries, _, err := s.read(ctx, "page", prefix, from, max(limit, 0))
	return entries, err
}

// read returns the first records, sorted, and the revision at which they were so.
// A limit below 0 is none.
func (s *Store) read(ctx context.Context, call, prefix, from string, limit int) ([]store.Entry, int64, error) {
	if err := store.CheckKey(prefix); err != nil {
		return nil, 0, err
	}
	if err := ctx.Err(); err != nil {
		return nil, 0, s.fault(call, prefix, err)
	}
	if limit == 0 {
		return []store.Entry{}, 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, listCalls*s.options.CallTimeout)
	defer cancel()
	for tries := 1; ; tries++ {
		ranged := !s.unranged.Load()
		entries, revision, err := s.readParts(ctx, prefix, from, limit, ranged)
		switch {
		case err == nil:
			return entries, revision, nil
		case code(err) == http.StatusGone && tries < listTries:
		case code(err) == http.StatusBadRequest && ranged && tries < listTries:
			s.unranged.Store(true)
			s.options.Problem(fmt.Errorf("%w: pages and watches read more than they need from now on", s.fault(call, prefix, err)))
		default:
			return nil, 0, s.fault(call, prefix, err)
		}
	}
}

// readParts reads a list in parts, all of one moment. The parts come in the order
// of the objects' names, which is that of their keys but for very long ones.
func (s *Store) readParts(ctx context.Context, prefix, from string, limit int, ranged bool) ([]store.Entry, int64, error) {
	entries, selector := []store.Entry{}, s.names.selector(prefix, from, ranged)
	next, revision, long := "", int64(0), false
	for {
		most := listed
		if limit > 0 && !long {
			most = min(most, limit-len(entries))
		}
		var part v1alpha1.StateRecordList
		bounded, cancel := s.bound(ctx)
		err := s.server.list(bounded, recordsResource, selector, next, most, &part)
		cancel()
		if err != nil {
			return nil, 0, err
		}
		if revision == 0 {
			if revision, err = revisionOf(part.ResourceVersion); err != nil {
				return nil, 0, err
			}
		}
		for i := range part.Items {
			o := &part.Items[i]
			long = long || len(o.Spec.Key) > wholeKey
			e, err := s.entryOf(o)
			if err != nil {
				s.pass(o, err)
				continue
			}
			if strings.HasPrefix(e.Key, prefix) && e.Key >= from {
				entries = append(entries, e)
			}
		}
		next = part.Continue
		if next == "" || limit > 0 && len(entries) >= limit && !long {
			break
		}
	}
	slices.SortFunc(entries, func(a, b store.Entry) int { return strings.Compare(a.Key, b.Key) })
	if limit > 0 {
		entries = entries[:min(len(entries), limit)]
	}
	return entries, revision, nil
}
