package xds

import (
	"slices"
	"time"
)

// What ended without coming back: a proxy that lost its stream goes on with what it
// has.

// replace takes a new stream for the return of one that ended: of the same
// service, and from the same host. Another host is another proxy with the same id.
func (n *node) replace(c *stream) {
	i := slices.IndexFunc(n.gone, func(old *stream) bool { return c.likely(old) })
	if i >= 0 {
		n.gone[i].aging.Stop()
		n.gone = slices.Delete(n.gone, i, i+1)
		c.standsIn = true
	}
}

// replaced reports whether the proxy of a stream that ends has come back already: a
// connection that broke without a word is found out long after that. It has where a
// stream was opened since the last word on this one, and stands in for no other.
func (n *node) replaced(c *stream) bool {
	var by *stream
	for other := range n.streams {
		if other.likely(c) && !other.standsIn && other.opened.After(c.seen) && (by == nil || other.opened.Before(by.opened)) {
			by = other
		}
	}
	if by != nil {
		by.standsIn = true
	}
	return by != nil
}

// likely reports whether two streams may be of one proxy, one after the other.
func (c *stream) likely(old *stream) bool {
	return c.service == old.service && c.who.host == old.who.host
}

// keep remembers a stream that ended, as long as a proxy is that went.
func (n *node) keep(s *Server, c *stream) {
	f := c.frozen()
	n.gone = append(n.gone, f)
	f.aging = time.AfterFunc(s.options.Expect, s.locked(func() {
		if i := slices.Index(n.gone, f); i >= 0 {
			n.gone = slices.Delete(n.gone, i, i+1)
			s.review(n)
		}
	}))
}

// forgive forgets all that ended.
func (n *node) forgive() {
	for _, f := range n.gone {
		f.aging.Stop()
	}
	n.gone = nil
}

// frozen is what the ledger keeps of an ended stream: no more of its sets than
// their versions and the Set that they are of.
func (c *stream) frozen() *stream {
	out := &stream{server: c.server, service: c.service, delta: c.delta, who: c.who, probe: c.probe, opened: c.opened, node: c.node, seen: c.seen, closed: c.closed}
	for k := range c.subs {
		sub := &c.subs[k]
		out.subs[k] = subscription{
			wanted: sub.wanted, wildcard: sub.wildcard, sentAt: sub.sentAt, ackedAt: sub.ackedAt,
			waiting: sub.waiting, refused: sub.refused.summary(), acks: sub.acks, nacks: sub.nacks,
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
	return &set{kind: s.kind, version: s.version, identity: s.identity, last: s.last}
}

func (r *refusal) summary() *refusal {
	if r == nil {
		return nil
	}
	return &refusal{of: r.of.summary(), version: r.version, message: r.message, at: r.at}
}
