package controller

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/safestate/safestate/internal/config"
)

// Trouble is something that is not as it should be between safestate and the API
// server. Conditions say it as well, where they can be written.
type Trouble struct {
	What   string
	Since  time.Time
	Others bool // it is for others to mend: safestate leaves it as it is
}

// fault is an error, and since when there has been one.
type fault struct {
	err   error
	since time.Time
}

const unwritable = "what holds cannot be written: "

// troubles are the objects that cannot be written: the first ones by name.
func (q *queue) troubles() (out []Trouble) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, f := range q.failures() {
		if i == mostTold {
			return append(out, Trouble{What: fmt.Sprintf("%s%d objects more", unwritable, len(q.late)-i), Since: f.since})
		}
		out = append(out, Trouble{What: unwritable + f.err.Error(), Since: f.since})
	}
	return out
}

// Troubles are what there is of them, the oldest first.
func (c *Controller) Troubles() []Trouble {
	var out []Trouble
	w := c.writer
	w.mu.Lock()
	if w.problem.err != nil && w.lead != nil {
		out = append(out, Trouble{What: unwritable + w.problem.err.Error(), Since: w.problem.since})
	}
	leads, uncarried := w.lead != nil, w.refused
	w.mu.Unlock()
	out = append(out, w.queue.troubles()...)
	c.watched.mu.Lock()
	for what, f := range c.watched.unread {
		out = append(out, Trouble{What: fmt.Sprintf("%s cannot be read, what it said holds: %s", what, f.err), Since: f.since})
	}
	c.watched.mu.Unlock()
	if leads {
		out = append(out, w.weights.troubles()...)
		out = append(out, c.status.troubles(uncarried)...)
	}
	slices.SortFunc(out, func(a, b Trouble) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.What, b.What)) })
	return out
}

// mostNamed is how many troubles of one kind are told one by one.
const mostNamed = 10

// troubles are what is refused of the configuration in use: its last good state holds,
// or nothing of it does. uncarried are routes whose policies no proxy has.
func (s *status) troubles(uncarried map[string]error) (out []Trouble) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded == nil {
		return nil
	}
	for i, name := range slices.Sorted(maps.Keys(s.loaded.Refused)) {
		if i == mostNamed {
			out = append(out, Trouble{What: fmt.Sprintf("%d more objects are refused", len(s.loaded.Refused)-i), Since: s.since[name]})
			break
		}
		out = append(out, Trouble{What: fmt.Sprintf("%s is refused, and what it said when it was good holds, if it ever was: %s", name, s.loaded.Refused[name][0]), Since: s.since[name]})
	}
	for i, route := range slices.Sorted(maps.Keys(uncarried)) {
		if i == mostNamed {
			out = append(out, Trouble{What: fmt.Sprintf("%d more routes have policies that nobody carries", len(uncarried)-i)})
			break
		}
		out = append(out, Trouble{What: "a policy is not carried: " + uncarried[route].Error()})
	}
	return out
}

// sinceWhen keeps when each was refused first.
func sinceWhen(before map[string]time.Time, refused map[string]config.Problems, now time.Time) map[string]time.Time {
	out := make(map[string]time.Time, len(refused))
	for name := range refused {
		out[name] = now
		if at, was := before[name]; was {
			out[name] = at
		}
	}
	return out
}

// once tells nothing again that it has been told all the time: errors that come back
// within forgetProblem are the same one. What it returns is safe for concurrent use.
func once(tell func(error)) func(error) {
	var mu sync.Mutex
	heard := map[string]time.Time{}
	return func(err error) {
		now, text := time.Now(), err.Error()
		mu.Lock()
		last, again := heard[text]
		again = again && now.Sub(last) < forgetProblem
		maps.DeleteFunc(heard, func(_ string, at time.Time) bool { return now.Sub(at) >= forgetProblem })
		heard[text] = now
		mu.Unlock()
		if !again {
			tell(err)
		}
	}
}

// forgetProblem is longer than what goes wrong is tried again after, whatever it is.
const forgetProblem = time.Minute
