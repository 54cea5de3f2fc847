package xds

import (
	"cmp"
	"container/list"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// maxNodes bounds the proxies that are remembered. The ones that went
	// longest ago are forgotten first.
	maxNodes = 20_000
	maxNode  = 256 // bytes of a node id
)

// Proxy is what one proxy, by its node id, made of what it was sent. Ages are
// against time.Now.
type Proxy struct {
	Node      string    `json:"node"`
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
	streams map[*stream]struct{} // open, introduced
	nodes   map[string]*node
	silent  *list.List // of *node without an open stream, the longest first
}

type node struct {
	id      string
	streams map[*stream]struct{} // open
	gone    []*stream            // ended, and not replaced by a later one
	seen    time.Time
	since   time.Time     // open: since when; else since when it is silent
	place   *list.Element // in silent; nil: it is connected
	forget  *time.Timer   // with place
}

func newLedger() ledger {
	return ledger{streams: map[*stream]struct{}{}, nodes: map[string]*node{}, silent: list.New()}
}

func (l *ledger) close() {
	for _, n := range l.nodes {
		n.wake(l)
	}
}

// wake ends a node's silence.
func (n *node) wake(l *ledger) {
	if n.place != nil {
		l.silent.Remove(n.place)
		n.place = nil
		n.forget.Stop()
	}
}

// join notes that a stream is of the proxy id, which was checked.
func (s *Server) join(c *stream, id string) error {
	n := s.ledger.nodes[id]
	if n == nil {
		if err := s.room(); err != nil {
			return err
		}
		n = &node{id: id, streams: map[*stream]struct{}{}}
		s.ledger.nodes[id] = n
	}
	n.wake(&s.ledger)
	if len(n.streams) == 0 {
		n.since = c.opened
	}
	n.replace(c.service)
	n.streams[c], s.ledger.streams[c] = struct{}{}, struct{}{}
	c.node = n
	s.review(n)
	return nil
}

// room makes room for one node more.
func (s *Server) room() error {
	if len(s.ledger.nodes) < maxNodes {
		return nil
	}
	oldest := s.ledger.silent.Front()
	if oldest == nil {
		return status.Errorf(codes.ResourceExhausted, "%d proxies are connected, no more are taken", maxNodes)
	}
	s.drop(oldest.Value.(*node))
	return nil
}

// replace takes a new stream of a service for the return of one that ended.
func (n *node) replace(service string) {
	for i, old := range n.gone {
		if old.service == service {
			n.gone = slices.Delete(n.gone, i, i+1)
			return
		}
	}
}

// leave notes that a stream has ended. It was replaced already where a later
// one of its service was opened and it said nothing since: a connection that
// broke without a word is found out long after its proxy has come back.
func (s *Server) leave(c *stream) {
	n := c.node
	delete(n.streams, c)
	delete(s.ledger.streams, c)
	replaced := false
	for other := range n.streams {
		replaced = replaced || other.service == c.service && other.opened.After(c.seen)
	}
	if !replaced {
		n.gone = append(n.gone, c.frozen())
	}
	if len(n.streams) == 0 {
		n.sleep(s, c.closed)
	}
	s.review(n)
}

// sleep begins a node's silence.
func (n *node) sleep(s *Server, since time.Time) {
	n.since = since
	n.place = s.ledger.silent.PushBack(n)
	n.forget = time.AfterFunc(time.Until(since.Add(s.options.Expect)), s.locked(func() {
		if n.place != nil {
			s.drop(n)
		}
	}))
}

// drop forgets a silent node: nothing is expected of it any longer.
func (s *Server) drop(n *node) {
	n.wake(&s.ledger)
	delete(s.ledger.nodes, n.id)
	for w := range s.waiters {
		s.settle(w, n, true)
	}
}

// frozen is what the ledger keeps of an ended stream: no more of its sets than
// their versions and the Set that they are of.
func (c *stream) frozen() *stream {
	out := &stream{server: c.server, service: c.service, delta: c.delta, peer: c.peer, opened: c.opened, node: c.node, seen: c.seen, closed: c.closed}
	for k := range c.subs {
		sub := &c.subs[k]
		out.subs[k] = subscription{
			wanted: sub.wanted, wildcard: sub.wildcard, sentAt: sub.sentAt, ackedAt: sub.ackedAt,
			waiting: sub.waiting, refused: sub.refused, acks: sub.acks, nacks: sub.nacks,
			sent: sub.sent.summary(), accepted: sub.accepted.summary(),
		}
		if len(sub.known) > 0 {
			out.subs[k].known = someKnown
		}
	}
	return out
}

var someKnown = map[string]string{"": ""}

func (s *set) summary() *set {
	if s == nil {
		return nil
	}
	return &set{kind: s.kind, version: s.version, last: s.last}
}

// Deregister forgets a proxy that is gone for good: nothing is expected of it
// any longer. One that is connected cannot be forgotten; of one that is not
// known nothing is expected anyway.
func (s *Server) Deregister(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.ledger.nodes[id]
	switch {
	case n == nil:
		return nil
	case n.place == nil:
		return fmt.Errorf("proxy %q is connected: stop it first, or it is expected again at once", id)
	}
	s.drop(n)
	return nil
}

// Expect makes a proxy expected that was last seen by another Server, or by
// this one in an earlier process, as if it had gone then. One that is known
// stays as it is.
func (s *Server) Expect(id string, lastSeen time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ledger.nodes[id] != nil || id == "" || len(id) > maxNode || time.Since(lastSeen) >= s.options.Expect || s.room() != nil {
		return
	}
	n := &node{id: id, streams: map[*stream]struct{}{}, seen: lastSeen}
	s.ledger.nodes[id] = n
	n.sleep(s, lastSeen)
	s.review(n)
}

// Connected counts the proxies that are.
func (s *Server) Connected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ledger.nodes) - s.ledger.silent.Len()
}

// Proxies lists the proxies that are expected, connected or not, by node id.
func (s *Server) Proxies() []Proxy {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Proxy, 0, len(s.ledger.nodes))
	for _, n := range s.ledger.nodes {
		p := Proxy{Node: n.id, Connected: n.place == nil, Since: n.since, LastSeen: n.seen, Streams: []Stream{}}
		for c := range n.streams {
			p.Streams = append(p.Streams, c.row())
		}
		for _, c := range n.gone {
			p.Streams = append(p.Streams, c.row())
		}
		slices.SortFunc(p.Streams, func(a, b Stream) int { return a.Opened.Compare(b.Opened) })
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Proxy) int { return cmp.Compare(a.Node, b.Node) })
	return out
}

func (c *stream) row() Stream {
	out := Stream{Connected: c.closed.IsZero(), Opened: c.opened, LastSeen: c.seen, Peer: c.peer, Service: c.service, Delta: c.delta, Types: []Type{}}
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
