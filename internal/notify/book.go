package notify

import (
	"cmp"
	"slices"
	"time"
)

// Bounds of what one receiver remembers.
const (
	maxIDs    = 1024
	maxEvents = 1000 // that wait to be told
	maxKeys   = 4096 // of conditions
)

// book decides what a receiver is told, and when: the first event of a cause at
// once, what follows within the window together at its end; nothing twice; of a
// condition that comes and goes no more than how it stands. It is pure but for
// its own state, and not safe for concurrent use.
type book struct {
	window time.Duration
	seen   []string // IDs, the oldest first
	known  map[string]bool
	last   map[string]Event // what was told last of each condition, by key
	groups []*group         // in the order of their first event
}

// group are events of one cause.
type group struct {
	name    string
	after   time.Time // it may be told
	waiting []Event
}

func newBook(window time.Duration) *book {
	return &book{window: window, known: map[string]bool{}, last: map[string]Event{}}
}

// add takes an event in. It returns one that had to give way, because too much
// waits: the least severe of them, the oldest of those.
func (b *book) add(e Event, now time.Time) (dropped *Event) {
	if b.known[e.ID] {
		return nil
	}
	b.remember(e.ID)
	g := b.group(e, now)
	if i := slices.IndexFunc(g.waiting, func(w Event) bool { return e.Key != "" && w.Key == e.Key && !e.each() && !w.each() }); i >= 0 {
		g.waiting[i] = e // how it stands now
		return nil
	}
	g.waiting = append(g.waiting, e)
	if b.held() > maxEvents {
		return b.giveWay()
	}
	return nil
}

func (b *book) remember(id string) {
	b.known[id] = true
	b.seen = append(b.seen, id)
	if len(b.seen) > maxIDs {
		delete(b.known, b.seen[0])
		b.seen = b.seen[1:]
	}
}

// group returns the one that an event belongs to.
func (b *book) group(e Event, now time.Time) *group {
	name := e.ID
	switch {
	case e.each():
	case e.Group != "":
		name = "group " + e.Group
	case e.Key != "":
		name = "key " + e.Key
	}
	for _, g := range b.groups {
		if g.name == name {
			return g
		}
	}
	g := &group{name: name, after: now}
	b.groups = append(b.groups, g)
	return g
}

func (b *book) held() (n int) {
	for _, g := range b.groups {
		n += len(g.waiting)
	}
	return n
}

func (b *book) giveWay() *Event {
	var from *group
	at := 0
	for _, g := range b.groups {
		for i, e := range g.waiting {
			if from == nil || e.Severity.rank() < from.waiting[at].Severity.rank() {
				from, at = g, i
			}
		}
	}
	e := from.waiting[at]
	from.waiting = slices.Delete(from.waiting, at, at+1)
	return &e
}

// take returns what is to be told now, each slice one message, and when to ask
// again; zero: after the next add.
func (b *book) take(now time.Time) (messages [][]Event, next time.Time) {
	var kept []*group
	for _, g := range b.groups {
		if g.after.After(now) {
			kept = append(kept, g)
			if len(g.waiting) > 0 && (next.IsZero() || g.after.Before(next)) {
				next = g.after
			}
			continue
		}
		if news := b.news(g.waiting); len(news) > 0 {
			messages = append(messages, news)
			g.after = now.Add(b.window)
			g.waiting = nil
			kept = append(kept, g)
		}
	}
	b.groups = slices.DeleteFunc(kept, func(g *group) bool { return len(g.waiting) == 0 && !g.after.After(now) })
	return messages, next
}

// news are the events that say something new: a condition that was told and is
// as it was is left out.
func (b *book) news(waiting []Event) (out []Event) {
	for _, e := range waiting {
		if e.Key != "" {
			if last, told := b.last[e.Key]; told && last.Phase == e.Phase && !e.each() {
				continue
			}
			if len(b.last) >= maxKeys {
				b.forgetResolved()
			}
			b.last[e.Key] = e
		}
		out = append(out, e)
	}
	return out
}

func (b *book) forgetResolved() {
	for key, e := range b.last {
		if e.Phase == Resolved {
			delete(b.last, key)
		}
	}
}

// firing are the conditions that were told and hold, sorted by key.
func (b *book) firing() (out []Event) {
	for _, e := range b.last {
		if e.Phase == Firing {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b Event) int { return cmp.Compare(a.Key, b.Key) })
	return out
}
