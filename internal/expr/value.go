package expr

import (
	"math"

	"github.com/safestate/safestate/internal/scan"
)

// kind is the runtime type of a value.
type kind uint8

const (
	kindError kind = iota // the zero value is an error, so that nothing passes for a result by accident
	kindNull
	kindBool
	kindInt
	kindUint
	kindDouble
	kindString
	kindList
	kindMap
)

var kindNames = [...]string{"error", "null", "bool", "int", "uint", "double", "string", "list", "map"}

func (k kind) String() string { return kindNames[k] }

// value is one CEL value. Lists and maps are either JSON (in node) or built by
// the expression (in list, dict).
type value struct {
	kind kind
	num  uint64 // bool, int, uint, the bits of a double, the Code of an error
	text string // a string, the detail of an error
	node scan.Node
	list *list
	dict *dict
}

// list is a list that an expression built.
type list struct{ elems []value }

// dict is a map that an expression built. Keys are compared as a Go map of
// typed values would: 1, 1u and 1.0 are three keys.
type dict struct{ entries []entry }

type entry struct{ key, val value }

func fail(c Code, detail string) value {
	return value{kind: kindError, num: uint64(c), text: detail}
}

func boolean(b bool) value {
	v := value{kind: kindBool}
	if b {
		v.num = 1
	}
	return v
}

func integer(i int64) value      { return value{kind: kindInt, num: uint64(i)} }
func unsigned(u uint64) value    { return value{kind: kindUint, num: u} }
func double(d float64) value     { return value{kind: kindDouble, num: math.Float64bits(d)} }
func text(s string) value        { return value{kind: kindString, text: s} }
func elements(es []value) value  { return value{kind: kindList, list: &list{es}} }
func (v *value) double() float64 { return math.Float64frombits(v.num) }
func (v *value) isTrue() bool    { return v.kind == kindBool && v.num != 0 }
func (v *value) isFalse() bool   { return v.kind == kindBool && v.num == 0 }

func (v *value) isNaN() bool {
	return v.kind == kindDouble && math.IsNaN(v.double())
}

// fromNode reads one JSON value; objects and arrays stay where they are.
func (f *frame) fromNode(n scan.Node) value {
	switch n.Kind() {
	case scan.Null:
		return value{kind: kindNull}
	case scan.False:
		return boolean(false)
	case scan.True:
		return boolean(true)
	case scan.Number, scan.NonFinite:
		d, ok := n.Float()
		if !ok {
			return fail(BadNumber, "number")
		}
		return double(d)
	case scan.String:
		if !f.spendText(len(n.Raw())) {
			return value{}
		}
		return text(string(n.Text(nil)))
	case scan.Array:
		return value{kind: kindList, node: n}
	case scan.Object:
		return value{kind: kindMap, node: n}
	}
	return fail(Unavailable, "")
}

// length is the number of elements or entries of a list or map.
func (v *value) length() int {
	switch {
	case v.list != nil:
		return len(v.list.elems)
	case v.dict != nil:
		return len(v.dict.entries)
	}
	return v.node.Len()
}

// each calls fn for the elements of a list or the keys of a map, in order,
// with the element in *at, until it returns false. Each round is a step.
func (v *value) each(f *frame, at *value, fn func() bool) {
	switch {
	case v.list != nil:
		for i := range v.list.elems {
			*at = v.list.elems[i]
			if !f.spend(1) || !fn() {
				return
			}
		}
	case v.dict != nil:
		for i := range v.dict.entries {
			*at = v.dict.entries[i].key
			if !f.spend(1) || !fn() {
				return
			}
		}
	case v.kind == kindMap:
		for it := v.node.Children(); it.Next(); {
			key := it.Key()
			*at = text(string(key))
			if !f.spend(1) || !f.spendText(len(key)) || !fn() {
				return
			}
		}
	default:
		v.eachNode(f, at, fn)
	}
}

// eachNode is each for a JSON array.
func (v *value) eachNode(f *frame, at *value, fn func() bool) {
	if _, numbers := v.node.Numbers(); !numbers {
		for it := v.node.Children(); it.Next(); {
			*at = f.fromNode(it.Value())
			if !f.spend(1) || !fn() {
				return
			}
		}
		return
	}
	*at = value{}
	v.node.EachFloat(func(_ int, d float64, k scan.Kind) bool {
		// Only these fields count for a number or null.
		at.kind, at.num = kindDouble, math.Float64bits(d)
		if k == scan.Null {
			at.kind, at.num = kindNull, 0
		}
		return f.spend(1) && fn()
	})
}
