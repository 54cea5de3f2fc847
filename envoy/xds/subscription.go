package xds

import (
	"cmp"
	"maps"
	"slices"
	"time"

	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
)

// subscription is what one stream asks of one kind, and how far it is. It
// decides, and does nothing else: it has no lock, and no clock of its own.
type subscription struct {
	wanted   bool                 // the proxy has asked for this kind
	view     cachev3.Subscription // which resources; nil before the first request
	wildcard bool                 // all of them
	open     bool                 // a request waits for an answer
	tell     func()               // tells the protocol's loop that there is one
	told     bool                 // it was, and has not fetched it yet

	// known is what the proxy has, by name, as far as it was told or said so
	// itself. Where it is all of base and no more, it is base's own map: never
	// write to it, use forget and take.
	known map[string]string
	base  *set
	claim string // what it came with: of the state-of-the-world, the version
	dirty bool   // known or view changed since the last look

	decided  *set // an answer of it is about to go out
	nonce    string
	sent     *set // the newest that it was told, or needed not to be
	body     *body
	content  string // hash of what the proxy sees of it
	sentAt   time.Time
	waiting  bool // sent, and neither accepted nor refused
	accepted *set
	sure     map[string]bool // names of accepted that no refused answer took away; nil: none was refused since
	ackedAt  time.Time
	refused  *refusal   // the one that stands
	refusals []*refusal // the last few that are parked
	acks     uint64
	nacks    uint64
}

// refusal is a version that a proxy did not take.
type refusal struct {
	of      *set   // the newest that it is about
	body    *body  // the answer; nil: not remembered
	version string // of the kind, as sent
	content string // hash of what the proxy sees of it
	message string
	at      time.Time
	timer   *time.Timer // until it may be sent again
}

// maxRefusals bounds the refused versions that are parked at once; the oldest
// is sent again earlier where there are more.
const maxRefusals = 8

// uncertain is the version of a resource of which the proxy may have the older
// or the newer.
const uncertain = "?"

// wants reports whether a resource of that name is asked for.
func (sub *subscription) wants(name string) bool {
	if sub.wildcard {
		return true
	}
	_, ok := sub.view.SubscribedResources()[name]
	return ok
}

// of returns the resources of s that are asked for, by name.
func (sub *subscription) of(s *set) []*resource {
	if sub.wildcard {
		return s.list
	}
	var out []*resource
	names := sub.view.SubscribedResources()
	if len(names) < len(s.byName) {
		for name := range names {
			if r := s.byName[name]; r != nil {
				out = append(out, r)
			}
		}
	} else { // a request may name thousands that there are not
		for name, r := range s.byName {
			if _, ok := names[name]; ok {
				out = append(out, r)
			}
		}
	}
	slices.SortFunc(out, func(a, b *resource) int { return cmp.Compare(a.name, b.name) })
	return out
}

// lacks compares what the proxy has with what it asks for of s.
func (sub *subscription) lacks(s *set) *change {
	switch {
	case sub.base == s:
		return &change{}
	case sub.wildcard && (sub.base != nil || len(sub.known) == 0):
		return s.since(sub.base)
	}
	c := &change{}
	for _, r := range sub.of(s) {
		if sub.known[r.name] != r.version {
			c.put = append(c.put, r)
		}
	}
	for name := range sub.known {
		_, there := s.versions[name]
		if !sub.wildcard {
			there = s.byName[name] != nil || !sub.wants(name)
		}
		if !there {
			c.gone = append(c.gone, name)
		}
	}
	slices.Sort(c.gone)
	return c
}

// forget makes the proxy's state of the names unknown: they are sent again.
func (sub *subscription) forget(names ...string) {
	if len(names) == 0 {
		return
	}
	sub.change(func() {
		for _, name := range names {
			delete(sub.known, name)
		}
	})
}

// doubt is forget for what the proxy may have or not: gone resources are taken
// away again as well.
func (sub *subscription) doubt(b *body) {
	sub.change(func() {
		for _, r := range b.put {
			sub.known[r.name] = uncertain
		}
		for _, name := range b.gone {
			sub.known[name] = uncertain
		}
	})
}

