package xds

import (
	"crypto/sha256"
	"io"
	"maps"
	"slices"
)

// set is all resources of one kind in a world. All but last and bodies stays as
// it was made.
type set struct {
	kind     kind
	version  string            // hash of names and versions in list
	identity string            // the same of all, hidden ones too
	list     []*resource       // what who asks for everything gets, by name
	versions map[string]string // of list, by name; shared, never written
	byName   map[string]*resource

	// Under the Server's lock:
	last    uint64             // the newest Set that led to it
	bodies  map[string]*body   // answers made of it
	all     [2]*body           // those of them with all of list: whole, and by delta
	changes map[string]*change // from others to it, by their identity
}

// change is what leads from one set to another: put is to be sent, gone to be taken
// away; both by name. It is shared, and never written.
type change struct {
	put  []*resource
	gone []string
}

// maxChanges bounds the sets from which the way is remembered: proxies are at the
// last few.
const maxChanges = 16

// since is the change for who has all of base and no more; nil: who has nothing.
func (s *set) since(base *set) *change {
	identity, had := "", map[string]string(nil)
	if base != nil {
		identity, had = base.identity, base.versions
	}
	c := s.changes[identity]
	if c == nil {
		c = &change{}
		for _, r := range s.list {
			if had[r.name] != r.version {
				c.put = append(c.put, r)
			}
		}
		if len(c.put) == len(s.list) {
			c.put = s.list
		}
		for name := range had {
			if _, there := s.versions[name]; !there {
				c.gone = append(c.gone, name)
			}
		}
		slices.Sort(c.gone)
		makeRoom(s.changes, maxChanges)
		s.changes[identity] = c
	}
	return c
}

// makeRoom drops any one where there are enough.
func makeRoom[V any](m map[string]V, most int) {
	for key := range m {
		if len(m) < most {
			return
		}
		delete(m, key)
	}
}

func newSet(k kind, part map[string]*resource) *set {
	s := &set{kind: k, byName: part, versions: make(map[string]string, len(part)), bodies: map[string]*body{}, changes: map[string]*change{}}
	var hidden []*resource
	for _, name := range slices.Sorted(maps.Keys(part)) {
		if r := part[name]; r.hidden {
			hidden = append(hidden, r)
		} else {
			s.list = append(s.list, r)
			s.versions[name] = r.version
		}
	}
	s.version = hashOf(s.list)
	s.identity = s.version + hashOf(hidden)
	return s
}

// hashOf is the hash of names and versions.
func hashOf(list []*resource) string {
	h := sha256.New()
	for _, r := range list {
		_, _ = io.WriteString(h, r.name+"\x00"+r.version+"\n")
	}
	return short(h.Sum(nil))
}

// hasAll reports whether all names are in s.
func (s *set) hasAll(names []string) bool {
	for _, name := range names {
		if s.byName[name] == nil {
			return false
		}
	}
	return true
}
