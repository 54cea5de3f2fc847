package signals

import (
	"sync/atomic"
	"time"

	"github.com/safestate/safestate/internal/signals/slot"
	"github.com/safestate/safestate/internal/verdict"
)

// Row counts one version's answers as requests of one route of one proxy met
// them. Its methods are safe for concurrent use, take no lock and allocate
// nothing. A nil Row counts nothing.
//
// All requests of a busy route meet in one row: what each of them reads lies apart
// from what each of them writes, or every core would wait for every other's line.
type Row struct {
	// Read by every request, written now and then.
	reporter   *Reporter
	name       rowName
	since      int64       // by Reporter.stamp, as all times here
	retired    atomic.Bool // the reporter has dropped it
	dirty      atomic.Bool // it has counted since it was last read
	generation atomic.Uint64
	kills      atomic.Uint64 // their mark
	policy     atomic.Uint64 // the head of its digest
	marked     atomic.Int64  // when the request came that these two are of, to askedWithin; 0: none did
	lastAsked  atomic.Int64  // to askedWithin; 0: never
	read       uint64        // the reading that found it dirty last; under the reporter's lock
	readAt     time.Time
	_          [cacheLine]byte

	// Written by bad answers.
	run               atomic.Uint64 // how the answers ended: see runOf
	firstBad, lastBad atomic.Int64  // 0: never
	_                 [cacheLine]byte

	// Written by every request.
	counts [tallySize]atomic.Uint64
}

// cacheLine is no less than a cache line of any machine that this runs on, in
// bytes.
const cacheLine = 128

// runOf takes a row's run apart: how many of its newest answers were bad in a row,
// and how often a clean one has ended such a row.
func runOf(run uint64) (streak, ended uint64) { return run & (1<<32 - 1), run >> 32 }

type rowName struct{ node, route, model, version string }

// spell is how long a version must have been without a bad answer for the next
// one to be told at once.
const spell = time.Second

// Seen notes the generation that the request's route has; 0 is none.
func (w *Row) Seen(generation uint64) {
	if w != nil && grow(&w.generation, generation) {
		w.touch()
	}
}

// SeenMarks notes by which policy and kills the request came, whether or not the
// version is asked then: the head of the policy's digest, and the kills' mark; 0: there
// are none. Of two requests the later one's hold.
func (w *Row) SeenMarks(policy, kills uint64, at time.Time) {
	if w == nil {
		return
	}
	now, old := w.reporter.stamp(at), w.marked.Load()
	same := w.policy.Load() == policy && w.kills.Load() == kills
	if now < old || same && now < old+askedWithin {
		return
	}
	if !same {
		w.policy.Store(policy)
		w.kills.Store(kills)
	}
	w.marked.Store(now) // after what it is of: see message
	w.touch()
}

// grow makes a number at least another, and reports whether it was less.
func grow(n *atomic.Uint64, least uint64) bool {
	for {
		old := n.Load()
		if least <= old {
			return false
		}
		if n.CompareAndSwap(old, least) {
			return true
		}
	}
}

// askedWithin is how exactly a row knows when it was last asked: of a thousand
// requests in a millisecond one writes it down.
const askedWithin = int64(time.Millisecond)

// Asked counts a request that goes to the version.
func (w *Row) Asked(at time.Time) {
	if w == nil {
		return
	}
	w.counts[askedAt].Add(1)
	now := w.reporter.stamp(at)
	// Never back: one that was held up behind its clock is older than the others.
	for old := w.lastAsked.Load(); now >= old+askedWithin && !w.lastAsked.CompareAndSwap(old, now); {
		old = w.lastAsked.Load()
	}
	w.touch()
}

// Clean counts an answer in which no detector that enforces found anything. took
// is the version's time.
func (w *Row) Clean(took time.Duration, caller Place) {
	if w == nil {
		return
	}
	w.endStreak()
	w.counts[latencyAt+slot.OfLatency(took)].Add(1)
	w.counts[cleanAt+int(caller%Places)].Add(1)
	w.touch()
}

// endStreak ends a row of bad answers, of which there is hardly ever one: it is
// read before it is written.
func (w *Row) endStreak() {
	for {
		old := w.run.Load()
		streak, ended := runOf(old)
		if streak == 0 || w.run.CompareAndSwap(old, (ended+1)<<32) {
			return
		}
	}
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
	now := w.reporter.stamp(time.Now())
	before := w.lastBad.Load()
	first := before == 0 || now-before >= int64(spell)
	if first { // before lastBad: whoever finds that finds a first one as well
		w.firstBad.Store(now)
	}
	w.lastBad.Store(now)
	w.run.Add(1)
	w.counts[detectorsAt+slotOf(string(detector))].Add(1)
	w.counts[latencyAt+slot.OfLatency(took)].Add(1)
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
