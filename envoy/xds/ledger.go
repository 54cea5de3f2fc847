package xds

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

const maxNode = 256 // bytes of a node id

// Proxy is what one proxy, by its node id, made of what it was sent. Ages are
// against time.Now.
type Proxy struct {
	Node      string    `json:"node"`
	Processor bool      `json:"processor,omitempty"` // it is none: it asks for runtimes alone
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"` // connected: since when; else since when it is silent
	LastSeen  time.Time `json:"lastSeen"`
	// Streams are those that are open, and of those that ended the ones whose
	// proxy did not come back. Several of one service may be several proxies
	// with one id.
	Streams []Stream `json:"streams"`
}

// Stream is one stream of a proxy.
type Stream struct {
	Connected bool      `json:"connected"`
	Opened    time.Time `json:"opened"`
	LastSeen  time.Time `json:"lastSeen"`
	Peer      string    `json:"peer,omitempty"`    // address
	Probe     string    `json:"probe,omitempty"`   // where the proxy says that it is asked by which kills it routes
	Service   string    `json:"service,omitempty"` // its one type; empty: all types
	Delta     bool      `json:"delta,omitempty"`   // incremental; else state-of-the-world
	Types     []Type    `json:"types"`             // that it asked for
}

// Type is what a stream made of one type of resource. A version is the hash of
// all resources of the type.
type Type struct {
	TypeURL    string    `json:"typeURL"`
	Sent       string    `json:"sent,omitempty"` // version; empty: none
	SentAt     time.Time `json:"sentAt,omitzero"`
	Accepted   string    `json:"accepted,omitempty"`  // version; empty: none
	AcceptedAt time.Time `json:"acceptedAt,omitzero"` // zero: it came with it
	Refused    string    `json:"refused,omitempty"`   // version whose refusal stands; empty: none does
	Message    string    `json:"message,omitempty"`   // Envoy's, with Refused
	RefusedAt  time.Time `json:"refusedAt,omitzero"`  // with Refused
	Acks       uint64    `json:"acks,omitempty"`      // how often
	Nacks      uint64    `json:"nacks,omitempty"`     // how often
	Waiting    bool      `json:"waiting,omitempty"`   // neither accepted nor refused yet
}

// ledger remembers who is there, who was, and what they said: of the streams
// that are open, the streams themselves. It is guarded by the Server's lock.
type ledger struct {
	streams  map[*stream]struct{} // open, introduced
	nodes    map[string]*node
	silent   int                  // nodes without an open stream
	accounts map[string]account   // by peer
	hosts    map[*stream]struct{} // open, and ask for runtimes
	departed map[string]time.Time // processors that said that they go for good, by node
}

type node struct {
	id      string
	owner   string               // the account that is charged with it; empty: none
	streams map[*stream]struct{} // open
	gone    []*stream            // ended, not replaced by a later one, and not long ago
	seen    time.Time
	since   time.Time   // open: since when; else since when it is silent
	forget  *time.Timer // of a silent one; nil: it is connected
	hears   bool        // it has asked for runtimes
	routes  bool        // it has asked for something else
}

func newLedger() ledger {
	return ledger{streams: map[*stream]struct{}{}, nodes: map[string]*node{}, accounts: map[string]account{},
		hosts: map[*stream]struct{}{}, departed: map[string]time.Time{}}
}

func (l *ledger) close() {
	for _, n := range l.nodes {
		n.wake(l)
		n.forgive()
	}
}

// silent reports whether no stream of the node is open.
func (n *node) silent() bool { return n.forget != nil }

// wake ends a node's silence.
func (n *node) wake(l *ledger) {
	if n.silent() {
		l.silent--
		n.forget.Stop()
		n.forget = nil
	}
}

// join notes that a stream is of the proxy id, which was checked.
func (s *Server) join(c *stream, id string) error {
	n := s.ledger.nodes[id]
	if n == nil {
		if err := s.roomForNode(c); err != nil {
			return err
		}
		n = &node{id: id, streams: map[*stream]struct{}{}}
		s.ledger.nodes[id] = n
		delete(s.ledger.departed, id)
	}
	n.own(&s.ledger, c.account)
	n.wake(&s.ledger)
	if len(n.streams) == 0 {
		n.since = c.opened
	}
	n.replace(c)
	n.streams[c], s.ledger.streams[c] = struct{}{}, struct{}{}
	c.node = n
	s.review(n)
	return nil
}

// leave notes that a stream has ended.
func (s *Server) leave(c *stream) {
	n := c.node
	delete(n.streams, c)
	delete(s.ledger.streams, c)
	delete(s.ledger.hosts, c)
	if !c.parts() && !n.replaced(c) {
		n.keep(s, c)
	}
	if c.parts() && len(n.streams)+len(n.gone) == 0 {
		s.depart(n)
		return
	}
	if len(n.streams) == 0 {
		n.sleep(s, c.closed)
	}
	s.review(n)
}

