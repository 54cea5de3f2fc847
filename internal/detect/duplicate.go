package detect

import (
	"hash/maphash"
	"slices"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/verdict"
)

// findDuplicate finds a key that occurs twice in an object of the predictions,
// where every value is inspected, so that two readers may see two predictions.
// Names that differ only in case are no duplicates here: they may be labels. For
// a name that the policy mentions they are, and its own check says so.
func (t *plan) findDuplicate(m *protocol.Message) verdict.Finding {
	if t.ambiguous == "" || protocol.Tensors(t.protocol) || t.protocol == policy.JSON {
		return verdict.Finding{}
	}
	if key, twice := duplicateIn(m.Rows); twice {
		return found(t.ambiguous, verdict.BrokenDuplicate, quoted(key))
	}
	return verdict.Finding{}
}

// duplicateIn looks at every object below n and at n itself.
func duplicateIn(n scan.Node) (key []byte, twice bool) {
	var stack [maxDepth]scan.Iter
	depth := 0
	enter := func(n scan.Node) bool {
		if _, flat := n.Numbers(); flat || n.Kind() != scan.Object && n.Kind() != scan.Array {
			return true
		}
		if n.Kind() == scan.Object {
			if key, twice = duplicateKey(n); twice {
				return false
			}
		}
		if depth < maxDepth { // the scanner's limit is below
			stack[depth] = n.Children()
			depth++
		}
		return true
	}
	if !enter(n) {
		return key, true
	}
	for depth > 0 {
		if it := &stack[depth-1]; !it.Next() {
			depth--
		} else if !enter(it.Value()) {
			return key, true
		}
	}
	return nil, false
}

var keySeed = maphash.MakeSeed()

// duplicateKey compares the hashes of an object's keys, and the keys where two
// hashes agree.
func duplicateKey(object scan.Node) (key []byte, twice bool) {
	var room [16]uint64
	hashes := room[:0]
	for it := object.Children(); it.Next(); {
		hashes = append(hashes, maphash.Bytes(keySeed, it.Key()))
	}
	slices.Sort(hashes)
	for i := 1; i < len(hashes); i++ {
		if hashes[i] != hashes[i-1] {
			continue
		}
		for it := object.Children(); it.Next(); {
			if maphash.Bytes(keySeed, it.Key()) != hashes[i] {
				continue
			}
			name := string(it.Key())
			if _, dup := object.Get(name); dup {
				return []byte(name), true
			}
		}
	}
	return nil, false
}
