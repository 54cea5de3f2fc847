package xds

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Proof says which of the expected proxies (or processors: see ProcessorProof, and
// read runtimes for routes) have accepted routes at least as new
// as those of one Set, and refused nothing else of it. Expected is every proxy
// that is connected, or was less than Options.Expect ago, and was not
// deregistered.
type Proof struct {
	Version  string    `json:"version"`
	Known    bool      `json:"known"` // false: no Set that is remembered had this version
	Expected int       `json:"expected"`
	Acked    int       `json:"acked"`
	Missing  []Missing `json:"missing,omitempty"` // the others, by node
}

// Complete reports whether the version is known and no proxy is missing. Where
// none is expected, that is so too.
func (p Proof) Complete() bool { return p.Known && len(p.Missing) == 0 }

// Reason is why a proxy is missing in a Proof.
type Reason string

const (
	Silent       Reason = "silent"       // it is not connected
	Refused      Reason = "refused"      // it refused these routes, or anything else of the Set
	Sent         Reason = "sent"         // it has them and said nothing yet
	Held         Reason = "held"         // they are not sent: it first has to accept what they need, or was sent older ones
	Unsubscribed Reason = "unsubscribed" // it is connected and asks for no routes of ours
)

// Missing is a proxy that did not accept yet.
type Missing struct {
	Node    string    `json:"node"`
	Reason  Reason    `json:"reason"`
	Since   time.Time `json:"since"`             // since when that is so
	Message string    `json:"message,omitempty"` // Envoy's, where it refused, or had before it went
	Peer    string    `json:"peer,omitempty"`    // address, of one of several with the same id
}

// At says it in one line, with its age.
func (m Missing) At(now time.Time) string {
	age := now.Sub(m.Since).Round(time.Millisecond)
	if age > 10*time.Second {
		age = age.Round(time.Second)
	}
	var why string
	switch m.Reason {
	case Silent:
		why = fmt.Sprintf("silent for %s", age)
		if m.Message != "" {
			why += ", and had refused " + m.Message
		}
	case Refused:
		why = "refused: " + m.Message
	case Sent:
		why = fmt.Sprintf("sent %s ago, no ACK yet", age)
	case Held:
		why = "not sent yet: it has to accept first what was sent before"
	default:
		why = "connected, not subscribed to routes"
	}
	return m.Node + ": " + why
}

// Proof is about the newest Set that had this version (Resources.Version).
func (s *Server) Proof(version string) Proof {
	s.mu.Lock()
	p := s.proof(version, (*node).proxies)
	s.mu.Unlock()
	p.sort()
	return p
}

// proof is Proof of those whom it is about, with the lock held, and in no order.
func (s *Server) proof(version string, about func(*node) bool) Proof {
	p := Proof{Version: version}
	seq, known := s.versions[version]
	p.Known = known
	for _, n := range s.ledger.nodes {
		if !about(n) {
			continue
		}
		p.Expected++
		if !known {
			continue
		}
		if m, missing := n.missing(s, seq); missing {
			p.Missing = append(p.Missing, m)
		}
	}
	if known {
		p.Acked = p.Expected - len(p.Missing)
	}
	return p
}

func (p *Proof) sort() {
	slices.SortFunc(p.Missing, func(a, b Missing) int { return cmp.Compare(a.Node, b.Node) })
}

// missing says why a node has not applied the Set seq, if it has not: every
// stream that takes routes has to have accepted them, also those of two proxies
// with one id, and one that is gone before it went. Nor may anything else of the Set
// be refused, or under way: routes alone do not do what they were sent with.
func (n *node) missing(s *Server, seq uint64) (m Missing, missing bool) {
	asked := false
	for c := range n.streams {
		asked = asked || c.subs[n.main()].wanted
		for k := range kinds {
			if c.has(k, seq) {
				continue
			}
			if why, owes := c.owes(s, k, seq); owes && (!missing || why.Reason == Refused && m.Reason != Refused) {
				m, missing = why, true
			}
		}
	}
	for _, c := range n.gone {
		sub := &c.subs[n.main()]
		asked = asked || sub.wanted
		refused := c.refused(s, seq)
		if !missing && (refused != "" || sub.wanted && !sub.applied(seq) && !s.stillCurrent(sub, seq)) {
			m, missing = Missing{Node: n.id, Reason: Silent, Since: c.closed, Peer: c.who.address, Message: refused}, true
		}
	}
	switch {
	case missing || asked:
		return m, missing
	case n.silent():
		return Missing{Node: n.id, Reason: Silent, Since: n.since}, true
	}
	return Missing{Node: n.id, Reason: Unsubscribed, Since: n.since}, true
}

// stillCurrent reports whether what a proxy accepted before it went is what the
// world has now.
func (s *Server) stillCurrent(sub *subscription, seq uint64) bool {
	return sub.accepted != nil && !sub.waiting && s.current(sub.accepted, seq)
}

// current reports whether what a set of a stream that is gone has is what the
// world, of the Set seq or a newer one, has now.
func (s *Server) current(of *set, seq uint64) bool {
	return s.world != nil && s.world.content.seq >= seq && of.identity == s.world.sets[of.kind].identity
}

// refused says what besides its main kind a stream that is gone had refused of the Set
// seq, or of a newer one; empty: nothing.
func (c *stream) refused(s *Server, seq uint64) string {
	for k := range kinds {
		if r := c.subs[k].refused; k != c.node.main() && r != nil && !c.subs[k].reached(seq) && (r.of.last >= seq || s.current(r.of, seq)) {
			return r.says(k)
		}
	}
	return ""
}

// says is the refusal in words. Of a main kind it needs no saying what it is.
func (r *refusal) says(k kind) string {
	if k == routes || k == runtimes {
		return r.message
	}
	return k.String() + ": " + r.message
}

// has reports whether an open stream has accepted what it asks for of a kind of the
// Set seq: of its main kind it has to have accepted some.
func (c *stream) has(k kind, seq uint64) bool {
	sub := &c.subs[k]
	if k == c.node.main() {
		return !sub.wanted || sub.applied(seq)
	}
	return !sub.wanted || sub.reached(seq)
}

// owes says why a stream has it not. Of other kinds than its main one nothing may be left
// that it was sent, or is to be; where there is none that it asks for it owes none.
func (c *stream) owes(s *Server, k kind, seq uint64) (m Missing, owes bool) {
	sub, main := &c.subs[k], k == c.node.main()
	if !main && s.world != nil && s.world.content.seq >= seq && sub.hasAllBut(s.world, k) {
		return m, false
	}
	m = Missing{Node: c.node.id, Peer: c.who.address, Reason: Held, Since: c.opened}
	switch {
	case sub.waiting && sub.sent.last >= seq:
		m.Reason, m.Since = Sent, sub.sentAt
	case sub.refused != nil && (main || sub.refused.of.last >= seq):
		m.Reason, m.Message, m.Since = Refused, sub.refused.says(k), sub.refused.at
	case !main:
		return m, sub.waiting || sub.accepted != nil
	case sub.wildcard || len(sub.known) > 0:
	case s.world != nil && sub.sent == s.world.sets[k]:
		m.Reason = Unsubscribed // to none that exists
	}
	return m, true
}

// waiter waits for the last acceptance of a Set.
type waiter struct {
	seq     uint64
	missing map[*node]struct{}
	done    chan struct{}
	proven  bool // none was missing when done was closed
	nodes   int  // then
}

// Await returns the Proof of a version as soon as it is complete, or the
// incomplete one when ctx ends, the Server is closed, or the version is not
// known. It learns of the last acceptance when that is read, without polling, and
// returns the Proof of that moment, whoever comes after it.
func (s *Server) Await(ctx context.Context, version string) Proof {
	s.mu.Lock()
	seq, known := s.versions[version]
	if !known || s.closed {
		s.mu.Unlock()
		return s.Proof(version)
	}
	w := &waiter{seq: seq, missing: map[*node]struct{}{}, done: make(chan struct{})}
	s.waiters[w] = struct{}{}
	s.reviewFor(w)
	s.mu.Unlock()
	select {
	case <-w.done:
	case <-ctx.Done():
	}
	s.mu.Lock()
	delete(s.waiters, w)
	s.mu.Unlock()
	if w.proven {
		return Proof{Version: version, Known: true, Expected: w.nodes, Acked: w.nodes}
	}
	return s.Proof(version)
}

// review tells the waiters what a node has now. s.mu is held.
func (s *Server) review(n *node) {
	for w := range s.waiters {
		_, missing := n.missing(s, w.seq)
		s.settle(w, n, !missing || n.processes())
	}
}

// reviewAll is review of all nodes, after the world changed. s.mu is held.
func (s *Server) reviewAll() {
	for w := range s.waiters {
		s.reviewFor(w)
	}
}

func (s *Server) reviewFor(w *waiter) {
	clear(w.missing)
	for _, n := range s.ledger.nodes {
		if _, missing := n.missing(s, w.seq); missing && n.proxies() {
			w.missing[n] = struct{}{}
		}
	}
	if len(w.missing) == 0 {
		s.finish(w)
	}
}

// settle notes whether a waiter still waits for a node. s.mu is held.
func (s *Server) settle(w *waiter, n *node, done bool) {
	if !done {
		w.missing[n] = struct{}{}
		return
	}
	delete(w.missing, n)
	if len(w.missing) == 0 {
		s.finish(w)
	}
}

// finish lets a waiter go. s.mu is held.
func (s *Server) finish(w *waiter) {
	if _, waits := s.waiters[w]; waits {
		delete(s.waiters, w)
		w.proven, w.nodes = len(w.missing) == 0, s.count((*node).proxies)
		close(w.done)
	}
}
