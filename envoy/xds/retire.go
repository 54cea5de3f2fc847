package xds

import (
	"maps"
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

// retireWhatLeft keeps what the latest content has no longer, clusters and the
// internal listeners that they lead to, for a while. s.mu is held.
func (s *Server) retireWhatLeft() {
	due := time.Now().Add(s.options.Linger)
	for _, k := range []kind{clusters, listeners} {
		now := s.latest.parts[k]
		if s.world != nil {
			for name, r := range s.world.content.parts[k] {
				if now[name] == nil && (k == clusters || r.internal) {
					s.retired[k][name] = retirement{resource: r, due: due}
				}
			}
		}
		for name := range now {
			delete(s.retired[k], name)
		}
		for len(s.retired[k]) > maxRetired {
			s.dropOldest(k)
		}
	}
	s.scheduleRetirement()
}

func (s *Server) dropOldest(k kind) {
	var oldest string
	for name, r := range s.retired[k] {
		if oldest == "" || r.due.Before(s.retired[k][oldest].due) {
			oldest = name
		}
	}
	delete(s.retired[k], oldest)
}

// retire drops what is due, once no connected proxy can still route to it. It is
// called whenever one of the two may have come true. s.mu is held.
func (s *Server) retire() {
	now := time.Now()
	if s.closed || !s.anyDue(now) || !s.allSettled() {
		return
	}
	for _, k := range []kind{clusters, listeners} {
		maps.DeleteFunc(s.retired[k], func(_ string, r retirement) bool { return !r.due.After(now) })
	}
	s.lead()
	s.scheduleRetirement()
}

func (s *Server) anyDue(now time.Time) bool {
	for _, k := range []kind{clusters, listeners} {
		for _, r := range s.retired[k] {
			if !r.due.After(now) {
				return true
			}
		}
	}
	return false
}

// allSettled reports whether every stream that takes routes has accepted the
// latest, and none stands by its refusal of clusters: a change of theirs would
// bring it the refused ones again.
func (s *Server) allSettled() bool {
	for c := range s.ledger.streams {
		if sub := &c.subs[routes]; sub.wanted && sub.accepted != s.world.sets[routes] || c.subs[clusters].refused != nil {
			return false
		}
	}
	return true
}

// scheduleRetirement sets the timer to the next one. s.mu is held.
func (s *Server) scheduleRetirement() {
	if s.retiring != nil {
		s.retiring.Stop()
		s.retiring = nil
	}
	var next time.Time
	now := time.Now()
	for _, k := range []kind{clusters, listeners} {
		for _, r := range s.retired[k] {
			if r.due.After(now) && (next.IsZero() || r.due.Before(next)) {
				next = r.due
			}
		}
	}
	if !next.IsZero() {
		s.retiring = time.AfterFunc(next.Sub(now), s.locked(s.retire))
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
