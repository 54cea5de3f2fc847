package signals

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/internal/signals/signalsv1"
)

const (
	// MostReporters bounds the reporters that a hub remembers, and the streams
	// that it has open.
	MostReporters = 10_000
	// mostRowsOfAll bounds the rows of all reporters together: 150 MB.
	mostRowsOfAll = 100_000
	// mostVersions bounds the versions that a hub knows beside those that the
	// configuration names.
	mostVersions = 4096
	// mostNodes bounds what it knows of the proxies of one version, mostNodesOfAll
	// of all together: 20 MB.
	mostNodes, mostNodesOfAll = 10_000, 100_000
	// forgetAfter is how long a reporter may be silent. One that lives reports
	// every ten seconds.
	forgetAfter = 15 * time.Minute
	// forgetVersion is the same for a version without a reporter, and for the
	// proxies of one.
	forgetVersion = 24 * time.Hour
	sweepEvery    = time.Minute
	// changedEvery is how often Changed tells of what is not bad.
	changedEvery = 100 * time.Millisecond
)

// HubOptions are what a Hub needs; all may be left out.
type HubOptions struct {
	// OnReport is given every report that was taken in, in that order, under the
	// hub's lock: it must not wait, nor call the hub. The report is not to be
	// changed.
	OnReport func(*signalsv1.Report)
	// Identity returns the names that the transport has proven of a peer, and
	// whether it proves any. One peer gets no more than half of what there is room
	// for; nil: nobody is told apart.
	Identity func(context.Context) (names []string, proven bool)
}

// Hub takes the reports of all hosts. It is safe for concurrent use.
type Hub struct {
	signalsv1.UnimplementedSignalsServer

	o       HubOptions
	changed chan struct{}
	closing chan struct{}
	closed  sync.Once

	mu        sync.Mutex
	reporters map[string]*reporter
	rows      int
	nodes     int // of all versions
	versions  map[Version]*version
	strays    int // versions that the configuration does not name
	peers     map[string]*share
	models    map[string][]string // that the configuration names, with their versions; nil: not known
	// began is since when the hub listens, for whoever asks it now.
	began time.Time
	// horizon is when the counting began: rows that were begun before and are met
	// afterwards have been counted by somebody else, or before, and say nothing.
	horizon time.Time
	swept   time.Time
	told    time.Time   // when changed was last written to
	telling *time.Timer // nil: none is waiting
	stats   Stats

	boxes  map[*mailbox]struct{}
	shared shared
	relay  *Relay // nil: nobody is told
}

// Version names a version of a model; Name is empty where none was chosen.
type Version struct{ Model, Name string } // Model: namespace/name

// reporter is what is known of one.
type reporter struct {
	name     string
	peer     string // that it was first heard of by
	epoch    uint64
	sequence uint64    // of the newest report
	lastSeen time.Time // when that was made, as far as is known
	ended    bool      // it counts nothing more
	signed   bool      // the relay has said that it lives, or ended
	stopped  stopped   // what it says of kills
	inProxy  bool      // it is a part of a proxy
	rows     map[rowName]*hubRow
	// dropped is the newest beginning of a row that was forgotten: one that comes
	// back with it has been counted.
	dropped    uint64
	breakers   map[string]string
	breakersAt uint64 // the sequence that brought them
	relayed    bool   // the relay has the breakers
}

// hubRow is the newest of one row.
type hubRow struct {
	reporter *reporter
	name     rowName
	version  *version
	since    uint64
	sequence uint64
	tally    tally
	times    rowTimes
	sent     uint64    // of the report, by its own clock
	received time.Time // of the report
	stale    bool      // somebody else may have counted what has come since
	waiting  bool      // for the relay
}

// rowTimes are a row's times, and what else is not added up, as its message has
// them.
type rowTimes struct{ generation, policy, kills, marked, firstBad, lastBad, lastAsked, streak uint64 }

// Stats counts reports by what became of them, and what the hub knows.
type Stats struct {
	Taken   uint64 // newer than what was known
	Old     uint64 // came twice, or too late
	Refused uint64
	// LastRefused is why the last one was refused, and whose it was.
	LastRefused string
	// LeftOut counts rows of reports that were taken in without them: there was no
	// room, or the configuration does not name their model. LastLeftOut says of the
	// last one why.
	LeftOut                      uint64
	LastLeftOut                  string
	Reporters, Rows, Connections int
}

// NewHub makes a hub that counts from now on.
func NewHub(o HubOptions) *Hub {
	now := time.Now()
	h := &Hub{
		o: o, changed: make(chan struct{}, 1), closing: make(chan struct{}),
		reporters: map[string]*reporter{}, versions: map[Version]*version{}, boxes: map[*mailbox]struct{}{}, peers: map[string]*share{},
		horizon: now, swept: now, began: now,
	}
	h.shared.init()
	return h
}

