package chat

import (
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/safestate/safestate/internal/scan"
)

// Bounds of one validation. A schema is the caller's text and an instance the
// model's, so that either may be hostile.
const (
	maxSteps      = 1 << 18 // members and elements looked at, of schema and instance
	maxSchemaDeep = 256     // schemas inside each other, references included
)

// Validate holds a JSON value to a JSON Schema, of which it knows the part that
// structured outputs are written in: type, properties, required,
// additionalProperties, minProperties, maxProperties, items, prefixItems,
// minItems, maxItems, enum, const, anyOf, oneOf, allOf, $ref within the schema,
// minimum, maximum, exclusiveMinimum, exclusiveMaximum, minLength, maxLength
// and nullable. Other keywords assert nothing here (pattern, format, multipleOf,
// uniqueItems, not, if, and so on), so that no breach is wrong; a oneOf or an
// additionalProperties that depends on one of them is taken at its most lenient.
//
// A validation that passes maxSteps, or a schema that is nested or refers to
// itself deeper than maxSchemaDeep, ends without a breach. A schema that is
// none asserts nothing.
func Validate(schema, instance scan.Node) Breach {
	v := validator{root: schema}
	if v.check(schema, instance, 0) == invalid {
		return v.breach
	}
	return Breach{}
}

type result uint8

const (
	valid result = iota
	invalid
	undecided // the bounds were passed
)

type validator struct {
	root   scan.Node
	steps  int
	path   []byte // of the instance that is looked at
	breach Breach // the first one of the branch that failed last
	// partial says that a keyword was passed over that could have failed.
	partial bool
}

// spend counts work; false means that there has been too much.
func (v *validator) spend(n int) bool {
	v.steps += n + 1
	return v.steps <= maxSteps
}

// spent reports whether there has been too much work: nothing more is decided.
func (v *validator) spent() bool { return v.steps > maxSteps }

func (v *validator) fail(keyword string) result {
	v.breach = Breach{Where: string(v.path), Keyword: keyword}
	return invalid
}

// check holds an instance to one schema: keyword after keyword, until one fails.
func (v *validator) check(schema, n scan.Node, depth int) result {
	if !v.spend(schema.Len()) || depth > maxSchemaDeep {
		return undecided
	}
	switch schema.Kind() {
	case scan.False:
		return v.fail("false")
	case scan.Object:
	default:
		return valid
	}
	if n.Kind() == scan.Null {
		if nullable, _ := schema.Get("nullable"); nullable.Kind() == scan.True {
			return valid
		}
	}
	all := valid
	for it := schema.Children(); it.Next() && !v.spent(); {
		switch r := v.keyword(schema, it.Key(), it.Value(), n, depth); r {
		case invalid:
			return invalid
		case undecided:
			all = undecided
		}
	}
	return all
}

// keyword holds an instance to one keyword of a schema.
func (v *validator) keyword(schema scan.Node, key []byte, value, n scan.Node, depth int) result {
	switch string(key) {
	case "type":
		return v.is(isType(value, n), "type")
	case "enum":
		return v.enum(value, n)
	case "const":
		return v.is(v.equal(value, n), "const")
	case "allOf":
		return v.allOf(value, n, depth)
	case "anyOf":
		return v.anyOf(value, n, depth)
	case "oneOf":
		return v.oneOf(value, n, depth)
	case "$ref":
		return v.reference(value, n, depth)
	case "properties", "required", "additionalProperties", "minProperties", "maxProperties":
		return v.object(schema, string(key), value, n, depth)
	case "items", "prefixItems", "minItems", "maxItems":
		return v.array(schema, string(key), value, n, depth)
	case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum":
		return v.is(inBounds(string(key), value, n), string(key))
	case "minLength", "maxLength":
		return v.is(v.lengthFits(string(key), value, n), string(key))
	case "nullable", "title", "description", "default", "example", "examples", "format", "deprecated", "readOnly", "writeOnly",
		"$schema", "$id", "$comment", "$anchor", "$defs", "definitions":
		return valid
	}
	v.partial = true
	return valid
}

