package controller

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// rank is what comes first where not all can be written at once.
type rank int

const (
	rankStop    rank = iota // stops what is killed
	rankBase                // what all routes of a place need, stops too
	rankWeights             // moves traffic
	rankRest
)

// task brings one object to what is wanted of it.
type task struct {
	key    string // of the object: it has one task
	mark   string // says what is wanted: what could not be written is tried at once where that is another one
	rank   rank
	routes []string // that are not as they should be before it is done
	models []string // the same
	do     func(context.Context) error

	plan  uint64 // in which it is
	tries int    // that failed
}

// failure is why an object could not be written.
type failure struct {
	*task
	err   error
	since time.Time
	next  time.Time // when it is tried again
	wait  time.Duration
}

const (
	// A failure waits for firstWait, and each time twice as long, up to mostWait.
	firstWait = 500 * time.Millisecond
	mostWait  = 30 * time.Second
	// probe is how often one of those that failed is tried before its time while
	// nothing is known that can be written: all of them may be refused for one reason,
	// which is over.
	probe = 2 * time.Second

	// writesAtOnce bounds the objects that are written at a time, stopsAtOnce does where
	// these are stops, and retriesAtOnce those of them that have failed before.
	writesAtOnce  = 8
	stopsAtOnce   = 12
	retriesAtOnce = 4
)

// queue writes objects, several at a time and each by itself: one that cannot be
// written, or takes long, holds up no other. It is safe for concurrent use.
type queue struct {
	told func(error) // hears why an object cannot be written, the same once
	done func()      // hears that something was written, or could not be
	look func()      // hears that what is wanted is to be compared anew

	mu    sync.Mutex
	ctx   context.Context //nolint:containedctx // of the lead: it ends all calls
	plan  uint64
	fresh []*task             // not tried yet, the most urgent first
	late  map[string]*failure // by key; also what is tried again now
	busy  map[string]*task    // by key
	fails bool                // the last one that ended did
	tried time.Time           // when one failed last, or was tried again
	timer *time.Timer
	work  sync.WaitGroup
}

func newQueue(told func(error), done, look func()) *queue {
	return &queue{told: told, done: done, look: look, late: map[string]*failure{}, busy: map[string]*task{}}
}

// put has these tasks done, and none of those before that nobody has begun. ctx is
// that of the lead.
func (q *queue) put(ctx context.Context, tasks []*task) {
	q.mu.Lock()
	q.ctx = ctx
	q.plan++
	late := map[string]*failure{}
	q.fresh = nil
	for _, t := range tasks {
		t.plan = q.plan
		f, busy := q.late[t.key], q.busy[t.key]
		switch {
		case busy != nil && busy.mark == t.mark: // when it ends all is compared anew
			if f != nil {
				late[t.key] = f
			}
		case f != nil && f.mark == t.mark:
			t.tries, f.task = f.tries, t
			late[t.key] = f
		default:
			q.fresh = append(q.fresh, t)
		}
	}
	q.late = late
	slices.SortFunc(q.fresh, func(a, b *task) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.key, b.key)) })
	q.begin()
	q.mu.Unlock()
}

// end forgets what there is to do. What has begun ends with the lead's context.
func (q *queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fresh, q.late = nil, map[string]*failure{}
	q.begin()
}

// begin begins what may be, and looks again when more may be. q.mu is held.
func (q *queue) begin() {
	if q.timer != nil {
		q.timer.Stop()
	}
	now := time.Now()
	for t := q.next(now); t != nil && q.ctx.Err() == nil; t = q.next(now) {
		ctx := q.ctx
		q.busy[t.key] = t
		q.work.Go(func() { q.ended(ctx, t, t.do(ctx)) })
	}
	if f, at := q.soonest(); f != nil && at.After(now) {
		q.timer = time.AfterFunc(at.Sub(now), func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.begin()
		})
	}
}

// next takes the most urgent task that may begin; nil: none may. q.mu is held.
func (q *queue) next(now time.Time) *task {
	retries := 0
	for _, t := range q.busy {
		if t.tries > 0 {
			retries++
		}
	}
	if f := q.dueStop(now); f != nil && retries < retriesAtOnce && len(q.busy) < stopsAtOnce {
		q.tried = now
		return f.task
	}
	for i, t := range q.fresh {
		if len(q.busy) >= writesAtOnce && (t.rank != rankStop || len(q.busy) >= stopsAtOnce) {
			return nil
		}
		if q.busy[t.key] == nil {
			q.fresh = slices.Delete(q.fresh, i, i+1)
			return t
		}
	}
	f, at := q.soonest()
	if f == nil || at.After(now) || retries >= retriesAtOnce || len(q.busy) >= writesAtOnce {
		return nil
	}
	q.tried = now
	return f.task
}