// sleep begins a node's silence.
func (n *node) sleep(s *Server, since time.Time) {
	n.since = since
	s.ledger.silent++
	var silence *time.Timer
	silence = time.AfterFunc(time.Until(since.Add(s.options.Expect)), s.locked(func() { s.outlast(n, silence) }))
	n.forget = silence
}

// outlast forgets a node whose silence has lasted, if it is that one still: it may
// have come and gone again while the timer waited for the lock.
func (s *Server) outlast(n *node, silence *time.Timer) {
	if n.forget == silence {
		s.drop(n)
	}
}

// drop forgets a silent node: nothing is expected of it any longer.
func (s *Server) drop(n *node) {
	n.wake(&s.ledger)
	n.forgive()
	n.disown(&s.ledger)
	delete(s.ledger.nodes, n.id)
	for w := range s.waiters {
		s.settle(w, n, true)
	}
}

// Deregister forgets a proxy that is gone for good: nothing is expected of it
// any longer. Of one that is connected it forgets the streams that ended, those of
// another proxy that had the same id among them; one with no such cannot be
// forgotten. Of one that is not known nothing is expected anyway.
func (s *Server) Deregister(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.ledger.nodes[id]
	switch {
	case n == nil:
	case n.silent():
		s.drop(n)
	case len(n.gone) > 0:
		n.forgive()
		s.review(n)
	default:
		return fmt.Errorf("proxy %q is connected: stop it first, or it is expected again at once", id)
	}
	return nil
}

// Expect makes a proxy expected that was last seen by another Server, or by
// this one in an earlier process, as if it had gone then. One that is known
// stays as it is. How many these are is not bounded here: one that was left out
// would be missing in every proof.
func (s *Server) Expect(id string, lastSeen time.Time) { s.expect(id, lastSeen, false) }

func (s *Server) expect(id string, lastSeen time.Time, processor bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ledger.nodes[id] != nil || id == "" || len(id) > maxNode || time.Since(lastSeen) >= s.options.Expect || s.ledger.departed[id].After(lastSeen) {
		return
	}
	n := &node{id: id, streams: map[*stream]struct{}{}, seen: lastSeen, hears: processor}
	s.ledger.nodes[id] = n
	n.sleep(s, lastSeen)
	s.review(n)
}

// Connected counts the proxies that are.
func (s *Server) Connected() int { return s.connected((*node).proxies) }

// rowsAtOnce is how many proxies are listed without letting others have the lock.
const rowsAtOnce = 200

// Proxies lists the proxies and processors that are expected, connected or not, by node id. What
// it says of one is of one moment, and of another of another.
func (s *Server) Proxies() []Proxy {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.ledger.nodes))
	s.mu.Unlock()
	out := make([]Proxy, 0, len(all))
	for some := range slices.Chunk(all, rowsAtOnce) {
		s.mu.Lock()
		for _, n := range some {
			if s.ledger.nodes[n.id] == n {
				out = append(out, n.row())
			}
		}
		s.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b Proxy) int { return cmp.Compare(a.Node, b.Node) })
	return out
}

func (n *node) row() Proxy {
	p := Proxy{Node: n.id, Processor: n.processes(), Connected: !n.silent(), Since: n.since, LastSeen: n.seen, Streams: make([]Stream, 0, len(n.streams)+len(n.gone))}
	for c := range n.streams {
		p.Streams = append(p.Streams, c.row())
	}
	for _, c := range n.gone {
		p.Streams = append(p.Streams, c.row())
	}
	slices.SortFunc(p.Streams, func(a, b Stream) int { return a.Opened.Compare(b.Opened) })
	return p
}

func (c *stream) row() Stream {
	out := Stream{Connected: c.closed.IsZero(), Opened: c.opened, LastSeen: c.seen, Peer: c.who.address, Probe: c.probe, Service: c.service, Delta: c.delta, Types: []Type{}}
	for k := range kinds {
		sub := &c.subs[k]
		if !sub.wanted {
			continue
		}
		t := Type{TypeURL: k.url(), SentAt: sub.sentAt, AcceptedAt: sub.ackedAt, Acks: sub.acks, Nacks: sub.nacks, Waiting: sub.waiting}
		if sub.sent != nil {
			t.Sent = sub.sent.version
		}
		if sub.accepted != nil {
			t.Accepted = sub.accepted.version
		}
		if r := sub.refused; r != nil {
			t.Refused, t.Message, t.RefusedAt = r.version, r.message, r.at
		}
		out.Types = append(out.Types, t)
	}
	return out
}