func (v *validator) is(ok bool, keyword string) result {
	if ok {
		return valid
	}
	return v.fail(keyword)
}

// isType reports whether n has a type, or one of a list of types. A type that
// JSON Schema does not have asserts nothing.
func isType(want, n scan.Node) bool {
	if want.Kind() != scan.Array {
		return hasType(want, n)
	}
	for it := want.Children(); it.Next(); {
		if hasType(it.Value(), n) {
			return true
		}
	}
	return want.Len() == 0
}

func hasType(want, n scan.Node) bool {
	var buf [16]byte
	switch k := n.Kind(); string(want.Text(buf[:0])) {
	case "string":
		return k == scan.String
	case "number":
		return k == scan.Number
	case "integer":
		f, ok := n.Float()
		return ok && k == scan.Number && f == math.Trunc(f)
	case "boolean":
		return k == scan.True || k == scan.False
	case "null":
		return k == scan.Null
	case "object":
		return k == scan.Object
	case "array":
		return k == scan.Array
	}
	return true
}

func (v *validator) enum(list, n scan.Node) result {
	if list.Kind() != scan.Array {
		return valid
	}
	for it := list.Children(); it.Next(); {
		if !v.spend(0) {
			return undecided
		}
		if v.equal(it.Value(), n) {
			return valid
		}
	}
	return v.fail("enum")
}

// equal compares a value of the schema with one of the instance: numbers by
// their value, texts decoded, objects whatever the order of their members.
func (v *validator) equal(a, b scan.Node) bool {
	if !v.spend(a.Len()) {
		return true // too much work: nobody's breach
	}
	if a.Kind() != b.Kind() || a.Len() != b.Len() {
		return false
	}
	switch a.Kind() {
	case scan.Number:
		x, _ := a.Float()
		y, _ := b.Float()
		return x == y
	case scan.String:
		if !v.spend(len(a.Raw()) / 64) {
			return true
		}
		var buf [64]byte
		return b.EqualText(string(a.Text(buf[:0])))
	case scan.Array:
		other := b.Children()
		for it := a.Children(); it.Next() && other.Next(); {
			if !v.equal(it.Value(), other.Value()) {
				return false
			}
		}
	case scan.Object:
		for it := a.Children(); it.Next(); {
			w, _ := b.Get(string(it.Key()))
			if !v.spend(b.Len()) {
				return true
			}
			if !w.Exists() || !v.equal(it.Value(), w) {
				return false
			}
		}
	}
	return true
}

func inBounds(keyword string, bound, n scan.Node) bool {
	want, ok := bound.Float()
	got, number := n.Float()
	if !ok || !number || bound.Kind() != scan.Number || n.Kind() != scan.Number {
		return true
	}
	switch keyword {
	case "minimum":
		return got >= want
	case "maximum":
		return got <= want
	case "exclusiveMinimum":
		return got > want
	}
	return got < want
}

// lengthFits counts characters, as JSON Schema does, not bytes.
func (v *validator) lengthFits(keyword string, bound, n scan.Node) bool {
	want, ok := bound.Int()
	if !ok || n.Kind() != scan.String {
		return true
	}
	if !v.spend(len(n.Raw()) / 64) {
		return true
	}
	var buf [128]byte
	got := int64(utf8.RuneCount(n.Text(buf[:0])))
	if keyword == "minLength" {
		return got >= want
	}
	return got <= want
}

// step goes to a member or an element of the instance; back returns.
func (v *validator) step(key []byte, i int) (back int) {
	back = len(v.path)
	if key == nil {
		v.path = append(strconv.AppendInt(append(v.path, '['), int64(i), 10), ']')
		return back
	}
	if back > 0 {
		v.path = append(v.path, '.')
	}
	v.path = append(v.path, key[:min(len(key), 64)]...)
	return back
}
