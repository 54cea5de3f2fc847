package breaker

import "github.com/safestate/safestate/internal/time"

// Counts is what a window holds.
type Counts struct{ Requests, Failures, Slow int }

func (c *Counts) add(failed, slow bool, n int) {
	c.Requests += n
	if failed {
		c.Failures += n
	}
	if slow {
		c.Slow += n
	}
}

// window counts results over the last requests or the last stretch of time.
// Not safe for concurrent use. The zero window counts nothing.
type window struct {
	shape windowShape
	total Counts

	// Over requests: a ring of results, one byte each.
	ring []byte
	next int

	// Over time: a ring of buckets. Bucket i holds the results of the width
	// that starts i widths after start; the window is the present bucket and
	// the timeBuckets-1 before it, so its length is exact to one width.
	start   time.Time
	buckets []Counts
	at      int64 // the number of the newest bucket
}

// timeBuckets cuts a time window into this many buckets.
const timeBuckets = 10

// Bits of a byte of window.ring.
const (
	ringFailed = 1 << iota
	ringSlow
	ringUsed
)

func newWindow(s windowShape, now time.Time) window {
	w := window{shape: s, start: now}
	switch {
	case s.requests > 0:
		w.ring = make([]byte, s.requests)
	case s.time > 0:
		w.buckets = make([]Counts, timeBuckets)
	}
	return w
}

func (w *window) record(failed, slow bool, now time.Time) {
	switch {
	case w.ring != nil:
		w.recordRing(failed, slow)
	case w.buckets != nil:
		w.advance(now)
		w.buckets[w.at%timeBuckets].add(failed, slow, 1)
		w.total.add(failed, slow, 1)
	}
}

func (w *window) recordRing(failed, slow bool) {
	if old := w.ring[w.next]; old&ringUsed != 0 {
		w.total.add(old&ringFailed != 0, old&ringSlow != 0, -1)
	}
	v := byte(ringUsed)
	if failed {
		v |= ringFailed
	}
	if slow {
		v |= ringSlow
	}
	w.ring[w.next] = v
	w.next = (w.next + 1) % len(w.ring)
	w.total.add(failed, slow, 1)
}

// counts returns what the window holds now.
func (w *window) counts(now time.Time) Counts {
	if w.buckets != nil {
		w.advance(now)
	}
	return w.total
}

// advance drops the buckets that have left the window. A clock that goes back
// stays in the newest bucket.
func (w *window) advance(now time.Time) {
	width := max(w.shape.time/timeBuckets, 1)
	n := int64(now.Sub(w.start) / width)
	if n <= w.at {
		return
	}
	for i := max(w.at+1, n-timeBuckets+1); i <= n; i++ {
		b := &w.buckets[i%timeBuckets]
		w.total.Requests -= b.Requests
		w.total.Failures -= b.Failures
		w.total.Slow -= b.Slow
		*b = Counts{}
	}
	w.at = n
}

// reset forgets every result.
func (w *window) reset(now time.Time) {
	clear(w.ring)
	clear(w.buckets)
	w.total, w.next, w.at, w.start = Counts{}, 0, 0, now
}