// dueStop is a stop that has failed and may be tried again; nil: none may. It waits for
// nothing that is less urgent. q.mu is held.
func (q *queue) dueStop(now time.Time) (out *failure) {
	for _, f := range q.late {
		if f.rank == rankStop && q.busy[f.key] == nil && !f.next.After(now) && (out == nil || f.next.Before(out.next)) {
			out = f
		}
	}
	return out
}

// soonest is the failure that is tried next, and when that is. q.mu is held.
func (q *queue) soonest() (out *failure, at time.Time) {
	for _, f := range q.late {
		if q.busy[f.key] == nil && (out == nil || cmp.Or(f.next.Compare(out.next), cmp.Compare(f.rank, out.rank), cmp.Compare(f.key, out.key)) < 0) {
			out = f
		}
	}
	if out == nil {
		return nil, at
	}
	if at = out.next; q.fails && q.tried.Add(probe).Before(at) {
		at = q.tried.Add(probe)
	}
	return out, at
}

// ended notes how a task ended.
func (q *queue) ended(ctx context.Context, t *task, err error) {
	var tell error
	q.mu.Lock()
	delete(q.busy, t.key)
	replaced := t.plan != q.plan
	switch {
	case ctx.Err() != nil: // whoever leads next does it
	case err == nil:
		q.succeeded(t)
	default:
		tell = q.failed(t, err)
	}
	q.begin()
	q.mu.Unlock()
	if tell != nil {
		q.told(tell)
	}
	q.done()
	if replaced {
		q.look()
	}
}

// succeeded notes that an object is written. Where it could not be before, the others
// are tried at once: what they were refused for may be over too. q.mu is held.
func (q *queue) succeeded(t *task) {
	q.fails = false
	if q.late[t.key] == nil {
		return
	}
	delete(q.late, t.key)
	for _, f := range q.late {
		f.next = time.Time{}
	}
}

// mostTold is how many objects that cannot be written are told of by name.
const mostTold = 10

// failed notes that an object could not be written, and returns what is to be told of
// it. q.mu is held.
func (q *queue) failed(t *task, err error) (tell error) {
	now := time.Now()
	q.fails, q.tried = true, now
	if slices.ContainsFunc(q.fresh, func(other *task) bool { return other.key == t.key }) {
		return nil // something else is wanted by now
	}
	f := q.late[t.key]
	if f == nil {
		f = &failure{since: now}
		q.late[t.key] = f
	}
	if f.err == nil || f.err.Error() != err.Error() {
		tell = err
	}
	t.tries++
	f.task, f.err = t, err
	f.wait = min(max(2*f.wait, firstWait), mostWait)
	f.next = now.Add(f.wait)
	if len(q.late) > mostTold {
		return nil
	}
	return tell
}

// idle reports whether nothing is to be done now.
func (q *queue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.fresh)+len(q.busy) == 0
}

// errPending is said of what was not tried yet.
var errPending = errors.New("it is not written yet")

// unwritten is why what is wanted cannot be written, by route, and why it is not there
// yet, by model (namespace/name).
func (q *queue) unwritten() (routes, models map[string]error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	routes, models = map[string]error{}, map[string]error{}
	for _, f := range q.failures() {
		blame(routes, f.routes, f.err)
		blame(models, f.models, f.err)
	}
	for _, t := range q.fresh {
		blame(models, t.models, errPending)
	}
	for _, t := range q.busy {
		blame(models, t.models, errPending)
	}
	return routes, models
}

// blame notes an error of those that have none yet.
func blame(all map[string]error, names []string, err error) {
	for _, name := range names {
		if all[name] == nil {
			all[name] = err
		}
	}
}

// failures are sorted by object. q.mu is held.
func (q *queue) failures() []*failure {
	out := make([]*failure, 0, len(q.late))
	for _, f := range q.late {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b *failure) int { return cmp.Compare(a.key, b.key) })
	return out
}