// Close ends the streams. A gRPC server that stops gracefully would wait for
// them.
func (h *Hub) Close() {
	h.closed.Do(func() { close(h.closing) })
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shared.stop()
	if h.telling != nil {
		h.telling.Stop()
	}
}

func (h *Hub) isClosing() bool {
	select {
	case <-h.closing:
		return true
	default:
		return false
	}
}

// Begin drops what has not been taken and has the hub count from now on: rows
// that it meets later and that were begun before are known to somebody else. A
// control plane calls it when it begins to lead, since the one that led before has
// counted what was. The next Take says when each version was last asked, which is
// no count.
//
// What the one that led before counted and did not store any more is lost, as are
// answers of rows that came between its end and this call: nothing counts twice,
// and a decision that was one answer short begins anew. Rows that are reported to
// this hub anyway lose nothing that comes after the call.
func (h *Hub) Begin(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.horizon, h.began = now, now
	for _, v := range h.versions {
		v.pending = pending{any: !v.lastAsked.IsZero()}
	}
	for _, r := range h.reporters {
		for _, row := range r.rows {
			row.stale = row.stale || now.Sub(row.received) > wholeEvery/2*3
		}
	}
}

// Stats returns what became of the reports.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stats
	s.Reporters, s.Rows, s.Connections = len(h.reporters), h.rows, len(h.boxes)
	return s
}

var errTooLarge = errors.New("it is larger than 1 MiB")

// Deliver takes a report, however it came. The error says why it is refused: then
// nothing of it counts.
func (h *Hub) Deliver(m *signalsv1.Report) error { return h.deliver("", m) }

// deliver takes a report of a peer whose name is proven; empty: nobody's is.
func (h *Hub) deliver(peer string, m *signalsv1.Report) error {
	tallies, err := check(m)
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.swept) >= sweepEvery {
		h.sweep(now)
	}
	var got outcome
	if err == nil {
		got, err = h.take(peer, m, tallies, now)
	}
	switch {
	case err != nil:
		h.stats.Refused++
		h.stats.LastRefused = fmt.Sprintf("%q: %s", fit(m.GetReporter()), err)
		return err
	case !got.fresh:
		h.stats.Old++
		return nil
	}
	h.stats.Taken++
	if got.news {
		h.tell(got.bad, now)
	}
	if h.relay != nil && got.bad {
		h.relay.hurry()
	}
	if h.o.OnReport != nil {
		h.o.OnReport(m)
	}
	return nil
}

// check looks at what needs no knowledge of earlier reports.
func check(m *signalsv1.Report) ([]tally, error) {
	switch {
	case proto.Size(m) > mostBytes:
		return nil, errTooLarge
	case m.Reporter == "" || len(m.Reporter) > 2*mostName:
		return nil, errors.New("it names no reporter, or one by a name that is too long")
	case m.Epoch == 0 || m.Epoch > mostTime || m.Sent > mostTime || m.Held > mostTime || m.Sequence == 0 || m.Sequence > mostCount:
		return nil, errors.New("its epoch, time or sequence is no such thing")
	case len(m.Kills) > mostName || m.InFlight > mostCount:
		return nil, errors.New("what it says of kills is no such thing")
	case len(m.Counts) > MostRows:
		return nil, fmt.Errorf("it has %d rows, at most %d are taken", len(m.Counts), MostRows)
	case len(m.Breakers) > mostBreakers:
		return nil, fmt.Errorf("it has %d breakers, at most %d are taken", len(m.Breakers), mostBreakers)
	}
	names := make(map[rowName]bool, len(m.Counts))
	tallies := make([]tally, len(m.Counts))
	for i, c := range m.Counts {
		name := nameOf(c)
		switch {
		case names[name]:
			return nil, fmt.Errorf("it has two rows of version %q of %q on one route and proxy", c.Version, c.Model)
		case len(c.Node) > mostName || len(c.Route) > mostName || len(c.Model) > mostName || len(c.Version) > mostName:
			return nil, fmt.Errorf("a name in it is longer than %d bytes", mostName)
		case c.Since > mostTime || c.FirstBad > mostTime || c.LastBad > mostTime || c.LastAsked > mostTime || c.Marked > mostTime:
			return nil, errors.New("a time in it is no such thing")
		}
		names[name] = true
		if err := tallies[i].read(c); err != nil {
			return nil, fmt.Errorf("version %q of %q: %w", c.Version, c.Model, err)
		}
	}
	for _, b := range m.Breakers {
		if len(b.Key) > 3*mostName || len(b.State) > mostName {
			return nil, errors.New("a breaker's name in it is too long")
		}
	}
	return tallies, nil
}

// mostTime is the last time that fits: in the year 2262.
const mostTime = 1<<63 - 1

func nameOf(c *signalsv1.Counts) rowName { return rowName{c.Node, c.Route, c.Model, c.Version} }