// change runs f on a map that nobody shares.
func (sub *subscription) change(f func()) {
	if sub.base != nil || sub.known == nil {
		own := make(map[string]string, len(sub.known))
		maps.Copy(own, sub.known)
		sub.known, sub.base = own, nil
	}
	sub.dirty = true
	f()
}

// take notes that the proxy now has what it asks for of s. kept are those that
// it has besides, and is to lose later.
func (sub *subscription) take(s *set, kept []string) {
	if sub.wildcard && len(kept) == 0 {
		sub.known, sub.base = s.versions, s
		return
	}
	known := make(map[string]string, len(kept)+1)
	for _, name := range kept {
		known[name] = sub.known[name]
	}
	for _, r := range sub.of(s) {
		known[r.name] = r.version
	}
	sub.known, sub.base = known, nil
}

// trim forgets what is not asked for any longer.
func (sub *subscription) trim() {
	if sub.wildcard {
		return
	}
	var dropped []string
	for name := range sub.known {
		if !sub.wants(name) {
			dropped = append(dropped, name)
		}
	}
	if len(dropped) > 0 {
		sub.forget(dropped...)
	}
}

// version is the version of what the proxy sees of s.
func (sub *subscription) version(s *set) string {
	if sub.wildcard {
		return s.version
	}
	if view := sub.of(s); !slices.Equal(view, s.list) {
		return hashOf(view)
	}
	return s.version
}

// parked reports whether s is, to this proxy, what it refused a while ago.
// That refusal then is the one that stands.
func (sub *subscription) parked(s *set) bool {
	if len(sub.refusals) == 0 {
		return false
	}
	content := sub.version(s)
	for _, r := range sub.refusals {
		if r.content == content {
			r.of, sub.refused = s, r
			return true
		}
	}
	return false
}

// park keeps what r is about from being sent.
func (sub *subscription) park(r *refusal) {
	sub.refused = r
	sub.refusals = append(sub.refusals, r)
	if len(sub.refusals) > maxRefusals {
		sub.unpark(sub.refusals[0])
	}
}

// unpark allows it to be sent again. The refusal stands until something is
// accepted.
func (sub *subscription) unpark(r *refusal) {
	r.timer.Stop()
	sub.refusals = slices.DeleteFunc(sub.refusals, func(other *refusal) bool { return other == r })
}

// holds reports whether the proxy has all of what is needed for certain: it
// accepted it, and nothing that it was sent since takes any of it away. What is on
// its way may be in use at any moment, and what was refused may be, in part.
func (sub *subscription) holds(w *world, n need) bool {
	if sub.accepted == nil || !w.covered(n, sub.accepted) || sub.waiting && !w.covered(n, sub.sent) {
		return false
	}
	if sub.sure == nil {
		return true
	}
	for _, name := range w.names[n] {
		if !sub.sure[name] {
			return false
		}
	}
	return true
}

// unsure notes that what was sent last was refused.
func (sub *subscription) unsure() {
	if sub.accepted == nil {
		return
	}
	sure := map[string]bool{}
	for name := range sub.accepted.byName {
		if sub.sent.byName[name] != nil && (sub.sure == nil || sub.sure[name]) {
			sure[name] = true
		}
	}
	sub.sure = sure
}

// reached reports whether the proxy has what it asks for of a Set at least as new
// as seq.
func (sub *subscription) reached(seq uint64) bool {
	return sub.accepted != nil && sub.accepted.last >= seq
}

// hasAllBut reports whether a proxy that takes everything lacks nothing but what is
// on its way out: it has refused that, or was not sent it.
func (sub *subscription) hasAllBut(w *world, k kind) bool {
	return sub.wildcard && !sub.waiting && sub.accepted != nil && w.current(sub.accepted) &&
		(sub.refused == nil || !w.touches(k, sub.refused.body))
}

// applied reports whether it has accepted something of that. Where nothing that
// it asks for exists, there is nothing that it could have accepted.
func (sub *subscription) applied(seq uint64) bool {
	return sub.reached(seq) && (sub.wildcard || len(sub.known) > 0)
}
