package xds

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Proof says which of the expected proxies have accepted routes at least as new
// as those of one Set. Expected is every proxy that is connected, or was less
// than Options.Expect ago, and was not deregistered.
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
	Refused      Reason = "refused"      // it refused these routes, or what they need
	Sent         Reason = "sent"         // it has them and said nothing yet
	Held         Reason = "held"         // they are not sent: it first has to accept what they need, or was sent older ones
	Unsubscribed Reason = "unsubscribed" // it is connected and asks for no routes of ours
)

// Missing is a proxy that did not accept yet.
type Missing struct {
	Node    string    `json:"node"`
	Reason  Reason    `json:"reason"`
	Since   time.Time `json:"since"`             // since when that is so
	Message string    `json:"message,omitempty"` // Envoy's, where it refused
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
	defer s.mu.Unlock()
	return s.proof(version)
}

func (s *Server) proof(version string) Proof {
	p := Proof{Version: version, Expected: len(s.ledger.nodes)}
	seq, known := s.versions[version]
	if p.Known = known; !known {
		return p
	}
	for _, n := range s.ledger.nodes {
		if m, missing := n.missing(s, seq); missing {
			p.Missing = append(p.Missing, m)
		}
	}
	p.Acked = p.Expected - len(p.Missing)
	slices.SortFunc(p.Missing, func(a, b Missing) int { return cmp.Compare(a.Node, b.Node) })
	return p
}

// missing says why a node has not applied the Set seq, if it has not: every
// stream that takes routes has to have accepted them, also those of two proxies
// with one id, and one that is gone before it went.
func (n *node) missing(s *Server, seq uint64) (m Missing, missing bool) {
	asked := false
	for c := range n.streams {
		if sub := &c.subs[routes]; sub.wanted {
			asked = true
			if !sub.applied(seq) {
				return n.why(c, s, seq), true
			}
		}
	}
	for _, c := range n.gone {
		if time.Since(c.closed) >= s.options.Expect {
			continue // as a proxy that is gone altogether is: nobody waits for it any longer
		}
		if sub := &c.subs[routes]; sub.wanted {
			asked = true
			if !sub.applied(seq) && !s.stillCurrent(sub, seq) {
				return Missing{Node: n.id, Reason: Silent, Since: c.closed, Peer: c.peer}, true
			}
		}
	}
	switch {
	case asked:
		return Missing{}, false
	case n.place != nil:
		return Missing{Node: n.id, Reason: Silent, Since: n.since}, true
	}
	return Missing{Node: n.id, Reason: Unsubscribed, Since: n.since}, true
}

// stillCurrent reports whether what a proxy accepted before it went is what the
// world has now.
func (s *Server) stillCurrent(sub *subscription, seq uint64) bool {
	return s.world != nil && s.world.content.seq >= seq && sub.accepted != nil && !sub.waiting &&
		sub.accepted.version == s.world.sets[routes].version
}

// why explains a connected stream that has not applied the Set seq.
func (n *node) why(c *stream, s *Server, seq uint64) Missing {
	m := Missing{Node: n.id, Peer: c.peer, Reason: Held, Since: c.opened}
	sub := &c.subs[routes]
	switch {
	case sub.waiting && sub.sent.last >= seq:
		m.Reason, m.Since = Sent, sub.sentAt
	case sub.refused != nil:
		m.Reason, m.Message, m.Since = Refused, sub.refused.message, sub.refused.at
	case c.subs[clusters].refused != nil:
		r := c.subs[clusters].refused
		m.Reason, m.Message, m.Since = Refused, "clusters: "+r.message, r.at
	case c.subs[listeners].refused != nil:
		r := c.subs[listeners].refused
		m.Reason, m.Message, m.Since = Refused, "listeners: "+r.message, r.at
	case sub.wildcard || len(sub.known) > 0:
	case s.world != nil && sub.sent == s.world.sets[routes]:
		m.Reason = Unsubscribed // to none that exists
	}
	return m
}

// waiter waits for the last acceptance of a Set.
type waiter struct {
	seq     uint64
	missing map[*node]struct{}
	done    chan struct{}
}

// Await returns the Proof of a version as soon as it is complete, or the
// incomplete one when ctx ends, the Server is closed, or the version is not
// known. It learns of the last acceptance when that is read, without polling.
func (s *Server) Await(ctx context.Context, version string) Proof {
	s.mu.Lock()
	seq, known := s.versions[version]
	if !known || s.closed {
		defer s.mu.Unlock()
		return s.proof(version)
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
	defer s.mu.Unlock()
	delete(s.waiters, w)
	return s.proof(version)
}

// review tells the waiters what a node has now. s.mu is held.
func (s *Server) review(n *node) {
	for w := range s.waiters {
		_, missing := n.missing(s, w.seq)
		s.settle(w, n, !missing)
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
		if _, missing := n.missing(s, w.seq); missing {
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
		close(w.done)
	}
}
