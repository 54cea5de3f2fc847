package signals

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Counts are what answers of one version were judged as.
type Counts struct {
	Asked        uint64            // requests that went to the version
	Clean        uint64            // answers in which no detector that enforces found anything
	Bad          uint64            // answers in which one did
	Observed     uint64            // of Clean: those in which a detector that observes did
	CallerErrors uint64            // answers that blame the caller
	Fallbacks    uint64            // requests that a rung of the ladder answered
	Detectors    map[string]uint64 // Bad by detector
	Latency      [Buckets]uint64   // answers by how long they took: see Buckets
	Callers      [Places]Caller    // Clean and Bad by who asked
}

// Caller is one place's part of the answers.
type Caller struct{ Clean, Bad uint64 }

// Node is what one proxy has had to do with a version.
type Node struct {
	Name       string
	LastAsked  time.Time // when it last sent a request to the version; zero: never
	Generation uint64    // the newest that a request's route had; 0: none
}

// Increment is what came of one version since the last Take. Times are by the
// hub's clock; zero: there is none.
type Increment struct {
	Version
	Counts
	FirstBad  time.Time // the earliest bad answer after at least a second without, on one proxy
	LastBad   time.Time
	LastAsked time.Time
	// Streak is how many of Bad came last, after all clean answers of the same
	// proxy: a version that turned bad in the meantime is told by it.
	Streak uint64
	Nodes  []Node // that sent something, by name
}

// Total is all that has come of a version since the hub began to count it.
type Total struct {
	Version
	Counts
	LastAsked, LastBad time.Time
	Nodes              []Node // by name; those of the last day
}

// version is what is known of one.
type version struct {
	name               Version
	key                string            // of its breaker
	named              bool              // the configuration names it
	peer               string            // that it was first heard of by, where it is not named
	hosts              map[*reporter]int // that count it, and in how many rows
	total              tally
	pending            pending
	lastAsked, lastBad time.Time
	nodes              map[string]*node
}

// pending is what has not been taken.
type pending struct {
	any      bool
	tally    tally
	firstBad time.Time
	nodes    map[string]bool
	ends     map[*hubRow]end
}

// end is how a row's answers ended: bad ones that came, and those in a row.
type end struct{ bad, streak uint64 }

type node struct {
	Node
	seen time.Time
}

// count adds what a row has more, and reports whether that is anything. old are
// the row's times of before.
func (h *Hub) count(row *hubRow, old rowTimes, more *tally) bool {
	v := row.version
	p, t := &v.pending, row.times
	n := h.node(v, row.name.node)
	n.seen = row.received
	if *more == (tally{}) && t.generation <= old.generation && t.lastAsked <= old.lastAsked {
		return false
	}
	n.Generation = max(n.Generation, t.generation)
	if t.lastAsked > old.lastAsked {
		n.LastAsked = later(n.LastAsked, at(t.lastAsked, row.sent, row.received))
		v.lastAsked = later(v.lastAsked, n.LastAsked)
	}
	v.total.add(more)
	p.any = true
	p.tally.add(more)
	if p.nodes == nil {
		p.nodes = map[string]bool{}
	}
	p.nodes[n.Name] = true
	if p.ends == nil {
		p.ends = map[*hubRow]end{}
	}
	p.ends[row] = end{p.ends[row].bad + more.bad(), t.streak}
	if more.bad() > 0 {
		v.lastBad = later(v.lastBad, at(t.lastBad, row.sent, row.received))
		first := at(t.firstBad, row.sent, row.received)
		if !first.IsZero() && (p.firstBad.IsZero() || first.Before(p.firstBad)) {
			p.firstBad = first
		}
	}
	return true
}

// node is what is known of a proxy of a version's; those for which there is no room
// are one.
func (h *Hub) node(v *version, name string) *node {
	n := v.nodes[name]
	if n == nil && (len(v.nodes) >= mostNodes || h.nodes >= mostNodesOfAll) {
		name = other
		n = v.nodes[name]
	}
	if n == nil {
		n = &node{Node: Node{Name: name}}
		v.nodes[name] = n
		h.nodes++
	}
	return n
}

// Changed is written to when something has come that is worth a Take: at once
// when bad answers have, else at most every 100 ms.
func (h *Hub) Changed() <-chan struct{} { return h.changed }

// Take returns what came since the last call, by model and version. now is the
// present.
func (h *Hub) Take(now time.Time) []Increment {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Increment
	for _, v := range h.versions {
		if !v.pending.any {
			continue
		}
		p := v.pending
		v.pending = pending{}
		i := Increment{Version: v.name, Counts: p.tally.public(), FirstBad: p.firstBad, LastAsked: v.lastAsked}
		if i.Bad > 0 {
			i.LastBad = v.lastBad
		}
		for _, e := range p.ends {
			i.Streak += min(e.bad, e.streak)
		}
		for name := range p.nodes {
			if n := v.nodes[name]; n != nil {
				i.Nodes = append(i.Nodes, n.Node)
			}
		}
		sortNodes(i.Nodes)
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b Increment) int { return a.compare(b.Version) })
	if now.Sub(h.swept) >= sweepEvery {
		h.sweep(now)
	}
	return out
}

// Totals returns all that has been counted, by model and version.
func (h *Hub) Totals() []Total {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Total, 0, len(h.versions))
	for _, v := range h.versions {
		t := Total{Version: v.name, Counts: v.total.public(), LastAsked: v.lastAsked, LastBad: v.lastBad}
		for _, n := range v.nodes {
			t.Nodes = append(t.Nodes, n.Node)
		}
		sortNodes(t.Nodes)
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b Total) int { return a.compare(b.Version) })
	return out
}

// BreakerState is how many hosts say that their breaker of a version is in which
// state. Those that say nothing of it have it closed, or have none.
type BreakerState struct {
	Key                  string
	Open, HalfOpen, Ramp int
}

// BreakerStates returns the breakers that are not closed at every host, by key.
func (h *Hub) BreakerStates() []BreakerState {
	h.mu.Lock()
	defer h.mu.Unlock()
	found := map[string]*BreakerState{}
	for _, r := range h.reporters {
		for key, state := range r.breakers {
			b := found[key]
			if b == nil {
				b = &BreakerState{Key: key}
				found[key] = b
			}
			switch state {
			case stateOpen:
				b.Open++
			case stateHalfOpen:
				b.HalfOpen++
			case stateRamp:
				b.Ramp++
			}
		}
	}
	var out []BreakerState
	for _, key := range slices.Sorted(maps.Keys(found)) {
		out = append(out, *found[key])
	}
	return out
}

func (v Version) compare(o Version) int {
	return cmp.Or(cmp.Compare(v.Model, o.Model), cmp.Compare(v.Name, o.Name))
}

func sortNodes(n []Node) {
	slices.SortFunc(n, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
}

func (t *tally) public() Counts {
	c := Counts{
		Asked: t[askedAt], Clean: t.clean(), Bad: t.bad(), Observed: t[observedAt],
		CallerErrors: t[callerErrorsAt], Fallbacks: t[fallbacksAt], Detectors: map[string]uint64{},
	}
	for i, n := range t[detectorsAt : detectorsAt+detectorSlots] {
		if n > 0 {
			c.Detectors[detectorAt(i)] += n
		}
	}
	copy(c.Latency[:], t[latencyAt:])
	for i := range c.Callers {
		c.Callers[i] = Caller{t[cleanAt+i], t[badAt+i]}
	}
	return c
}
