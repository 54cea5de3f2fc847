package xds

import (
	"maps"
	"slices"
	"time"
)

// maxRetired bounds what waits to leave, of one kind, when a proxy keeps it all
// by never accepting anything.
const maxRetired = 1000

// retirement is a resource on its way out.
type retirement struct {
	resource *resource
	due      time.Time
}

// retired is what is on its way out, by kind and name.
type retired struct {
	of      [kinds]map[string]retirement
	changes [kinds]uint64 // how often it changed
	first   time.Time     // when the first is due; zero: nothing is on its way out
	timer   *time.Timer   // nil: there is nothing to wait for
	// holdout is a stream that was not settled when it was last looked for one: as
	// long as it is not, nobody else has to be asked.
	holdout *stream
}

func newRetired() (out retired) {
	for k := range out.of {
		out.of[k] = map[string]retirement{}
	}
	return out
}

// retireWhatLeft keeps what the latest content has no longer, clusters and the
// internal listeners that they lead to, for a while. s.mu is held.
func (s *Server) retireWhatLeft() {
	due := time.Now().Add(s.options.Linger)
	for _, k := range []kind{clusters, listeners} {
		if s.world == nil || s.world.content.sets[k] == s.latest.sets[k] {
			continue
		}
		now, out := s.latest.part(k), s.retired.of[k]
		for name, r := range s.world.content.part(k) {
			if now[name] == nil && (k == clusters || r.internal) {
				out[name] = retirement{resource: r, due: due}
			}
		}
		maps.DeleteFunc(out, func(name string, _ retirement) bool { return now[name] != nil })
		bound(out)
		s.retired.changes[k]++
	}
	s.scheduleRetirement()
}

// bound drops what is due first where there is too much.
func bound(out map[string]retirement) {
	if len(out) <= maxRetired {
		return
	}
	names := slices.SortedFunc(maps.Keys(out), func(a, b string) int { return out[a].due.Compare(out[b].due) })
	for _, name := range names[:len(names)-maxRetired] {
		delete(out, name)
	}
}

// retire drops what is due, once no connected proxy can still route to it. It is
// called whenever one of the two may have come true, at every request: it has to
// cost nothing where neither is. s.mu is held.
func (s *Server) retire() {
	now := time.Now()
	if s.closed || s.retired.first.IsZero() || s.retired.first.After(now) || !s.allSettled(now) {
		return
	}
	for _, k := range []kind{clusters, listeners} {
		before := len(s.retired.of[k])
		maps.DeleteFunc(s.retired.of[k], func(_ string, r retirement) bool { return !r.due.After(now) })
		if len(s.retired.of[k]) != before {
			s.retired.changes[k]++
		}
	}
	s.lead()
	s.scheduleRetirement()
}

// allSettled reports whether every stream that takes routes has accepted the
// latest, and none stands by its refusal of clusters: a change of theirs would
// bring it the refused ones again. That is put off for Resend and no longer: what
// is due may be what it refuses.
func (s *Server) allSettled(now time.Time) bool {
	spared := now.Before(s.retired.first.Add(s.options.Resend))
	unsettled := func(c *stream) bool {
		sub := &c.subs[routes]
		return sub.wanted && sub.accepted != s.world.sets[routes] || spared && c.subs[clusters].refused != nil
	}
	if c := s.retired.holdout; c != nil && c.closed.IsZero() && unsettled(c) {
		return false
	}
	s.retired.holdout = nil
	for c := range s.ledger.streams {
		if unsettled(c) {
			s.retired.holdout = c
			return false
		}
	}
	return true
}

// scheduleRetirement sets the timer to when the next one is due, or is put off no
// longer. s.mu is held.
func (s *Server) scheduleRetirement() {
	out := &s.retired
	if out.timer != nil {
		out.timer.Stop()
		out.timer = nil
	}
	var next time.Time
	now := time.Now()
	out.first = time.Time{}
	for _, k := range []kind{clusters, listeners} {
		for _, r := range out.of[k] {
			if out.first.IsZero() || r.due.Before(out.first) {
				out.first = r.due
			}
			at := r.due
			if !at.After(now) {
				at = at.Add(s.options.Resend)
			}
			if at.After(now) && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	if !next.IsZero() {
		out.timer = time.AfterFunc(next.Sub(now), s.locked(func() {
			s.retire()
			s.scheduleRetirement()
		}))
	}
}

// locked is f with the lock held.
func (s *Server) locked(f func()) func() {
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		f()
	}
}
