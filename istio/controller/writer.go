package controller

import (
	"context"
	"iter"
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/safestate/safestate/internal/compile"
)

// Wanted is what the proxies are to have.
type Wanted struct {
	Snapshot *compile.Snapshot // releases and kills included
	Sign     func(route, namespace, policy string) string
	// Version names it; equal ones are the same.
	Version string
}

// writer brings the API server to what is wanted. While it leads it compares the two
// whenever something of them is another one, and its queue writes what differs.
type writer struct {
	c     *Controller
	wake  chan struct{}
	queue *queue

	mu      sync.Mutex
	wanted  *Wanted         // nil: nothing was handed over yet
	number  uint64          // of wanted: each has one of its own
	lead    context.Context //nolint:containedctx // ends all that is under way; nil: it does not lead
	resign  context.CancelFunc
	queued  uint64           // the number of what the queue writes, or has written
	changed chan struct{}    // closed when something is written, or is to be
	problem fault            // why the two cannot be compared
	refused map[string]error // routes that cannot be carried

	lag       written
	rendered  rendering // of the last comparison
	lingering lingering
	weights   weightsBook
	strangers map[types.UID]bool // EnvoyFilters with our label that are not ours
}

func newWriter(c *Controller) *writer {
	w := &writer{c: c, wake: make(chan struct{}, 1), changed: make(chan struct{}), strangers: map[types.UID]bool{}, lingering: lingering{}}
	w.queue = newQueue(func(err error) { w.c.o.Problem(err) }, w.tells, w.stir)
	return w
}

func (w *writer) stir() {
	select {
	case w.wake <- struct{}{}:
	default: // it is about to look
	}
}

// tells wakes those who wait for something to be written.
func (w *writer) tells() {
	w.mu.Lock()
	close(w.changed)
	w.changed = make(chan struct{})
	w.mu.Unlock()
	w.c.status.stir()
}

// Publish hands over what the proxies are to have from now on. It does not wait.
func (c *Controller) Publish(wanted Wanted) {
	w := c.writer
	w.mu.Lock()
	if w.wanted == nil || w.wanted.Version != wanted.Version {
		w.wanted = &wanted
		w.number++
	}
	w.mu.Unlock()
	w.stir()
}

// Lead says whether this replica writes. Where it does no more, nothing is written
// from the moment on that it returns, but for calls that are on their way.
func (c *Controller) Lead(leads bool) {
	w := c.writer
	w.mu.Lock()
	switch {
	case leads && w.lead == nil:
		w.lead, w.resign = context.WithCancel(context.Background())
	case !leads && w.lead != nil:
		w.resign()
		w.lead, w.queued = nil, 0
		w.queue.end()
	}
	w.mu.Unlock()
	w.tells()
	w.stir()
}

// Written tells of a version, or of a later one that has taken its place, of which
// models (namespace/name) something is not in the API server, and why, each time that
// this is another answer. Its last one is that there are none; where it is another
// replica's to write that is the only one. It ends with ctx.
func (c *Controller) Written(ctx context.Context, version string) iter.Seq[map[string]error] {
	w := c.writer
	return func(yield func(map[string]error) bool) {
		w.mu.Lock()
		number := w.number // of this version, or of a later one
		w.mu.Unlock()
		var last map[string]error
		for first := true; ; {
			w.mu.Lock()
			changed, leads, queued := w.changed, w.lead != nil, w.queued >= number
			w.mu.Unlock()
			if !leads {
				yield(nil)
				return
			}
			if queued {
				_, missing := w.queue.unwritten()
				if news := first || !maps.EqualFunc(missing, last, sameError); news && !yield(missing) || len(missing) == 0 {
					return
				}
				first, last = false, missing
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	}
}

func sameError(a, b error) bool { return a.Error() == b.Error() }

const (
	// recheck is when what there is is compared with what is wanted without a change.
	recheck = 10 * time.Second
	// breath is what lies between two comparisons while what the first has found is
	// being written, unless something else is wanted.
	breath = time.Second
)

// run compares and has written what differs, until ctx ends.
func (w *writer) run(ctx context.Context) {
	defer w.queue.work.Wait()
	defer w.c.Lead(false)
	timer := time.NewTimer(recheck)
	defer timer.Stop()
	var last time.Time
	wait := firstWait
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-timer.C:
		}
		if rest := breath - time.Since(last); rest > 0 && w.isWriting() {
			timer.Reset(rest)
			continue
		}
		if err := w.look(ctx); err != nil {
			timer.Reset(wait)
			wait = min(2*wait, mostWait)
			continue
		}
		last, wait = time.Now(), firstWait
		timer.Reset(recheck)
	}
}

// isWriting reports whether what is wanted is being written.
func (w *writer) isWriting() bool {
	w.mu.Lock()
	same := w.number == w.queued
	w.mu.Unlock()
	return same && !w.queue.idle()
}

// look compares once. An error means that it could not.
func (w *writer) look(ctx context.Context) error {
	w.mu.Lock()
	wanted, number, lead := w.wanted, w.number, w.lead
	w.mu.Unlock()
	if wanted == nil || lead == nil {
		return nil
	}
	tasks, err := w.compare(ctx, wanted)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // nobody writes any more
	}
	w.mu.Lock()
	news := w.notes(err)
	if err == nil && w.lead == lead { // not another lead's
		w.queue.put(lead, tasks)
		w.queued, w.refused = number, w.rendered.objects.Refused
	}
	w.mu.Unlock()
	if news {
		w.c.o.Problem(err)
	}
	w.tells()
	return err
}

// notes notes why the two cannot be compared, nil: they were, and reports whether that
// is news. w.mu is held.
func (w *writer) notes(err error) (news bool) {
	if err == nil {
		w.problem = fault{}
		return false
	}
	news = w.problem.err == nil || w.problem.err.Error() != err.Error()
	if w.problem.err == nil {
		w.problem.since = time.Now()
	}
	w.problem.err = err
	return news
}
