package detect

import (
	"strconv"
	"strings"

	"github.com/safestate/safestate/internal/scan"
)

// maxDepth is what the scanner lets pass, and one for the root.
const maxDepth = 65

// walker visits what is below a node without recursion: every scalar, and
// every array of numbers as one. The zero value walks nothing; it holds some
// five kilobytes and belongs on the stack.
type walker struct {
	root   scan.Node
	inside [maxDepth]scan.Node // the containers that are open, outermost first
	at     [maxDepth]scan.Iter
	depth  int
	begun  bool
}

func (w *walker) start(root scan.Node) { w.root, w.depth, w.begun = root, 0, false }

// next returns the next leaf. An empty object or array is passed over, but for
// an empty array of numbers.
func (w *walker) next() (scan.Node, bool) {
	if !w.begun {
		w.begun = true
		if !w.enter(w.root) {
			return w.root, w.root.Exists()
		}
	}
	for w.depth > 0 {
		it := &w.at[w.depth-1]
		if !it.Next() {
			w.depth--
			continue
		}
		if n := it.Value(); !w.enter(n) {
			return n, true
		}
	}
	return scan.Node{}, false
}

// enter opens a container; it reports false for a leaf.
func (w *walker) enter(n scan.Node) bool {
	switch n.Kind() {
	case scan.Object:
	case scan.Array:
		if _, numbers := n.Numbers(); numbers {
			return false
		}
	default:
		return false
	}
	if w.depth == maxDepth {
		return false // the scanner's limit is below
	}
	w.inside[w.depth], w.at[w.depth] = n, n.Children()
	w.depth++
	return true
}

// parent returns the container of the current leaf, above 0, or of one that
// is further out; it does not exist above the root.
func (w *walker) parent(above int) scan.Node {
	if i := w.depth - 1 - above; i >= 0 {
		return w.inside[i]
	}
	return scan.Node{}
}

// key returns the member name under which the walk stands in the container
// that parent(above) returns, nil in an array. Valid until the next call.
func (w *walker) key(above int) []byte {
	if i := w.depth - 1 - above; i >= 0 && w.inside[i].Kind() == scan.Object {
		return w.at[i].Key()
	}
	return nil
}

// appendPlace appends where the current leaf is, relative to the root.
func (w *walker) appendPlace(dst []byte) []byte {
	for i := range w.depth {
		if w.inside[i].Kind() == scan.Object {
			dst = appendKey(dst, w.at[i].Key())
		} else {
			dst = appendIndex(dst, w.at[i].Index())
		}
	}
	return dst
}

// longestKey bounds a model's own text in a reason.
const longestKey = 64

func appendKey(dst, key []byte) []byte {
	name := string(key[:min(len(key), longestKey)])
	if name == "" || strings.ContainsAny(name, ".[]'\" ") {
		return append(append(append(dst, "['"...), strings.ReplaceAll(name, "'", "\\'")...), "']"...)
	}
	if len(dst) > 0 {
		dst = append(dst, '.')
	}
	return append(dst, name...)
}

func appendIndex(dst []byte, i int) []byte {
	dst = append(dst, '[')
	dst = strconv.AppendInt(dst, int64(i), 10)
	return append(dst, ']')
}
