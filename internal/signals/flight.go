package signals

import (
	"sync"
	"sync/atomic"
)

// InForce is the set of kills that a host has in force.
type InForce struct {
	Set string // its name; empty: it is not told
	// Stops reports whether requests on a route to a version of a model are stopped;
	// nil: none are.
	Stops func(route, model, version string) bool
	// Changed is closed when another set is in force.
	Changed <-chan struct{}
}

// flight counts the requests that are open to one version on one route.
type flight struct {
	name rowName // without the node
	open atomic.Int64
	_    [cacheLine]byte
}

// mostFlights bounds them. What comes later is counted together, as stopped by
// whatever stops anything.
const mostFlights = 4 * MostRows

// flights are a reporter's. It is safe for concurrent use.
type flights struct {
	mu     sync.Mutex
	byName map[rowName]*flight
}

func (t *flights) of(name rowName) *flight {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byName == nil {
		t.byName = map[rowName]*flight{}
	}
	if f := t.byName[name]; f != nil {
		return f
	}
	if len(t.byName) >= mostFlights {
		name = rowName{}
		if f := t.byName[name]; f != nil {
			return f
		}
	}
	f := &flight{name: name}
	t.byName[name] = f
	return f
}

// to is how many requests are open to what is stopped.
func (t *flights) to(stops func(route, model, version string) bool) (open uint64) {
	if stops == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, f := range t.byName {
		if n := f.open.Load(); n > 0 && (name == rowName{} || stops(name.route, name.model, name.version)) {
			open += uint64(n)
		}
	}
	return open
}

// Open counts a request that is about to be let go to the version, until Done. Call
// it before looking whether the version is stopped: who then counts what is open,
// with a set in force, misses none that was let go without looking at that set.
func (s *Rows) Open() {
	if s != nil {
		s.flight.open.Add(1)
	}
}

// Done ends what Open began.
func (s *Rows) Done() {
	if s != nil {
		s.flight.open.Add(-1)
	}
}

// Calls counts a call to a version by another way than Envoy's, as Rows.Open, until
// over is called. A nil Reporter counts nothing.
func (r *Reporter) Calls(route, model, version string) (over func()) {
	if r == nil {
		return func() {}
	}
	f := r.flights.of(rowName{route: fit(route), model: fit(model), version: fit(version)})
	f.open.Add(1)
	return func() { f.open.Add(-1) }
}

// stopped is what the reporter says of kills.
type stopped struct {
	set  string
	open uint64
}

// stopped counts with the set that is in force now.
func (r *Reporter) stopped() stopped {
	if r.o.Kills == nil {
		return stopped{}
	}
	k := r.o.Kills()
	return stopped{k.Set, r.flights.to(k.Stops)}
}

// followKills has every link report when another set is in force, until the
// reporter ends.
func (r *Reporter) followKills() {
	for {
		r.hurry()
		select {
		case <-r.closing:
			return
		case <-r.o.Kills().Changed:
		}
	}
}
