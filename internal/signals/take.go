package signals

import (
	"errors"
	"fmt"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/signals/signalsv1"
)

// mostAtOnce is the most that one row may have counted since its last report: an
// hour of a million requests a second.
const mostAtOnce = 3_600_000_000

var (
	errReporters = fmt.Errorf("there are %d reporters already", MostReporters)
	errRows      = fmt.Errorf("its reporter has %d rows, or all together %d", MostRows, mostRowsOfAll)
	errVersions  = fmt.Errorf("there are %d versions already", mostVersions)
)

// outcome is what became of a report that was not refused.
type outcome struct {
	fresh bool // it was newer than what is known
	news  bool // and had something that was not known
	bad   bool // bad answers, for one
}

func (o *outcome) add(p outcome) {
	o.fresh, o.news, o.bad = o.fresh || p.fresh, o.news || p.news, o.bad || p.bad
}

// take takes in a report that check let pass, all of it or nothing.
func (h *Hub) take(m *signalsv1.Report, tallies []tally, now time.Time) (outcome, error) {
	var out outcome
	r := h.reporters[m.Reporter]
	if r != nil && m.Epoch < r.epoch {
		return out, nil
	}
	if r != nil && m.Epoch > r.epoch { // it has begun anew
		h.forget(r) // what it counted stays counted
		r = nil
	}
	bases, err := h.bases(r, m, tallies, now)
	if err != nil {
		return out, err
	}
	if r == nil {
		r = &reporter{name: m.Reporter, epoch: m.Epoch, rows: map[rowName]*hubRow{}}
		h.reporters[m.Reporter] = r
	}
	if m.Sequence > r.sequence {
		r.sequence, r.lastSeen, out.fresh = m.Sequence, now, true
	}
	for i, c := range m.Counts {
		if bases[i] != nil {
			out.add(h.row(r, m, c, &tallies[i], bases[i], now))
		}
	}
	if m.BreakersKnown && m.Sequence > r.breakersAt {
		r.breakersAt, r.relayed, out.fresh = m.Sequence, false, true
		r.breakers = make(map[string]string, len(m.Breakers))
		for _, b := range m.Breakers {
			r.breakers[b.Key] = b.State
		}
	}
	return out, nil
}

// bases returns for each row of a report what of it has been counted; nil: it is
// not newer than what is known. An error says that there is no room, or that a
// count is less than it was.
func (h *Hub) bases(r *reporter, m *signalsv1.Report, tallies []tally, now time.Time) ([]*tally, error) {
	known := map[rowName]*hubRow(nil)
	if r != nil {
		known = r.rows
	}
	rows, versions := 0, map[Version]bool{}
	out := make([]*tally, len(m.Counts))
	for i, c := range m.Counts {
		row := known[nameOf(c)]
		if row == nil {
			rows++
		}
		if v := versionOf(c); h.versions[v] == nil {
			versions[v] = true
		}
		base := h.base(r, row, m, c, &tallies[i], now)
		if base == nil {
			continue
		}
		if err := tallies[i].follows(base); err != nil {
			return nil, fmt.Errorf("version %q of %q: %w", c.Version, c.Model, err)
		}
		out[i] = base
	}
	switch {
	case r == nil && len(h.reporters) >= MostReporters:
		return nil, errReporters
	case len(known)+rows > MostRows, h.rows+rows > mostRowsOfAll:
		return nil, errRows
	case len(h.versions)+len(versions) > mostVersions:
		return nil, errVersions
	}
	return out, nil
}

// base returns what of a row has been counted, by this hub or by somebody else;
// nil: the row is not newer than what is known.
func (h *Hub) base(r *reporter, row *hubRow, m *signalsv1.Report, c *signalsv1.Counts, t *tally, now time.Time) *tally {
	switch {
	case row != nil && (m.Sequence <= row.sequence || c.Since < row.since):
		return nil
	case row != nil && c.Since == row.since && !row.stale:
		return &row.tally
	case row != nil && c.Since == row.since, h.before(r, m, c, now):
		return t
	}
	return new(tally) // a row that is new, or begun again
}

var (
	errShrinks = errors.New("a count is less than it was in the same epoch")
	errGrows   = errors.New("a count has grown by more than anything could have")
)

