package signals

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/safestate/safestate/internal/signals/slot"
)

const (
	// MostRows bounds the rows of one reporter, at both ends. The last ones are
	// kept for versions: once all others are taken, proxies share a row per
	// version, so that no version's counts are lost.
	MostRows   = 4096
	sharedRows = 1024
	// mostName bounds a name, in bytes.
	mostName = 256
	// idleRow is how long a row has not counted for that may be dropped where
	// another is needed.
	idleRow = time.Hour
)

// other names what has no row of its own.
const other = "other"

// Rows finds the rows of one version on one route. It is safe for concurrent
// use; a nil Rows has none.
type Rows struct {
	reporter *Reporter
	name     rowName // without the node
	flight   *flight
	mu       sync.Mutex
	byNode   atomic.Pointer[map[string]*Row]
}

// Rows returns the rows of a version (empty: none was chosen) of model
// (namespace/name) on a route (namespace/route/rule). Several Rows of the same
// names lead to the same rows. A nil Reporter has none.
func (r *Reporter) Rows(route, model, version string) *Rows {
	if r == nil {
		return nil
	}
	s := &Rows{reporter: r, name: rowName{route: fit(route), model: fit(model), version: fit(version)}}
	s.flight = r.flights.of(s.name)
	s.byNode.Store(&map[string]*Row{})
	return s
}

// Of returns the row of a proxy, by its node id. A row is for one request: it is
// not to be kept for an hour.
func (s *Rows) Of(node string) *Row {
	if s == nil {
		return nil
	}
	if row := (*s.byNode.Load())[node]; row != nil && !row.retired.Load() {
		return row
	}
	return s.find(node)
}

// Row returns the row of a version on a route and proxy.
func (r *Reporter) Row(node, route, model, version string) *Row {
	return r.Rows(route, model, version).Of(node)
}

func (s *Rows) find(node string) *Row {
	name := s.name
	name.node = fit(node)
	row := s.reporter.row(name)
	if row == nil || row.name != name {
		return row // shared: proxies without bound are not remembered one by one
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	grown := make(map[string]*Row, len(*s.byNode.Load())+1)
	maps.Copy(grown, *s.byNode.Load())
	maps.DeleteFunc(grown, func(_ string, old *Row) bool { return old.retired.Load() })
	grown[strings.Clone(node)] = row
	s.byNode.Store(&grown)
	return row
}

// fit makes a name fit for a message: short, and valid UTF-8.
func fit(name string) string { return slot.Name(name) }

// table holds a reporter's rows. It is safe for concurrent use.
type table struct {
	mu     sync.RWMutex
	byName map[rowName]*Row
	shared int // rows that proxies share
}

// row returns the row of a name, or, where there is no room for it, the one that
// its version has for all; nil: there is not even room for that.
func (r *Reporter) row(name rowName) *Row {
	t := &r.rows
	t.mu.RLock()
	row := r.known(&name)
	t.mu.RUnlock()
	if row != nil {
		return row
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if row := r.known(&name); row != nil {
		return row
	}
	if !r.full() {
		return r.add(name)
	}
	if t.shared >= r.sharedRows {
		r.lost.Add(1)
		return nil
	}
	t.shared++
	return r.add(rowName{other, other, name.model, name.version})
}

// known is the row of a name that is there, or where there is no room for one the
// shared row that is there; nil: there is none yet. The table's lock is held, for
// reading at least: where there are more proxies than rows every request comes
// here, and they must not wait for one another.
func (r *Reporter) known(name *rowName) *Row {
	row := r.rows.byName[*name]
	if row == nil && r.full() {
		row = r.rows.byName[rowName{other, other, name.model, name.version}]
	}
	return row
}

// full reports whether no proxy gets a row of its own any more.
func (r *Reporter) full() bool { return len(r.rows.byName)-r.rows.shared >= r.mostRows-r.sharedRows }

func (r *Reporter) add(name rowName) *Row {
	row := &Row{reporter: r, name: name, since: r.stamp(time.Now())}
	r.rows.byName[name] = row
	return row
}

// list returns the rows that there are.
func (t *table) list() []*Row {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]*Row, 0, len(t.byName))
	for _, row := range t.byName {
		out = append(out, row)
	}
	return out
}

// drop makes room: rows that have not counted for long go, once three quarters
// are taken. One that is asked for again begins anew. The reporter's reading lock
// is held.
func (r *Reporter) drop(now time.Time) {
	t := &r.rows
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.byName) <= r.mostRows/4*3 {
		return
	}
	for name, row := range t.byName {
		if row.dirty.Load() || row.readAt.IsZero() || now.Sub(row.readAt) < idleRow {
			continue
		}
		row.retired.Store(true)
		delete(t.byName, name)
		if name.node == other && name.route == other {
			t.shared--
		}
	}
}
