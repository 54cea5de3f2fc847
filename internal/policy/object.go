package policy

import (
	"math"
	"strconv"

	"github.com/safestate/safestate/internal/fault"
	"github.com/safestate/safestate/internal/scan"
)

// object is a JSON object that a struct is read from, field by field, as
// encoding/json reads it, but for the strictness that Parse promises. What is null
// or missing leaves its destination as it is. The first thing that is wrong is kept.
type object struct {
	n     scan.Node
	outer *object // what it is in; nil: it is the policy itself
	name  string  // under which name
	index int     // of an element of the list of that name; else -1
	err   *error
}

// path says where o is, such as detect.confidence[0].
func (o *object) path() string {
	path := o.name
	if o.index >= 0 {
		path = "[" + strconv.Itoa(o.index) + "]"
	}
	if o.outer == nil || o.outer.outer == nil {
		return path
	}
	if o.index < 0 {
		path = "." + path
	}
	return o.outer.path() + path
}

// fail notes what is wrong with a value.
func (o *object) fail(wrong string) {
	if *o.err != nil {
		return
	}
	if o.outer != nil {
		wrong = o.path() + ": " + wrong
	}
	*o.err = fault.Errorf("policy: %s", wrong)
}

// is reports whether a value is of a kind, and notes it where it is not.
func (o *object) is(k scan.Kind, want string) bool {
	if o.n.Kind() == k {
		return true
	}
	o.fail("want " + want)
	return false
}

// member finds a field that is there.
func (o *object) member(name string) (*object, bool) {
	v, _ := o.n.Get(name)
	if !v.Exists() {
		return nil, false
	}
	m := &object{n: v, outer: o, name: name, index: -1, err: o.err}
	if o.n.Ambiguous(name) {
		m.fail("it is there more than once")
		return nil, false
	}
	return m, true
}

// present finds a field that is there and not null.
func (o *object) present(name string) (*object, bool) {
	m, ok := o.member(name)
	return m, ok && scan.Present(m.n)
}

func word[T ~string](o *object, name string, dst *T) {
	if m, ok := o.present(name); ok {
		*dst = T(m.text())
	}
}

func (o *object) text() string {
	if !o.is(scan.String, "a string") {
		return ""
	}
	return string(o.n.Text(nil))
}

func (o *object) flag(name string, dst *bool) {
	m, ok := o.present(name)
	switch {
	case !ok:
	case m.n.Kind() == scan.True, m.n.Kind() == scan.False:
		*dst = m.n.Kind() == scan.True
	default:
		m.fail("want true or false")
	}
}

func (o *object) integer(name string, dst *int64) {
	if m, ok := o.present(name); ok {
		*dst = m.whole()
	}
}

func (o *object) count(name string, dst *int) {
	if m, ok := o.present(name); ok {
		*dst = int(m.whole())
	}
}

func (o *object) whole() int64 {
	v, ok := o.n.Int()
	if !ok || int64(int(v)) != v {
		o.fail("want a whole number")
	}
	return v
}

func (o *object) float(name string, dst *float64) {
	if m, ok := o.present(name); ok && m.is(scan.Number, "a number") {
		*dst, _ = m.n.Float()
		if math.IsInf(*dst, 0) {
			m.fail("want a number that a double holds")
		}
	}
}

// bound reads a number that may be missing.
func (o *object) bound(name string, dst **float64) {
	if _, ok := o.present(name); ok {
		*dst = new(float64)
		o.float(name, *dst)
	}
}

func (o *object) duration(name string, dst *Duration) {
	if m, ok := o.present(name); ok && m.is(scan.String, "a duration such as 80ms") {
		if err := dst.UnmarshalText(m.n.Text(nil)); err != nil {
			m.fail("want a duration such as 80ms, not " + strconv.Quote(m.text()))
		}
	}
}

// program keeps a condition as it is written, null included: it is one.
func (o *object) program(name string, dst *Program) {
	if m, ok := o.member(name); ok {
		*dst = append(Program(nil), m.n.Raw()...)
	}
}

// elements returns an array's elements; ok is false where there is no array.
func (o *object) elements(name string) (list []*object, ok bool) {
	m, ok := o.present(name)
	if !ok || !m.is(scan.Array, "a list") {
		return nil, false
	}
	list = make([]*object, 0, m.n.Len())
	for it := m.n.Children(); it.Next(); {
		list = append(list, &object{n: it.Value(), outer: m, index: it.Index(), err: o.err})
	}
	return list, true
}

// objects returns an array's objects; one that is null has no fields.
func (o *object) objects(name string) (list []*object, ok bool) {
	list, ok = o.elements(name)
	for _, e := range list {
		if scan.Present(e.n) {
			e.is(scan.Object, "an object")
		}
	}
	return list, ok
}

// object returns the object that a field is; ok is false where there is none.
func (o *object) object(name string) (*object, bool) {
	m, ok := o.present(name)
	return m, ok && m.is(scan.Object, "an object")
}

func (o *object) words(name string, dst *[]string) {
	if list, ok := o.elements(name); ok {
		*dst = make([]string, len(list))
		for i, e := range list {
			if scan.Present(e.n) {
				(*dst)[i] = e.text()
			}
		}
	}
}

func (o *object) integers(name string, dst *[]int64) {
	if list, ok := o.elements(name); ok {
		*dst = make([]int64, len(list))
		for i, e := range list {
			if scan.Present(e.n) {
				(*dst)[i] = e.whole()
			}
		}
	}
}

func (o *object) counts(name string, dst *[]int) {
	var list []int64
	if o.integers(name, &list); list != nil {
		*dst = make([]int, len(list))
		for i, n := range list {
			(*dst)[i] = int(n)
		}
	}
}
