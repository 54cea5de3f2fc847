package expr

import (
	"strings"

	"github.com/safestate/safestate/internal/scan"
)

// comparison is < <= > >=. NaN compares false with anything that has an order.
type comparison struct {
	op   string
	l, r node
}

func (n *comparison) eval(f *frame) value {
	if !f.spend(1) {
		return value{}
	}
	l := n.l.eval(f)
	if l.kind == kindError {
		return l
	}
	r := n.r.eval(f)
	if r.kind == kindError {
		return r
	}
	return ordered(f, n.op, &l, &r)
}

// ordered applies one of < <= > >= to two values.
func ordered(f *frame, op string, l, r *value) value {
	switch l.kind {
	case kindBool, kindInt, kindUint, kindDouble, kindString:
	default:
		return fail(NoOverload, op)
	}
	if l.isNaN() || r.isNaN() {
		return boolean(false)
	}
	var c int
	switch {
	case l.kind == kindString && r.kind == kindString:
		if !f.spendText(min(len(l.text), len(r.text))) {
			return value{}
		}
		c = strings.Compare(l.text, r.text)
	case l.kind == kindBool && r.kind == kindBool:
		c = order(l.num, r.num)
	default:
		var ok bool
		if c, ok = orderNumbers(l, r); !ok {
			return fail(NoOverload, op)
		}
	}
	switch op {
	case "<":
		return boolean(c < 0)
	case "<=":
		return boolean(c <= 0)
	case ">":
		return boolean(c > 0)
	}
	return boolean(c >= 0)
}

// equality is == and !=, of any two types.
type equality struct {
	not  bool
	l, r node
}

func (n *equality) eval(f *frame) value {
	if !f.spend(1) {
		return value{}
	}
	l := n.l.eval(f)
	if l.kind == kindError {
		return l
	}
	r := n.r.eval(f)
	if r.kind == kindError {
		return r
	}
	v := equal(f, &l, &r)
	if n.not && v.kind == kindBool {
		v.num ^= 1
	}
	return v
}

// equal is a bool, or an error where a duplicate key leaves it open or the
// steps are spent. It recurses as deep as the values are: documents are bounded
// by the scanner, literals by MaxDepth.
func equal(f *frame, l, r *value) value {
	if !f.spend(1) {
		return value{}
	}
	switch l.kind {
	case kindNull:
		return boolean(r.kind == kindNull)
	case kindBool:
		return boolean(r.kind == kindBool && l.num == r.num)
	case kindString:
		if r.kind != kindString || len(l.text) != len(r.text) {
			return boolean(false)
		}
		f.spendText(len(l.text))
		return boolean(l.text == r.text)
	case kindList:
		return equalLists(f, l, r)
	case kindMap:
		return equalMaps(f, l, r)
	}
	if l.isNaN() || r.isNaN() {
		return boolean(false)
	}
	c, ok := orderNumbers(l, r)
	return boolean(ok && c == 0)
}

func equalLists(f *frame, l, r *value) value {
	if r.kind != kindList || l.length() != r.length() {
		return boolean(false)
	}
	out := boolean(true)
	next := r.cursor(f)
	var a value
	l.each(f, &a, func() bool {
		b := next()
		out = equal(f, &a, &b)
		return out.isTrue()
	})
	return out
}

// cursor returns a function that gives the elements of a list one by one. It
// must not be called more often than the list is long.
func (v *value) cursor(f *frame) func() value {
	i := -1
	if v.list != nil {
		return func() value {
			i++
			return v.list.elems[i]
		}
	}
	it := v.node.Children()
	return func() value {
		if !it.Next() {
			return value{}
		}
		return f.fromNode(it.Value())
	}
}

func equalMaps(f *frame, l, r *value) value {
	if r.kind != kindMap || l.length() != r.length() {
		return boolean(false)
	}
	out := boolean(true)
	var k value
	l.each(f, &k, func() bool {
		a, found := l.find(f, &k)
		if !found || a.kind == kindError {
			out = a // a duplicate key, or NaN as one
			if !found {
				out = boolean(false)
			}
			return false
		}
		b, found := r.find(f, &k)
		switch {
		case !found:
			out = boolean(false)
		case b.kind == kindError:
			out = b
		default:
			out = equal(f, &a, &b)
		}
		return out.isTrue()
	})
	return out
}

// membership is in: of an element in a list, of a key in a map.
type membership struct{ l, r node }

func (n *membership) eval(f *frame) value {
	if !f.spend(1) {
		return value{}
	}
	l := n.l.eval(f)
	if l.kind == kindError {
		return l
	}
	r := n.r.eval(f)
	switch r.kind {
	case kindError:
		return r
	case kindMap:
		v, found := r.find(f, &l)
		if v.kind == kindError && found {
			return v
		}
		return boolean(found)
	case kindList:
		return contains(f, &r, &l)
	}
	return fail(NoOverload, "in")
}

func contains(f *frame, in, elem *value) value {
	found := boolean(false)
	if in.list == nil && elem.kind == kindString {
		// The texts of a JSON array need no copy to be compared.
		if _, numbers := in.node.Numbers(); numbers {
			return found
		}
		for it := in.node.Children(); it.Next(); {
			n := it.Value()
			if !f.spend(1) || !f.spendText(len(n.Raw())) {
				return value{}
			}
			if n.Kind() == scan.String && n.EqualText(elem.text) {
				return boolean(true)
			}
		}
		return found
	}
	var e value
	in.each(f, &e, func() bool {
		if v := equal(f, elem, &e); v.isTrue() {
			found = v
		}
		return found.isFalse()
	})
	return found
}
