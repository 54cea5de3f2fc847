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
	"google.golang.org/grpc/status"
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
func (c *stream) receive(who identity, r request) (pass bool, err error) {
	s := c.server
	if err = r.bounded(); err == nil && c.node == nil { // only this goroutine introduces it
		err = who.admit(r.node)
	}
	var tell func(Observer)
	s.mu.Lock()
	if err == nil {
		pass, tell, err = c.book(r, time.Now())
	}
	if err != nil {
		c.err = err
	}
	s.mu.Unlock()
	switch {
	case s.options.Observer == nil:
	case err != nil:
		s.options.Observer.Denied(printable(r.node.GetId(), maxNode), status.Convert(err).Message())
	case tell != nil:
		tell(s.options.Observer)
	}
	return pass, err
}

// bounded refuses a request that is none of a proxy's.
func (r *request) bounded() error {
	if n := max(len(r.names), len(r.dropped), len(r.has)); n > maxNames {
		return status.Errorf(codes.ResourceExhausted, "a request names %d resources, at most %d are allowed", n, maxNames)
	}
	for _, names := range [][]string{r.names, r.dropped} {
		for _, name := range names {
			if len(name) > maxName {
				return status.Errorf(codes.InvalidArgument, "a request names a resource with %d bytes, at most %d are allowed", len(name), maxName)
			}
		}
	}
	return nil
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
		return false, nil, status.Error(codes.InvalidArgument, "the node id changed within a stream")
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
	if !sub.wanted {
		sub.wanted = true
		sub.arrive(r)
	}
	sub.forget(r.dropped...)
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

// accept books an acceptance of the last answer.
func (c *stream) accept(k kind, now time.Time) func(Observer) {
	s, sub := c.server, &c.subs[k]
	first := sub.accepted == nil || sub.accepted.version != sub.sent.version
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
	r := &refusal{version: sub.sent.version, content: sub.content, at: now, message: printable(message, maxMessage)}
	r.timer = c.after(c.server.options.Resend, func() {
		sub.unpark(r)
		c.advance()
	})
	sub.park(r)
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
