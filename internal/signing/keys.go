package signing

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Set are the keys that a host trusts at one moment. It is immutable. nil is the
// empty one.
type Set struct{ keys []Public }

// NewSet makes a set; keys that are there twice are in it once.
func NewSet(keys ...Public) *Set {
	s := &Set{}
	for _, k := range keys {
		if !s.has(k) {
			s.keys = append(s.keys, k)
		}
	}
	return s
}

func (s *Set) has(k Public) bool { return slices.ContainsFunc(s.keys, k.Equal) }

// Empty reports whether nothing can be verified.
func (s *Set) Empty() bool { return s == nil || len(s.keys) == 0 }

// IDs are the names of the keys, sorted.
func (s *Set) IDs() []string {
	if s == nil {
		return nil
	}
	out := make([]string, len(s.keys))
	for i, k := range s.keys {
		out[i] = k.ID
	}
	slices.Sort(out)
	return out
}

// Verify says whether a text is one of the keys' signature of a subject: nil, or
// one of this package's errors. It costs some 50 µs: remember what it says.
func (s *Set) Verify(about Subject, text string) error {
	if text == "" {
		return ErrUnsigned
	}
	sig, err := ParseSignature(text)
	if err != nil {
		return err
	}
	err = ErrUnknownKey
	if s == nil {
		return err
	}
	for _, k := range s.keys {
		if k.ID != sig.KeyID {
			continue
		}
		if sig.verify(k, about) {
			return nil
		}
		err = ErrWrong
	}
	return err
}

// Keys is the set that holds now, fed from several sides: a file, the store, a
// control plane. It is safe for concurrent use. Its zero value trusts nobody.
type Keys struct {
	set atomic.Pointer[Set]

	mu      sync.Mutex
	sources map[string][]Public
}

// Set replaces the keys of one source; none takes it out. What verifies after it
// has returned knows of it.
func (k *Keys) Set(source string, keys ...Public) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sources == nil {
		k.sources = map[string][]Public{}
	}
	k.sources[source] = slices.Clone(keys)
	var all []Public
	for _, name := range slices.Sorted(maps.Keys(k.sources)) {
		all = append(all, k.sources[name]...)
	}
	next := NewSet(all...)
	if slices.EqualFunc(k.Current().list(), next.keys, Public.Equal) {
		return // who remembers what a set said goes by which it is
	}
	k.set.Store(next)
}

// Current is the set that holds now; nil: nobody has set any. A nil Keys has
// none.
func (k *Keys) Current() *Set {
	if k == nil {
		return nil
	}
	return k.set.Load()
}

func (s *Set) list() []Public {
	if s == nil {
		return nil
	}
	return s.keys
}
