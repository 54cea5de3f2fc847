package scan

// Hit is one place that a path names.
type Hit struct {
	Node Node // does not exist where the place is missing
	// Ambiguous says that a name on the way occurs more than once in its
	// object, or has a twin that differs only in case.
	Ambiguous bool
	// Stars holds the index that each [*] of the path stood at, for AppendAt;
	// it is shorter than the path's stars where an array on the way was
	// missing. It is valid during the call only.
	Stars []int
}

// Walk calls f with every existing value that the path names, in the order of
// the text, until f returns false. Missing places are passed over; Visit tells
// of them.
func (p Path) Walk(root Node, f func(Node) bool) {
	p.Visit(root, func(h Hit) bool { return !h.Node.Exists() || f(h.Node) })
}

// First returns the first existing value that the path names, and whether a
// name on the way to it was ambiguous as of Hit. Where nothing is found the
// node does not exist, and the answer tells of all ways tried.
func (p Path) First(root Node) (v Node, ambiguous bool) {
	p.Visit(root, func(h Hit) bool {
		if h.Node.Exists() {
			v, ambiguous = h.Node, h.Ambiguous
			return false
		}
		ambiguous = ambiguous || h.Ambiguous
		return true
	})
	return v, ambiguous
}

// Visit calls f with every place that the path names, missing ones included,
// until f returns false. Each [*] takes the elements of an array in order; of
// an empty array there is no place, and of a value that is no array one that
// is missing.
func (p Path) Visit(root Node, f func(h Hit) bool) {
	// stops holds the arrays that a [*] is walking, outermost first.
	var stops [maxStars]stop
	var stars []int
	if d := root.d; d != nil && p.stars > 0 {
		// A stack, so that f may visit again.
		base := len(d.stars)
		d.stars = append(d.stars, noStars[:p.stars]...)
		stars = d.stars[base:]
		defer func() { d.stars = d.stars[:base] }()
	}
	depth, at := 0, 0
	node, ambiguous := root, false
	for {
		var opened bool
		node, at, opened, ambiguous = p.descend(node, at, ambiguous)
		if opened {
			stops[depth] = stop{it: node.Children(), at: at, ambiguous: ambiguous}
			depth++
		} else if !f(Hit{Node: node, Ambiguous: ambiguous, Stars: stars[:depth]}) {
			return
		}
		for depth > 0 && !stops[depth-1].it.Next() {
			depth--
		}
		if depth == 0 {
			return
		}
		s := &stops[depth-1]
		stars[depth-1] = s.it.Index()
		node, at, ambiguous = s.it.Value(), s.at, s.ambiguous
	}
}

var noStars [maxStars]int

// stop is an array that a [*] is walking.
type stop struct {
	it        Iter
	at        int // the step behind the [*]
	ambiguous bool
}

// descend follows the path from step at. opened reports that it met a [*] at
// an array, node, and that at is the step behind it; otherwise node is the
// place, or does not exist.
func (p Path) descend(node Node, at int, ambiguous bool) (Node, int, bool, bool) {
	for ; at < len(p.segments); at++ {
		switch s := &p.segments[at]; s.kind {
		case member:
			ambiguous = ambiguous || node.Ambiguous(s.key)
			node, _ = node.Get(s.key)
		case index:
			node = node.At(s.index)
		default:
			if node.Kind() == Array {
				return node, at + 1, true, ambiguous
			}
			node = Node{}
		}
		if !node.Exists() {
			break
		}
	}
	return node, at, false, ambiguous
}
