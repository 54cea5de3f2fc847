package signals

import (
	"errors"
	"fmt"

	"github.com/safestate/safestate/internal/signals/signalsv1"
	"github.com/safestate/safestate/internal/signals/slot"
	"github.com/safestate/safestate/internal/verdict"
)

const (
	// Places is into how many places callers are put, by a hash of who they are.
	Places = slot.Places
	// Buckets is how many buckets latencies have: bucket i holds those of less
	// than 2^i ms, the last one all others (262 s and more).
	Buckets = slot.Buckets
	// detectorSlots is more than there are detectors; the last slot takes those
	// of a reporter that is newer than this build.
	detectorSlots = 16
)

// Where a tally's counts are. Clean and bad answers are counted by caller only:
// their sums are sums over the places.
const (
	askedAt = iota
	observedAt
	callerErrorsAt
	fallbacksAt
	detectorsAt
	latencyAt = detectorsAt + detectorSlots
	cleanAt   = latencyAt + Buckets
	badAt     = cleanAt + Places
	tallySize = badAt + Places
)

// tally is everything that is counted of one row, or of one version.
type tally [tallySize]uint64

func (t *tally) add(o *tally) {
	for i := range t {
		t[i] += o[i]
	}
}

// since returns what has come since an earlier tally, which is nowhere larger.
func (t *tally) since(earlier *tally) tally {
	var d tally
	for i := range t {
		d[i] = t[i] - earlier[i]
	}
	return d
}

func (t *tally) sum(from, n int) uint64 {
	var s uint64
	for _, v := range t[from : from+n] {
		s += v
	}
	return s
}

func (t *tally) clean() uint64 { return t.sum(cleanAt, Places) }
func (t *tally) bad() uint64   { return t.sum(badAt, Places) }

func slotOf(detector string) int {
	for i, d := range verdict.Detectors {
		if string(d) == detector {
			return i
		}
	}
	return detectorSlots - 1
}

func detectorAt(slot int) string {
	if slot < len(verdict.Detectors) {
		return string(verdict.Detectors[slot])
	}
	return other
}

// write fills the counts of a message.
func (t *tally) write(c *signalsv1.Counts) {
	c.Asked, c.Observed, c.CallerErrors, c.Fallbacks = t[askedAt], t[observedAt], t[callerErrorsAt], t[fallbacksAt]
	c.Clean, c.Bad = t.clean(), t.bad()
	for i, n := range t[detectorsAt : detectorsAt+detectorSlots] {
		if n == 0 {
			continue
		}
		if c.Detectors == nil {
			c.Detectors = map[string]uint64{}
		}
		c.Detectors[detectorAt(i)] += n
	}
	for last := Buckets - 1; last >= 0; last-- {
		if t[latencyAt+last] > 0 {
			c.Latency = append(c.Latency, t[latencyAt:latencyAt+last+1]...)
			break
		}
	}
	for i := range Places {
		if clean, bad := t[cleanAt+i], t[badAt+i]; clean > 0 || bad > 0 {
			c.Callers = append(c.Callers, &signalsv1.Caller{Place: uint32(i), Clean: clean, Bad: bad})
		}
	}
}

// Bounds of a message's parts.
const (
	mostCount     = 1 << 53 // of anything: what JSON can still say
	mostDetectors = 64
)

var (
	errAbsurd    = errors.New("a count is larger than anything could have been counted")
	errCallers   = errors.New("clean and bad are not the sums of what callers has")
	errPlace     = errors.New("a caller's place is not one of 0 to 63, each once")
	errDetectors = errors.New("too many detectors")
)

// read takes the counts of a message.
func (t *tally) read(c *signalsv1.Counts) error {
	t[askedAt], t[observedAt], t[callerErrorsAt], t[fallbacksAt] = c.Asked, c.Observed, c.CallerErrors, c.Fallbacks
	if len(c.Detectors) > mostDetectors {
		return errDetectors
	}
	if len(c.Latency) > Buckets {
		return fmt.Errorf("latency has %d buckets, at most %d are known", len(c.Latency), Buckets)
	}
	for name, n := range c.Detectors {
		if n > mostCount {
			return errAbsurd
		}
		t[detectorsAt+slotOf(name)] += n
	}
	copy(t[latencyAt:], c.Latency)
	var seen uint64
	for _, p := range c.Callers {
		if p.Place >= Places || seen&(1<<p.Place) != 0 {
			return errPlace
		}
		seen |= 1 << p.Place
		t[cleanAt+int(p.Place)], t[badAt+int(p.Place)] = p.Clean, p.Bad
	}
	for _, n := range t {
		if n > mostCount {
			return errAbsurd
		}
	}
	if c.Clean != t.clean() || c.Bad != t.bad() {
		return errCallers
	}
	return nil
}
