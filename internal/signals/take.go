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
	errReporters = fmt.Errorf("there are %d reporters already, or half as many of its own peer", MostReporters)
	errRows      = fmt.Errorf("its reporter has %d rows, all together %d, or its peer half of those", MostRows, mostRowsOfAll)
	errVersions  = fmt.Errorf("there are %d versions already that the configuration does not name, or half as many of its own peer", mostVersions)
	errModel     = errors.New("the configuration names no such model")
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

// take takes in a report that check let pass: nothing of it with an error, else all
// but the rows for which there is no room. Those may come again, with all that they
// have counted by then.
func (h *Hub) take(peer string, m *signalsv1.Report, tallies []tally, now time.Time) (outcome, error) {
	var out outcome
	old := h.reporters[m.Reporter]
	if old != nil && m.Epoch < old.epoch {
		return out, nil
	}
	r := old
	if old != nil && m.Epoch > old.epoch {
		r = nil // it has begun anew
	}
	bases, err := h.bases(r, m, tallies, now)
	if err == nil && old == nil && (len(h.reporters) >= MostReporters || !hasRoom(h.shareOf(peer).reporters, MostReporters)) {
		err = errReporters
	}
	if err != nil {
		return out, err
	}
	if r == nil {
		if old != nil {
			h.forget(old) // what it counted stays counted
		}
		r = &reporter{name: m.Reporter, peer: peer, epoch: m.Epoch, rows: map[rowName]*hubRow{}}
		h.reporters[m.Reporter] = r
		h.charge(peer, share{reporters: 1})
	}
	r.inProxy = r.inProxy || m.InProxy
	if m.Sequence >= r.sequence && m.Kills != "" { // a relay's may come in several
		r.stopped = stopped{m.Kills, m.InFlight}
	}
	if m.Sequence > r.sequence {
		r.sequence, r.ended, r.signed, out.fresh = m.Sequence, m.Ends, false, true
		r.lastSeen = later(r.lastSeen, now.Add(-time.Duration(m.Held)))
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
// not newer than what is known, or of no model that is. An error says that a count
// is less than it was.
func (h *Hub) bases(r *reporter, m *signalsv1.Report, tallies []tally, now time.Time) ([]*tally, error) {
	known := map[rowName]*hubRow(nil)
	if r != nil {
		known = r.rows
	}
	out := make([]*tally, len(m.Counts))
	for i, c := range m.Counts {
		if !h.configured(c.Model) {
			h.leaveOut(c, errModel)
			continue
		}
		base := h.base(r, known[nameOf(c)], m, c, &tallies[i], now)
		if base == nil {
			continue
		}
		if err := tallies[i].follows(base); err != nil {
			return nil, fmt.Errorf("version %q of %q: %w", c.Version, c.Model, err)
		}
		out[i] = base
	}
	return out, nil
}

// leaveOut notes a row that is not taken in.
func (h *Hub) leaveOut(c *signalsv1.Counts, why error) {
	h.stats.LeftOut++
	h.stats.LastLeftOut = fmt.Sprintf("version %q of %q: %s", fit(c.Version), fit(c.Model), why)
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
		var err error
		if row, err = h.newRow(r, name, c); err != nil {
			h.leaveOut(c, err)
			return outcome{}
		}
	}
	more, old := t.since(base), row.times
	row.tally, row.since, row.sequence, row.stale = *t, c.Since, m.Sequence, false
	row.sent, row.received = m.Sent, now
	row.times = rowTimes{c.Generation, c.Policy, c.Kills, c.Marked, c.FirstBad, c.LastBad, c.LastAsked, c.Streak}
	news := h.count(row, old, &more)
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

// newRow makes a row of a reporter; the error says that there is no room.
func (h *Hub) newRow(r *reporter, name rowName, c *signalsv1.Counts) (*hubRow, error) {
	if len(r.rows) >= MostRows || h.rows >= mostRowsOfAll || !hasRoom(h.shareOf(r.peer).rows, mostRowsOfAll) {
		return nil, errRows
	}
	v := h.versions[versionOf(c)]
	if v == nil {
		v = &version{name: versionOf(c), key: breaker.VersionKey(c.Model, c.Version), nodes: map[string]*node{}, hosts: map[*reporter]int{}}
		if v.named = h.names(v.name); !v.named {
			if h.strays >= mostVersions || !hasRoom(h.shareOf(r.peer).strays, mostVersions) {
				return nil, errVersions
			}
			v.peer = r.peer
			h.stray(v, 1)
		}
		h.versions[v.name] = v
	}
	row := &hubRow{reporter: r, name: name, version: v}
	r.rows[name] = row
	v.hosts[r]++
	h.rows++
	h.charge(r.peer, share{rows: 1})
	return row, nil
}

// dropRow forgets a row, not what it counted.
func (h *Hub) dropRow(row *hubRow) {
	r, v := row.reporter, row.version
	delete(r.rows, row.name)
	if v.hosts[r]--; v.hosts[r] == 0 {
		delete(v.hosts, r)
	}
	h.rows--
	h.charge(r.peer, share{rows: -1})
}

// tell says on the channel that something has come: at once where it is bad, else
// at most every changedEvery.
func (h *Hub) tell(bad bool, now time.Time) {
	if h.isClosing() {
		return
	}
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
		for _, row := range r.rows {
			if now.Sub(row.received) >= forgetAfter {
				r.dropped = max(r.dropped, row.since)
				h.dropRow(row)
			}
		}
	}
	for v, known := range h.versions {
		for name, n := range known.nodes {
			if now.Sub(n.seen) >= forgetVersion {
				delete(known.nodes, name)
				h.nodes--
			}
		}
		if len(known.hosts) == 0 && len(known.nodes) == 0 && !known.pending.any {
			if !known.named {
				h.stray(known, -1)
			}
			delete(h.versions, v)
		}
	}
}

// forget drops a reporter and its rows, not what they counted.
func (h *Hub) forget(r *reporter) {
	for _, row := range r.rows {
		h.dropRow(row)
	}
	delete(h.reporters, r.name)
	h.charge(r.peer, share{reporters: -1})
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
