package controller

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
)

// An informer of client-go's that is refused waits longer and longer, up to a minute,
// and says so to nobody but its log. In that minute nobody would see a KillSwitch. So
// what it asks is asked again here, before it hears of a refusal.

// seldom is how often what is refused again and again is asked for.
const seldom = 2 * time.Second

// newInformer is client-go's, over a patient ListerWatcher.
func (w *watched) newInformer(of toolscache.ListerWatcher, object runtime.Object, resync time.Duration, by toolscache.Indexers) toolscache.SharedIndexInformer {
	from := toolscache.ToListerWatcherWithContext(of)
	kind := object.GetObjectKind().GroupVersionKind()
	what := fmt.Sprintf("kind %s of %s", kind.Kind, kind.Group)
	return toolscache.NewSharedIndexInformer(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (out runtime.Object, err error) {
			err = w.insist(ctx, what, func() error { out, err = from.ListWithContext(ctx, o); return err })
			return out, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (out watch.Interface, err error) {
			err = w.insist(ctx, what, func() error { out, err = from.WatchWithContext(ctx, o); return err })
			return out, err
		},
	}, object, resync, by)
}

// insist asks until there is an answer that waiting does not change.
func (w *watched) insist(ctx context.Context, what string, ask func() error) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, seldom) {
		err := ask()
		if err == nil {
			w.reads(what, nil)
			return nil
		}
		if ctx.Err() != nil || !passes(err) {
			return err
		}
		w.reads(what, err)
		timer := time.NewTimer(wait/2 + rand.N(wait/2))
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
}

// passes reports whether a refusal may be over by itself: the server is away or busy,
// rights are missing, or the kind is. Of a watch that has to begin anew who asks has
// to hear.
func passes(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true
	}
	switch status.Status().Code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable:
		return true
	}
	return false
}

// reads notes whether a kind can be read, and has the configuration looked at anew
// where that is another answer than before.
func (w *watched) reads(what string, err error) {
	w.mu.Lock()
	last := w.unread[what]
	before := last.err
	switch {
	case err == nil && before == nil:
		w.mu.Unlock()
		return
	case err == nil:
		delete(w.unread, what)
	case before == nil:
		w.unread[what] = fault{err, time.Now()}
	default:
		w.unread[what] = fault{err, last.since}
	}
	w.mu.Unlock()
	if err != nil && (before == nil || before.Error() != err.Error()) {
		w.c.o.Problem(fmt.Errorf("%s cannot be read, what it said holds: %w", what, err))
	}
	if (err == nil) != (before == nil) {
		w.c.o.Changed()
	}
}
