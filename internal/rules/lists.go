package rules

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/safestate/safestate/internal/fault"
	"github.com/safestate/safestate/internal/scan"
)

// path is a place in the request.
type path struct {
	text  string
	path  scan.Path
	inner bool // not the request itself
}

// at finds the value, which has to be there once.
func (p path) at(v *Values) (scan.Node, error) {
	if !v.Request.Exists() {
		return scan.Node{}, errors.New("the request has no JSON body")
	}
	if !p.inner {
		return v.Request, nil
	}
	n, ambiguous := p.path.First(v.Request)
	switch {
	case ambiguous:
		return scan.Node{}, fault.Errorf("%s: a key on the way is there more than once", p.text)
	case !n.Exists():
		return scan.Node{}, fault.Errorf("%s: the request has no such value", p.text)
	}
	return n, nil
}

// appendRaw splices a value, which has to be JSON: the scanner also reads bare
// NaN and Infinity.
func appendRaw(dst []byte, n scan.Node) ([]byte, error) {
	if !finite(n) {
		return nil, errors.New("the request has a NaN or an infinity there")
	}
	return append(dst, n.Raw()...), nil
}

// finite says that no bare NaN or Infinity is inside. The depth of recursion is
// the scanner's limit.
func finite(n scan.Node) bool {
	ok := n.Kind() != scan.NonFinite
	if _, numbers := n.Numbers(); numbers {
		n.EachFloat(func(_ int, _ float64, k scan.Kind) bool {
			ok = k != scan.NonFinite
			return ok
		})
		return ok
	}
	if n.Kind() == scan.Array || n.Kind() == scan.Object {
		for it := n.Children(); ok && it.Next(); {
			ok = finite(it.Value())
		}
	}
	return ok
}

// valueFiller splices one value.
type valueFiller struct{ path path }

func (f valueFiller) fill(dst []byte, v *Values) ([]byte, error) {
	n, err := f.path.at(v)
	if err != nil {
		return nil, err
	}
	return appendRaw(dst, n)
}

// list is an array of the request or something made of one.
type list interface {
	elements(v *Values) ([]scan.Node, error)
}

// listFiller writes a list.
type listFiller struct{ list list }

func (f listFiller) fill(dst []byte, v *Values) ([]byte, error) {
	nodes, err := f.list.elements(v)
	if err != nil {
		return nil, err
	}
	dst = append(dst, '[')
	for i, n := range nodes {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendRaw(dst, n); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

// countFiller writes the number of elements.
type countFiller struct{ list list }

func (f countFiller) fill(dst []byte, v *Values) ([]byte, error) {
	nodes, err := f.list.elements(v)
	if err != nil {
		return nil, err
	}
	return strconv.AppendInt(dst, int64(len(nodes)), 10), nil
}

// arrayAt is an array of the request.
type arrayAt struct{ path path }

func (l arrayAt) elements(v *Values) ([]scan.Node, error) {
	n, err := l.path.at(v)
	if err != nil {
		return nil, err
	}
	if n.Kind() != scan.Array {
		return nil, fault.Errorf("%s: not an array", l.path.text)
	}
	out := make([]scan.Node, 0, n.Len())
	for it := n.Children(); it.Next(); {
		out = append(out, it.Value())
	}
	return out, nil
}

// firstOf is the first n elements.
type firstOf struct {
	n    int
	list list
}

func (l firstOf) elements(v *Values) ([]scan.Node, error) {
	nodes, err := l.list.elements(v)
	if len(nodes) > l.n {
		nodes = nodes[:l.n]
	}
	return nodes, err
}

// pickOf is one field of each element.
type pickOf struct {
	name  string
	field scan.Path
	list  list
}

func (l pickOf) elements(v *Values) ([]scan.Node, error) {
	nodes, err := l.list.elements(v)
	if err != nil {
		return nil, err
	}
	for i, n := range nodes {
		got, ambiguous := l.field.First(n)
		if ambiguous || !got.Exists() {
			return nil, fault.Errorf("pick %s: element %d does not have it exactly once", l.name, i)
		}
		nodes[i] = got
	}
	return nodes, nil
}

// sortOf is the elements in the order of a field.
type sortOf struct {
	field scan.Path
	desc  bool
	list  list
}

// Ranks of sort keys.
const (
	rankNumber = iota
	rankText
	rankNone
)

// keyed is an element with its sort key.
type keyed struct {
	node   scan.Node
	rank   int
	number float64
	text   string
}

func (l sortOf) elements(v *Values) ([]scan.Node, error) {
	nodes, err := l.list.elements(v)
	if err != nil {
		return nil, err
	}
	keys := make([]*keyed, len(nodes)) // sorting moves them often
	for i, n := range nodes {
		keys[i] = l.key(n)
	}
	slices.SortStableFunc(keys, l.compare)
	for i := range keys {
		nodes[i] = keys[i].node
	}
	return nodes, nil
}

func (l sortOf) key(n scan.Node) *keyed {
	k := &keyed{node: n, rank: rankNone}
	got, ambiguous := l.field.First(n)
	if ambiguous {
		return k
	}
	switch got.Kind() {
	case scan.Number:
		k.rank = rankNumber
		k.number, _ = got.Float()
	case scan.String:
		k.rank = rankText
		k.text = string(got.Text(nil))
	}
	return k
}

func (l sortOf) compare(a, b *keyed) int {
	if a.rank == rankNone || b.rank == rankNone || a.rank != b.rank {
		return a.rank - b.rank
	}
	c := strings.Compare(a.text, b.text)
	switch {
	case a.number < b.number:
		c = -1
	case a.number > b.number:
		c = 1
	}
	if l.desc {
		c = -c
	}
	return c
}
