package signals

import (
	"maps"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/signals/signalsv1"
)

const (
	// rowsAReport keeps a report under mostBytes: a row takes 3.5 KiB at the
	// most.
	rowsAReport = 200
	// mostBytes is the largest report that a hub takes.
	mostBytes = 1 << 20
	// mostBreakers bounds the breakers that a report names.
	mostBreakers = 1024
	// breakersEvery is how often the host's breakers are looked at.
	breakersEvery = time.Second
)

// reports makes the reports for a link that has seen the rows of an earlier
// reading, and returns the number of this one: all rows (whole), or those that
// have counted since. There is none where nothing has.
//
// The number of a report is drawn and the rows are read under one lock, so that
// of two reports that name a row the later one never has less.
func (r *Reporter) reports(now time.Time, seen uint64, whole bool) ([]*signalsv1.Report, uint64) {
	r.reading.Lock()
	defer r.reading.Unlock()
	if r.breakers.look(r.o.Breakers, now) {
		r.readings++
		r.breakers.changed = r.readings
	}
	rows := r.read(now, seen, whole)
	if whole {
		r.drop(now)
	}
	named := whole || r.breakers.changed > seen
	if len(rows) == 0 && !named {
		return nil, r.readings
	}
	var out []*signalsv1.Report
	for first := true; first || len(rows) > 0; first = false {
		n := min(len(rows), rowsAReport)
		m := r.next(now)
		m.Counts = make([]*signalsv1.Counts, n)
		if first && named {
			m.Breakers, m.BreakersKnown = r.breakers.list(), true
		}
		for i, row := range rows[:n] {
			m.Counts[i] = row.message()
		}
		rows = rows[n:]
		out = append(out, m)
	}
	return out, r.readings
}

// next makes an empty report. The reporter's reading lock is held.
func (r *Reporter) next(now time.Time) *signalsv1.Report {
	r.sequence++
	k := r.stopped()
	return &signalsv1.Report{Reporter: r.name, Epoch: uint64(r.wall), Sequence: r.sequence, Sent: uint64(r.stamp(now)), Kills: k.set, InFlight: k.open}
}

// sign makes a report that says nothing but that the reporter lives, or that it
// ends.
func (r *Reporter) sign(now time.Time, ends bool) *signalsv1.Report {
	r.reading.Lock()
	defer r.reading.Unlock()
	m := r.next(now)
	m.Ends = ends
	return m
}

// read returns the rows that have counted after a reading, or all, once it has
// noted those that have counted since the last one.
func (r *Reporter) read(now time.Time, seen uint64, whole bool) []*Row {
	dirty := r.dirty.Swap(false)
	if !dirty && !whole && seen == r.readings {
		return nil
	}
	r.readings++
	var out []*Row
	for _, row := range r.rows.list() {
		if row.dirty.Swap(false) || row.readAt.IsZero() {
			row.read, row.readAt = r.readings, now
		}
		if whole || row.read > seen {
			out = append(out, row)
		}
	}
	return out
}

func (w *Row) message() *signalsv1.Counts {
	run := w.run.Load()
	marked := w.marked.Load() // before the marks, so that none is told as newer than it is
	t := w.tally()            // before the times: a bad answer has one before it is counted
	c := &signalsv1.Counts{
		Node: w.name.node, Route: w.name.route, Model: w.name.model, Version: w.name.version,
		Generation: w.generation.Load(), Policy: w.policy.Load(), Kills: w.kills.Load(), Marked: uint64(marked), Since: uint64(w.since),
		FirstBad: uint64(w.firstBad.Load()), LastBad: uint64(w.lastBad.Load()), LastAsked: uint64(w.lastAsked.Load()),
		Streak: lasting(run, w.run.Load()),
	}
	t.write(c)
	return c
}

// lasting is the streak of two readings of a row's run, between which its counts
// were read. Where a clean answer came in between there is none: the bad ones that
// were read may be from before it.
func lasting(before, after uint64) uint64 {
	streak, ended := runOf(before)
	if _, now := runOf(after); now != ended {
		return 0
	}
	return streak
}

// breakerStates are the host's breakers of versions that are not closed, as they
// were found last. The reporter's reading lock guards it.
type breakerStates struct {
	looked  time.Time
	states  map[string]string
	changed uint64 // the reading after which they changed
}

// look finds the states anew, not more often than breakersEvery, and reports
// whether they have changed.
func (b *breakerStates) look(set *breaker.Set, now time.Time) bool {
	if set == nil || !b.looked.IsZero() && now.Sub(b.looked) < breakersEvery {
		return false
	}
	b.looked = now
	found := map[string]string{}
	set.Each(func(key string, s breaker.Snapshot) {
		if state := s.Reported(); state != "" && strings.HasPrefix(key, breaker.VersionPrefix) && len(found) < mostBreakers {
			found[fit(key)] = state
		}
	})
	if maps.Equal(found, b.states) {
		return false
	}
	b.states = found
	return true
}

func (b *breakerStates) list() []*signalsv1.Breaker {
	var out []*signalsv1.Breaker
	for key, state := range b.states {
		out = append(out, &signalsv1.Breaker{Key: key, State: state})
	}
	return out
}

// Names of the states in reports.
const (
	stateOpen     = breaker.ReportedOpen
	stateHalfOpen = breaker.ReportedHalfOpen
	stateRamp     = breaker.ReportedRamp
)
