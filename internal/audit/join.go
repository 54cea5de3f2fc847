package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/store"
)

// maxPeers bounds the writers that are kept in memory.
const maxPeers = 1000

// peer is another writer, as the store shows it.
type peer struct {
	record
	due    string    // why it is to be joined at once; empty: it is not
	joined time.Time // when it was joined last
	at     uint64    // and up to which entry
}

// recordOf reads a writer's record, and warns of one that its key did not sign.
func (m *mirror) recordOf(e store.Entry) (r record, ok bool) {
	err := json.Unmarshal(e.Value, &r)
	if err == nil {
		err = r.check()
	}
	if err == nil && r.Head.Writer != strings.TrimPrefix(e.Key, headsPrefix) {
		err = fmt.Errorf("a head of %s", r.Head.Writer)
	}
	if err != nil {
		m.warnOnce(e.Key, "audit: the store has no true head at "+clip(e.Key)+": "+clip(err.Error()))
	}
	return r, err == nil
}

// meet takes in what the store tells of other writers.
func (m *mirror) meet(events []store.Event, now time.Time) {
	for _, e := range events {
		if e.Deleted || e.Key == headsPrefix+m.writer.String() {
			continue
		}
		r, ok := m.recordOf(e.Entry)
		if !ok {
			continue
		}
		p := m.peers[r.Head.Writer]
		switch {
		case p == nil && len(m.peers) >= maxPeers:
			m.warnOnce(headsPrefix, fmt.Sprintf("audit: the store has over %d writers: remove those that ended from %s", maxPeers, headsPrefix))
		case p == nil:
			m.peers[r.Head.Writer] = &peer{record: r, due: "seen for the first time"}
		case r.Head.Sequence < p.Head.Sequence:
			m.warnOnce(e.Key+" back", fmt.Sprintf("audit: the head of %s went back from entry %d to %d", r.Head.Writer, p.Head.Sequence, r.Head.Sequence))
		default:
			if r.Head.At.Sub(p.Head.At) > 3*m.l.o.Heartbeat {
				p.due = "after it was away"
			}
			p.record = r
		}
	}
}

// wanted says why a peer is to be joined now; empty: it is not.
func (p *peer) wanted(now time.Time, every, least time.Duration) string {
	since := now.Sub(p.joined)
	switch {
	case p.due != "" && (p.joined.IsZero() || since >= least):
		return p.due
	case p.News > p.at && since >= every:
		return "as it is now"
	}
	return ""
}

// join appends an entry for each peer that is to be joined: what it names cannot
// be dropped or changed any more in the other's chain without being seen. Where
// the disk does not take it, the next round tries again.
func (m *mirror) join(ctx context.Context, now time.Time) {
	var names []string
	for name := range m.peers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		p := m.peers[name]
		why := p.wanted(now, m.l.o.JoinEvery, m.l.o.Heartbeat)
		if why == "" || name == m.writer.String() {
			continue
		}
		e := own(KindJoin, name, why, p.Witness)
		// One entry for one head: a chain that has ended is joined once for all.
		e.ID = fmt.Sprintf("join %s %d %d", name, p.Head.Sequence, p.Head.At.UnixMicro())
		if _, err := m.l.append(ctx, e); err != nil {
			return
		}
		p.due, p.joined, p.at = "", now, p.Head.Sequence
	}
}
