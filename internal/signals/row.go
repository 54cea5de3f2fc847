package signals

import (
	"sync/atomic"
	"time"

	"github.com/safestate/safestate/internal/verdict"
)

// Row counts one version's answers as requests of one route of one proxy met
// them. Its methods are safe for concurrent use, take no lock and allocate
// nothing. A nil Row counts nothing.
type Row struct {
	reporter *Reporter
	name     rowName
	since    int64       // Unix nanoseconds
	retired  atomic.Bool // the reporter has dropped it
	dirty    atomic.Bool // it has counted since it was last read

	generation                   atomic.Uint64
	streak                       atomic.Uint64 // bad answers since the last clean one
	lastAsked, firstBad, lastBad atomic.Int64  // Unix nanoseconds; 0: never
	counts                       [tallySize]atomic.Uint64

	read   uint64 // the reading that found it dirty last; under the reporter's lock
	readAt time.Time
}

type rowName struct{ node, route, model, version string }

// spell is how long a version must have been without a bad answer for the next
// one to be told at once.
const spell = time.Second

// Seen notes the generation that the request's route has; 0 is none.
func (w *Row) Seen(generation uint64) {
	if w == nil || generation == 0 {
		return
	}
	for {
		old := w.generation.Load()
		if generation <= old {
			return
		}
		if w.generation.CompareAndSwap(old, generation) {
			w.touch()
			return
		}
	}
}

// Asked counts a request that goes to the version.
func (w *Row) Asked(at time.Time) {
	if w == nil {
		return
	}
	w.counts[askedAt].Add(1)
	w.lastAsked.Store(at.UnixNano())
	w.touch()
}

// Clean counts an answer in which no detector that enforces found anything. took
// is the version's time.
func (w *Row) Clean(took time.Duration, caller Place) {
	if w == nil {
		return
	}
	if w.streak.Load() > 0 { // hardly ever, so it is read before it is written
		w.streak.Store(0)
	}
	w.counts[latencyAt+bucketOf(took)].Add(1)
	w.counts[cleanAt+int(caller%Places)].Add(1)
	w.touch()
}

// Observed counts a clean answer in which a detector that observes found
// something.
func (w *Row) Observed(took time.Duration, caller Place) {
	if w == nil {
		return
	}
	w.counts[observedAt].Add(1)
	w.Clean(took, caller)
}

// Bad counts an answer in which a detector that enforces found something, or one
// that never came. The first one after a while is reported at once.
func (w *Row) Bad(detector verdict.Detector, took time.Duration, caller Place) {
	if w == nil {
		return
	}
	now := time.Now().UnixNano()
	before := w.lastBad.Swap(now)
	first := before == 0 || now-before >= int64(spell)
	if first {
		w.firstBad.Store(now)
	}
	w.streak.Add(1)
	w.counts[detectorsAt+slotOf(string(detector))].Add(1)
	w.counts[latencyAt+bucketOf(took)].Add(1)
	w.counts[badAt+int(caller%Places)].Add(1)
	w.touch()
	if first {
		w.reporter.hurry()
	}
}

// CallerError counts an answer that blames the caller.
func (w *Row) CallerError() {
	if w == nil {
		return
	}
	w.counts[callerErrorsAt].Add(1)
	w.touch()
}

// Fallback counts a request that a rung of the ladder answered in the version's
// place.
func (w *Row) Fallback() {
	if w == nil {
		return
	}
	w.counts[fallbacksAt].Add(1)
	w.touch()
}

// touch marks the row as changed. Both marks are read before they are written:
// between two readings they are set once, and not fought over.
func (w *Row) touch() {
	if !w.dirty.Load() {
		w.dirty.Store(true)
	}
	if !w.reporter.dirty.Load() {
		w.reporter.dirty.Store(true)
	}
}

// tally reads the counts. Each is what it was at some moment of the call, and
// never less than at an earlier one.
func (w *Row) tally() *tally {
	var t tally
	for i := range t {
		t[i] = w.counts[i].Load()
	}
	return &t
}
