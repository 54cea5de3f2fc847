package xds

import (
	"maps"
	"slices"
)

// need is a list of resources that have to be accepted before something else is
// told.
type need int

const (
	namedClusters    need = iota // by routes
	allClusters                  // a listener may name any
	reachedListeners             // internal ones, by the clusters that routes name
	needs
)

// of is the kind of what is needed.
func (n need) of() kind {
	if n == reachedListeners {
		return listeners
	}
	return clusters
}

// world is what all proxies are led to: the latest content, and what is on its
// way out. It stays as it was made, but for what it remembers: thousands of streams
// have one of a few sets.
type world struct {
	content *content
	leaving [kinds]uint64 // the state of what is on its way out
	sets    [kinds]*set
	names   [needs][]string

	// Under the Server's lock:
	covers  [needs]map[*set]bool // whether a set has all of what is needed
	whole   map[*set]bool        // whether it has all that the content has
	touched map[*body]bool       // whether an answer is about any of that
}

// newWorld adds what is retired to c. A set that before has too is taken from
// there: streams know by its address that they have it.
func newWorld(c *content, out *retired, before *world) *world {
	w := &world{content: c, leaving: out.changes, whole: map[*set]bool{}, touched: map[*body]bool{}}
	for k := range kinds {
		switch {
		case before != nil && before.content.sets[k] == c.sets[k] && before.leaving[k] == w.leaving[k]:
			w.sets[k] = before.sets[k]
		case len(out.of[k]) == 0:
			w.sets[k] = c.sets[k]
		default:
			part := maps.Clone(c.sets[k].byName)
			for name, old := range out.of[k] {
				part[name] = old.resource
			}
			w.sets[k] = newSet(k, part)
		}
		if before != nil && before.sets[k].identity == w.sets[k].identity {
			w.sets[k] = before.sets[k]
		}
		w.sets[k].last = c.seq
	}
	w.names[namedClusters], w.names[allClusters] = c.named, c.clusters
	for _, name := range c.leadsTo {
		if w.sets[listeners].byName[name] != nil {
			w.names[reachedListeners] = append(w.names[reachedListeners], name)
		}
	}
	for n := range needs {
		w.covers[n] = map[*set]bool{}
	}
	return w
}

// covered reports whether s has all of what is needed.
func (w *world) covered(n need, s *set) bool {
	return remembered(w.covers[n], s, func() bool { return s.hasAll(w.names[n]) })
}

// current reports whether s has all that the content has of its kind, as it is
// there: what is on its way out it may lack.
func (w *world) current(s *set) bool {
	return remembered(w.whole, s, func() bool { return len(w.content.sets[s.kind].since(s).put) == 0 })
}

// touches reports whether an answer is about anything that the content has.
func (w *world) touches(k kind, b *body) bool {
	return remembered(w.touched, b, func() bool {
		return slices.ContainsFunc(b.put, func(r *resource) bool { return w.content.part(k)[r.name] != nil })
	})
}

func remembered[K comparable](in map[K]bool, key K, find func() bool) bool {
	yes, known := in[key]
	if !known {
		yes = find()
		in[key] = yes
	}
	return yes
}