// follows reports whether a tally can be what became of an earlier one.
func (t *tally) follows(earlier *tally) error {
	for i, n := range t {
		switch {
		case n < earlier[i]:
			return errShrinks
		case n-earlier[i] > mostAtOnce:
			return errGrows
		}
	}
	return nil
}

func versionOf(c *signalsv1.Counts) Version { return Version{c.Model, c.Version} }

// row takes in one row: what it has more than its base counts.
func (h *Hub) row(r *reporter, m *signalsv1.Report, c *signalsv1.Counts, t, base *tally, now time.Time) outcome {
	name := nameOf(c)
	row := r.rows[name]
	if row == nil {
		row = &hubRow{reporter: r, name: name, version: h.version(versionOf(c))}
		r.rows[name] = row
		row.version.rows++
		h.rows++
	}
	more, old := t.since(base), row.times
	row.tally, row.since, row.sequence, row.stale = *t, c.Since, m.Sequence, false
	row.sent, row.received = m.Sent, now
	row.times = rowTimes{c.Generation, c.FirstBad, c.LastBad, c.LastAsked, c.Streak}
	news := row.version.count(row, old, &more)
	h.feed(row, &more, now)
	h.toRelay(row)
	return outcome{fresh: true, news: news, bad: more.bad() > 0}
}

// before reports whether a row that is met for the first time was begun before
// the hub counted. Its age is told by the reporter's own clock, so that two clocks
// that differ make no difference.
func (h *Hub) before(r *reporter, m *signalsv1.Report, c *signalsv1.Counts, now time.Time) bool {
	since := c.Since
	if since == 0 {
		since = m.Epoch
	}
	return r != nil && since <= r.dropped || at(since, m.Sent, now).Before(h.horizon)
}

// at tells by the hub's clock when something was that a report of a moment ago
// (received) tells by its own (sent; 0: the two clocks are one). It is never later
// than the report.
func at(when, sent uint64, received time.Time) time.Time {
	switch {
	case when == 0:
		return time.Time{}
	case sent == 0:
		sent = uint64(max(received.UnixNano(), 0))
	}
	if when >= sent {
		return received
	}
	return received.Add(-time.Duration(sent - when))
}

// version returns what is known of a version, which there is room for.
func (h *Hub) version(v Version) *version {
	known := h.versions[v]
	if known == nil {
		known = &version{name: v, key: breaker.VersionKey(v.Model, v.Name), nodes: map[string]*node{}}
		h.versions[v] = known
	}
	return known
}

// tell says on the channel that something has come: at once where it is bad, else
// at most every changedEvery.
func (h *Hub) tell(bad bool, now time.Time) {
	wait := changedEvery - now.Sub(h.told)
	if bad || wait <= 0 {
		h.told = now
		select {
		case h.changed <- struct{}{}:
		default:
		}
		return
	}
	if h.telling == nil {
		h.telling = time.AfterFunc(wait, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.telling = nil
			h.tell(true, time.Now())
		})
	}
}

// sweep forgets reporters and versions that have said nothing for long.
func (h *Hub) sweep(now time.Time) {
	h.swept = now
	for _, r := range h.reporters {
		if now.Sub(r.lastSeen) >= forgetAfter {
			// Should it come back, its rows are known to have been counted.
			h.horizon = later(h.horizon, r.lastSeen.Add(time.Minute))
			h.forget(r)
			continue
		}
		for name, row := range r.rows {
			if now.Sub(row.received) >= forgetAfter {
				r.dropped = max(r.dropped, row.since)
				row.version.rows--
				h.rows--
				delete(r.rows, name)
			}
		}
	}
	for v, known := range h.versions {
		for name, n := range known.nodes {
			if now.Sub(n.seen) >= forgetVersion {
				delete(known.nodes, name)
			}
		}
		if known.rows == 0 && len(known.nodes) == 0 && !known.pending.any {
			delete(h.versions, v)
		}
	}
}

// forget drops a reporter and its rows, not what they counted.
func (h *Hub) forget(r *reporter) {
	h.rows -= len(r.rows)
	for _, row := range r.rows {
		row.version.rows--
	}
	delete(h.reporters, r.name)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
