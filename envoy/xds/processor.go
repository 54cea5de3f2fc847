package xds

import (
	"maps"
	"time"
)

// A processor that runs apart from the control plane asks for runtimes alone: it is
// no proxy, nothing is routed by it, and what is true of all proxies does not depend
// on it. It has a Proof of its own.

// processes reports whether a node is a processor.
func (n *node) processes() bool { return n.hears && !n.routes }

// main is the kind of which a node has to have accepted some: all else that it is
// sent follows from that.
func (n *node) main() kind {
	if n.processes() {
		return runtimes
	}
	return routes
}

// asks notes what a node asks for.
func (n *node) asks(k kind) {
	n.hears = n.hears || k == runtimes
	n.routes = n.routes || k != runtimes
}

// ProcessorProof is Proof for the expected processors, which are told what to
// enforce by runtimes: it says nothing of proxies.
func (s *Server) ProcessorProof(version string) Proof {
	s.mu.Lock()
	p := s.proof(version, (*node).processes)
	s.mu.Unlock()
	p.sort()
	return p
}

// proxies reports whether a node is a proxy.
func (n *node) proxies() bool { return !n.processes() }

// ConnectedProcessors counts the processors that are.
func (s *Server) ConnectedProcessors() int { return s.connected((*node).processes) }

func (s *Server) connected(are func(*node) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count(func(n *node) bool { return !n.silent() && are(n) })
}

// count counts nodes. s.mu is held.
func (s *Server) count(are func(*node) bool) (count int) {
	for _, n := range s.ledger.nodes {
		if are(n) {
			count++
		}
	}
	return count
}

// ExpectProcessor is Expect for a processor.
func (s *Server) ExpectProcessor(id string, lastSeen time.Time) { s.expect(id, lastSeen, true) }

// parts reports whether the stream is a processor's that goes for good: it has said
// last that it asks for nothing any more. One that breaks off has not.
func (c *stream) parts() bool { return c.parting && c.node.processes() }

// maxDeparted bounds what is remembered of processors that went.
const maxDeparted = 1000

// depart forgets a processor that went for good.
func (s *Server) depart(n *node) {
	s.drop(n)
	d := s.ledger.departed
	maps.DeleteFunc(d, func(_ string, at time.Time) bool { return time.Since(at) >= s.options.Expect })
	makeRoom(d, maxDeparted)
	d[n.id] = time.Now()
}

// Departed are the processors that said, less than Options.Expect ago, that they go
// for good, and when. Nothing is expected of them.
func (s *Server) Departed() map[string]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.ledger.departed)
}
