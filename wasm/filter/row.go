package filter

import (
	"encoding/binary"
	"strings"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/signals/slot"
	"github.com/safestate/safestate/internal/time"
	"github.com/safestate/safestate/internal/verdict"
)

// row counts one version's answers on one route, since it began.
type row struct {
	reporter              *reporter
	route, model, version string
	since                 time.Time

	requests, observations, callerErrors, fallbacks uint64
	detectors                                       []uint64 // as verdict.Detectors has them
	latency                                         [slot.Buckets]uint64
	callers                                         [slot.Places]tally
	generation, streak                              uint64
	firstBad, lastBad, lastAsked                    time.Time
	turned                                          bool // a bad answer came after a while without

	changed bool       // it has counted since it was last reported
	looked  time.Time  // when the generation was looked at
	sample  slot.Place // where clean answers count for the moment
	sampled bool
}

type tally struct{ clean, bad uint64 }

func (w *row) touch() { w.changed, w.reporter.dirty = true, true }

func (w *row) asked(now time.Time) {
	w.requests++
	w.lastAsked = now
	w.touch()
}

func (w *row) seen(generation []byte) {
	w.generation = max(w.generation, generationOf(generation))
}

func (w *row) clean(took time.Duration, by slot.Place) {
	w.streak = 0
	w.latency[slot.OfLatency(took)]++
	w.callers[by%slot.Places].clean++
	w.touch()
}

func (w *row) observed(took time.Duration, by slot.Place) {
	w.observations++
	w.clean(took, by)
}

func (w *row) bad(d verdict.Detector, took time.Duration, by slot.Place, now time.Time) {
	if w.lastBad.IsZero() || now.Sub(w.lastBad) >= spell {
		w.firstBad, w.turned = now, true
	}
	w.lastBad = now
	w.streak++
	for i, name := range verdict.Detectors {
		if name == d {
			w.detectors[i]++
		}
	}
	w.latency[slot.OfLatency(took)]++
	w.callers[by%slot.Places].bad++
	w.touch()
}

func (w *row) callerError() {
	w.callerErrors++
	w.touch()
}

func (w *row) fallback() {
	w.fallbacks++
	w.touch()
}

// Field numbers of internal/signals/signalsv1/signals.proto, which a test reads the
// reports by.
const (
	reportReporter      = 1
	reportEpoch         = 2
	reportSequence      = 3
	reportCounts        = 4
	reportBreakers      = 5
	reportSent          = 6
	reportBreakersKnown = 7
	reportInProxy       = 12

	countsNode         = 1
	countsRoute        = 2
	countsModel        = 3
	countsVersion      = 4
	countsGeneration   = 5
	countsAsked        = 6
	countsClean        = 7
	countsBad          = 8
	countsObserved     = 9
	countsCallerErrors = 10
	countsFallbacks    = 11
	countsDetectors    = 12
	countsLatency      = 13
	countsCallers      = 14
	countsFirstBad     = 15
	countsLastAsked    = 16
	countsLastBad      = 17
	countsSince        = 18
	countsStreak       = 19

	callerPlace = 1
	callerClean = 2
	callerBad   = 3

	entryKey   = 1
	entryValue = 2

	breakerKey   = 1
	breakerState = 2
)

// report makes the next report, of rows that have changed, and of the breakers that
// are not closed. rows is never nil.
func (r *reporter) report(now time.Time) (b []byte, rows []*row) {
	r.sequence++
	b = text(nil, reportReporter, r.name)
	b = number(b, reportEpoch, nanos(r.epoch))
	b = number(b, reportSequence, r.sequence)
	b = number(b, reportSent, nanos(now))
	b = number(b, reportBreakersKnown, 1)
	b = number(b, reportInProxy, 1)
	rows = make([]*row, 0, min(len(r.rows), mostRows))
	for _, w := range r.rows {
		if w.changed && len(rows) < mostRows {
			w.changed = false
			rows = append(rows, w)
			b = nested(b, reportCounts, w.encode)
		}
	}
	r.plugin.breakers.Each(func(key string, s breaker.Snapshot) {
		if state := s.Reported(); state != "" && strings.HasPrefix(key, breaker.VersionPrefix) {
			b = nested(b, reportBreakers, func(b []byte) []byte { return text(text(b, breakerKey, key), breakerState, state) })
		}
	})
	return b, rows
}

func (w *row) encode(b []byte) []byte {
	b = text(b, countsNode, w.reporter.node)
	b = text(b, countsRoute, w.route)
	b = text(b, countsModel, w.model)
	b = text(b, countsVersion, w.version)
	b = number(b, countsGeneration, w.generation)
	b = number(b, countsAsked, w.requests)
	var clean, bad uint64
	for i, c := range w.callers {
		if c.clean == 0 && c.bad == 0 {
			continue
		}
		clean, bad = clean+c.clean, bad+c.bad
		b = nested(b, countsCallers, func(b []byte) []byte {
			return number(number(number(b, callerPlace, uint64(i)), callerClean, c.clean), callerBad, c.bad)
		})
	}
	b = number(b, countsClean, clean)
	b = number(b, countsBad, bad)
	b = number(b, countsObserved, w.observations)
	b = number(b, countsCallerErrors, w.callerErrors)
	b = number(b, countsFallbacks, w.fallbacks)
	for i, n := range w.detectors {
		if n > 0 {
			b = nested(b, countsDetectors, func(b []byte) []byte {
				return number(text(b, entryKey, string(verdict.Detectors[i])), entryValue, n)
			})
		}
	}
	b = nested(b, countsLatency, func(b []byte) []byte { // packed
		for _, n := range w.latency {
			b = binary.AppendUvarint(b, n)
		}
		return b
	})
	b = number(b, countsFirstBad, nanos(w.firstBad))
	b = number(b, countsLastAsked, nanos(w.lastAsked))
	b = number(b, countsLastBad, nanos(w.lastBad))
	b = number(b, countsSince, nanos(w.since))
	return number(b, countsStreak, w.streak)
}

// tag begins a field of protobuf's wire form, of which a report needs two types:
// numbers, and bytes behind their length.
//
//go:noinline // at forty places it is 10 KB of the module
func tag(b []byte, field, wireType uint64) []byte { return binary.AppendUvarint(b, field<<3|wireType) }

const (
	wireNumber = 0
	wireBytes  = 2
)

func text(b []byte, field uint64, s string) []byte {
	if s == "" {
		return b
	}
	return append(binary.AppendUvarint(tag(b, field, wireBytes), uint64(len(s))), s...)
}

func number(b []byte, field, n uint64) []byte {
	if n == 0 {
		return b
	}
	return binary.AppendUvarint(tag(b, field, wireNumber), n)
}

func nested(b []byte, field uint64, put func([]byte) []byte) []byte {
	inside := put(nil)
	return append(binary.AppendUvarint(tag(b, field, wireBytes), uint64(len(inside))), inside...)
}

// nanos is a time in nanoseconds since 1970; 0: never.
func nanos(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixNano())
}
