package xds

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// aggregated is the service of a stream that carries every type; another has
// its type's URL.
const aggregated = ""

// stream is one proxy's stream. It is guarded by the Server's lock.
//
// Of each kind one answer at a time is on its way: the next is made when this
// one was accepted or refused, of what is newest then. So a proxy that is slow,
// or reads nothing, has nothing queued for it.
type stream struct {
	server  *Server
	service string
	delta   bool
	who     identity
	account string // by which its peer is charged with it
	probe   string // where its proxy says that it is asked; empty: it does not
	opened  time.Time

	node     *node // nil before the first request
	subs     [kinds]subscription
	seen     time.Time // when it last said something
	closed   time.Time // zero: it is open
	parting  bool      // it has asked for runtimes, and asks for none any more
	standsIn bool      // its proxy had another before, which has ended
	called   string    // what it called itself where it was turned away
	err      error     // why it is ended by us
	aging    *time.Timer
}

// open begins a stream.
func (s *Server) open(who identity, service string, delta bool) (*stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosing
	}
	now := time.Now()
	c := &stream{server: s, service: service, delta: delta, who: who, account: who.account(), opened: now, seen: now}
	if err := s.roomForStream(c); err != nil {
		return nil, err
	}
	s.ledger.charge(c.account, 0, 1)
	return c, nil
}

var errClosing = status.Error(codes.Unavailable, "the control plane is closing: go on with what you have")

// close ends it. What it said stays in the ledger.
func (c *stream) close() {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	c.closed = time.Now()
	s.ledger.charge(c.account, 0, -1)
	if c.aging != nil {
		c.aging.Stop()
	}
	for k := range c.subs {
		sub := &c.subs[k]
		sub.open = false
		for _, r := range sub.refusals {
			r.timer.Stop()
		}
	}
	if c.node != nil {
		s.leave(c)
		s.retire()
	}
}

// reason is what the proxy is told at the end of its stream.
func (c *stream) reason(err error) error {
	s := c.server
	s.mu.Lock()
	node := c.called
	switch {
	case c.err != nil:
		err = c.err
	case s.closed:
		err = errClosing
	}
	if node == "" && c.node != nil {
		node = c.node.id
	}
	s.mu.Unlock()
	s.tellDenied(node, err)
	return err
}

// after calls f with the lock held, unless the stream has ended by then.
func (c *stream) after(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, c.server.locked(func() {
		if c.closed.IsZero() {
			f()
		}
	}))
}

// advance tells the protocol's loop of every kind that has an answer due.
func (c *stream) advance() {
	if c.node == nil || !c.closed.IsZero() {
		return
	}
	for k := range kinds {
		if c.due(k) {
			c.subs[k].open, c.subs[k].told = false, true
			c.subs[k].tell()
		}
	}
}

// due reports whether the proxy is to be told of a kind now. Where it has all
// there is, that is noted.
func (c *stream) due(k kind) bool {
	sub := &c.subs[k]
	if !sub.open || sub.told || sub.waiting {
		return false
	}
	target := c.allowed(k)
	if target == nil || sub.sent == target && !sub.dirty || sub.parked(target) {
		return false
	}
	if sub.sent == nil && !c.delta && sub.wildcard && sub.claim == target.version {
		sub.take(target, nil)
	}
	need := sub.lacks(target)
	gone, kept := c.spare(k, need.gone)
	again := sub.refused != nil && sub.refused.content == sub.version(target)
	if len(need.put)+len(gone) > 0 || again || sub.sent == nil && c.expectsAnswer(sub, k) {
		sub.decided = target
		return true
	}
	sub.sent, sub.accepted, sub.refused, sub.sure, sub.dirty = target, target, nil, nil, len(kept) > 0
	return false
}

// expectsAnswer reports whether a proxy waits for a first answer even where
// nothing is in it: for the clusters and listeners that there are.
func (c *stream) expectsAnswer(sub *subscription, k kind) bool {
	if c.delta {
		return sub.wildcard && sub.claim == ""
	}
	return (sub.wildcard || k.whole()) && sub.base == nil
}

// spare splits what is to be taken away into what may go now and what is kept
// for later.
func (c *stream) spare(k kind, gone []string) (now, kept []string) {
	switch {
	case len(gone) == 0:
		return nil, nil
	case !c.delta && k.whole():
		return gone, nil // by not being in the answer: it cannot be put off
	case !c.delta:
		return nil, nil
	case (k == clusters || k == listeners) && !c.settled():
		if c.young() && c.aging == nil {
			c.aging = c.after(time.Until(c.opened.Add(c.server.options.Linger)), c.advance)
		}
		return nil, gone
	}
	return gone, nil
}

// answer makes the answer that goes out now, of what is newest.
func (c *stream) answer(k kind, nonce string) *body {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := &c.subs[k]
	sub.told = false
	target := c.allowed(k)
	if target == nil {
		target = sub.decided // what it was told of; the newest has to wait
	}
	if target == nil {
		target = sub.sent
	}
	need := sub.lacks(target)
	gone, kept := c.spare(k, need.gone)
	if c.delta {
		sub.body = target.deltaBody(need.put, gone)
	} else {
		sub.body = target.wholeBody(sub.of(target), sub.version(target))
	}
	sub.content = sub.version(target)
	sub.take(target, kept)
	sub.sent, sub.decided, sub.dirty = target, nil, len(kept) > 0
	sub.nonce, sub.sentAt, sub.waiting = nonce, time.Now(), true
	if k == clusters {
		c.warm(need.put)
	}
	return sub.body
}

// young reports whether a proxy has just come: what it had before then is not
// taken from it.
func (c *stream) young() bool { return time.Since(c.opened) < c.server.options.Linger }

// warm sends the endpoints of changed clusters again: a proxy uses such a
// cluster only when they have come after it, changed or not.
func (c *stream) warm(changed []*resource) {
	sub := &c.subs[endpoints]
	for _, r := range changed {
		if r.assignment != "" && sub.known[r.assignment] != "" {
			sub.forget(r.assignment)
		}
	}
	if sub.dirty {
		c.advance()
	}
}
