package xds

import (
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
)

const (
	maxNames   = 10_000 // that one stream asks for, of one kind
	maxName    = 1 << 10
	maxMessage = 4 << 10 // of a refusal, in bytes
)

// request is what both protocols' requests have.
type request struct {
	node    *corev3.Node
	typeURL string
	names   []string          // asked for
	dropped []string          // asked for no longer, incrementally
	has     map[string]string // what the proxy came with, incrementally
	version string            // what it has, state-of-the-world
	nonce   string
	refusal *rpcstatus.Status
}

// receive books a request. Where pass, it goes on to the protocol's loop;
// others are of types that are not ours, and are not answered. An error ends
// the stream.
func (c *stream) receive(r request) (pass bool, err error) {
	s := c.server
	if err = r.bounded(); err == nil && c.node == nil { // only this goroutine introduces it
		err = c.who.admit(r.node)
		c.probe = probeOf(r.node, &c.who)
	}
	var tell func(Observer)
	s.mu.Lock()
	if err == nil {
		pass, tell, err = c.book(r, time.Now())
	}
	if err != nil {
		c.err, c.called = err, printable(r.node.GetId(), maxNode)
	}
	s.mu.Unlock()
	if tell != nil && s.options.Observer != nil {
		tell(s.options.Observer)
	}
	return pass, err
}

// bounded refuses a request that is none of a proxy's.
func (r *request) bounded() error {
	if n := max(len(r.names), len(r.dropped), len(r.has)); n > maxNames {
		return deny(CauseRequest, codes.ResourceExhausted, "a request names %d resources, at most %d are allowed", n, maxNames)
	}
	for _, names := range [][]string{r.names, r.dropped} {
		for _, name := range names {
			if len(name) > maxName {
				return tooLong("a request names a resource with", name)
			}
		}
	}
	for name, version := range r.has {
		switch {
		case len(name) > maxName:
			return tooLong("a request comes with a resource whose name has", name)
		case len(version) > maxName:
			return tooLong("a request comes with a resource whose version has", version)
		}
	}
	if len(r.version) > maxName {
		return tooLong("version_info has", r.version)
	}
	return nil
}

func tooLong(what, text string) error {
	return deny(CauseRequest, codes.InvalidArgument, "%s %d bytes, at most %d are allowed", what, len(text), maxName)
}

// book is receive with the lock held. tell is for the observer, once it is
// released.
func (c *stream) book(r request, now time.Time) (pass bool, tell func(Observer), err error) {
	if !c.closed.IsZero() {
		return false, nil, errClosing
	}
	switch id := r.node.GetId(); {
	case c.node == nil:
		if err := c.server.join(c, id); err != nil {
			return false, nil, err
		}
	case id != "" && id != c.node.id:
		return false, nil, deny(CauseNode, codes.InvalidArgument, "the node id changed within a stream")
	}
	c.seen, c.node.seen = now, now
	if r.typeURL == "" {
		r.typeURL = c.service
	}
	k, ours := kindOf(r.typeURL)
	if !ours || c.service != aggregated && c.service != r.typeURL {
		// A stream of all types must name one; the loop says so.
		return r.typeURL == "", nil, nil
	}
	sub := &c.subs[k]
	first := !sub.wanted
	if first {
		sub.wanted = true
		sub.arrive(r)
		c.node.asks(k)
	}
	if k == runtimes && !c.delta {
		c.parting = !first && len(r.names) == 0
		c.server.ledger.hosts[c] = struct{}{}
	}
	sub.forget(r.dropped...)
	if c.delta {
		sub.ask(r.names, first)
	}
	if r.nonce == "" || r.nonce != sub.nonce || !sub.waiting {
		return true, nil, nil // a subscription, or about an older answer
	}
	sub.waiting = false
	if r.refusal != nil || sub.body.whole != nil && r.version != sub.body.whole.GetVersionInfo() {
		return true, c.refuse(k, r.refusal.GetMessage(), now), nil
	}
	return true, c.accept(k, now), nil
}

// arrive notes what a proxy came with.
func (sub *subscription) arrive(r request) {
	sub.claim = r.version
	if len(r.has) > 0 {
		sub.known, sub.claim, sub.dirty = maps.Clone(r.has), "some", true
	}
}

// ask notes that names are asked for, incrementally: what is, is sent, also where
// it was sent before, as the proxy may have dropped it since; of what is not, the
// proxy is told so. What it came with it has.
func (sub *subscription) ask(names []string, first bool) {
	if len(names) == 0 {
		return
	}
	sub.change(func() {
		for _, name := range names {
			if cameWith := first && sub.known[name] != ""; name != wildcard && !cameWith {
				sub.known[name] = uncertain
			}
		}
	})
}

// wildcard asks for everything.
const wildcard = "*"

// accept books an acceptance of the last answer.
func (c *stream) accept(k kind, now time.Time) func(Observer) {
	s, sub := c.server, &c.subs[k]
	first := sub.accepted == nil || sub.accepted.identity != sub.sent.identity
	sub.accepted, sub.ackedAt, sub.refused, sub.sure = sub.sent, now, nil, nil
	sub.acks++
	for other := range c.node.streams { // what it needed it now has
		if other == c || c.service != aggregated {
			other.advance()
		}
	}
	s.review(c.node) // at once: the loop may be busy sending something else
	if !first {
		return nil
	}
	node, version := c.node.id, sub.sent.version
	return func(o Observer) { o.Accepted(node, k.url(), version) }
}

// refuse books a refusal of the last answer, which is parked.
func (c *stream) refuse(k kind, message string, now time.Time) func(Observer) {
	sub := &c.subs[k]
	sub.nacks++
	sub.doubt(sub.body)
	sub.unsure()
	r := &refusal{of: sub.sent, body: sub.body, version: sub.sent.version, content: sub.content, at: now, message: printable(message, maxMessage)}
	r.timer = c.after(c.server.options.Resend, func() {
		sub.unpark(r)
		c.advance()
	})
	sub.park(r)
	c.server.review(c.node)
	node := c.node.id
	return func(o Observer) { o.Refused(node, k.url(), r.version, r.message) }
}

// printable is text from outside as a log or a terminal may show it: at most so
// many bytes, without control characters.
func printable(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == utf8.RuneError {
			return ' '
		}
		return r
	}, text)
	if len(text) <= most {
		return text
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return fmt.Sprintf("%s…", text[:cut])
}
