package chat

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/safestate/safestate/internal/scan"
)

// object holds an object to one keyword about its members. A member that occurs
// twice is held to its schema both times.
func (v *validator) object(schema scan.Node, keyword string, value, n scan.Node, depth int) result {
	if n.Kind() != scan.Object {
		return valid
	}
	switch keyword {
	case "required":
		return v.required(value, n)
	case "minProperties", "maxProperties":
		return v.counted(keyword, "minProperties", value, n)
	case "properties":
		return v.properties(value, n, depth)
	}
	return v.additional(schema, value, n, depth)
}

func (v *validator) required(list, n scan.Node) result {
	if list.Kind() != scan.Array {
		return valid
	}
	for it := list.Children(); it.Next(); {
		if !v.spend(n.Len()) {
			return undecided
		}
		if it.Value().Kind() != scan.String {
			continue
		}
		var buf [64]byte
		name := it.Value().Text(buf[:0])
		if member, _ := n.Get(string(name)); !member.Exists() {
			v.step(name, 0)
			return v.fail("required")
		}
	}
	return valid
}

// counted compares the number of members or elements; least is the keyword of a
// lower bound.
func (v *validator) counted(keyword, least string, bound, n scan.Node) result {
	want, ok := bound.Int()
	if !ok {
		return valid
	}
	if keyword == least {
		return v.is(int64(n.Len()) >= want, keyword)
	}
	return v.is(int64(n.Len()) <= want, keyword)
}

func (v *validator) properties(list, n scan.Node, depth int) result {
	all := valid
	for it := n.Children(); it.Next(); {
		if !v.spend(list.Len()) {
			return undecided
		}
		sub, _ := list.Get(string(it.Key()))
		if !sub.Exists() {
			continue
		}
		if r := v.member(sub, it.Key(), it.Value(), depth); r == invalid {
			return invalid
		} else if r == undecided {
			all = undecided
		}
	}
	return all
}

// additional holds the members that properties does not name to a schema, most
// often false. Members that a pattern may name are not additional.
func (v *validator) additional(schema, sub, n scan.Node, depth int) result {
	if patterns, _ := schema.Get("patternProperties"); patterns.Exists() {
		return valid
	}
	named, _ := schema.Get("properties")
	all := valid
	for it := n.Children(); it.Next(); {
		if !v.spend(named.Len()) {
			return undecided
		}
		if known, _ := named.Get(string(it.Key())); known.Exists() {
			continue
		}
		if sub.Kind() == scan.False {
			v.step(it.Key(), 0)
			return v.fail("additionalProperties")
		}
		if r := v.member(sub, it.Key(), it.Value(), depth); r == invalid {
			return invalid
		} else if r == undecided {
			all = undecided
		}
	}
	return all
}

func (v *validator) member(sub scan.Node, key []byte, n scan.Node, depth int) result {
	back := v.step(key, 0)
	r := v.check(sub, n, depth+1)
	v.path = v.path[:back]
	return r
}

// array holds an array to one keyword about its elements. In drafts before
// 2020-12 a list under items was what prefixItems is now.
func (v *validator) array(schema scan.Node, keyword string, value, n scan.Node, depth int) result {
	if n.Kind() != scan.Array {
		return valid
	}
	switch {
	case keyword == "minItems" || keyword == "maxItems":
		return v.counted(keyword, "minItems", value, n)
	case value.Kind() == scan.Array:
		return v.elements(n, 0, value.Len(), depth, value.At)
	case keyword == "prefixItems":
		return valid
	}
	prefix, _ := schema.Get("prefixItems")
	return v.elements(n, prefix.Len(), n.Len(), depth, func(int) scan.Node { return value })
}

// elements holds the elements from one index up to another, as far as there are
// any, to the schema of each.
func (v *validator) elements(n scan.Node, from, to, depth int, schemaOf func(int) scan.Node) result {
	all := valid
	for it := n.Children(); it.Next() && it.Index() < to && !v.spent(); {
		if it.Index() < from {
			continue
		}
		back := v.step(nil, it.Index())
		r := v.check(schemaOf(it.Index()), it.Value(), depth+1)
		v.path = v.path[:back]
		switch r {
		case invalid:
			return invalid
		case undecided:
			all = undecided
		}
	}
	return all
}

func (v *validator) allOf(list, n scan.Node, depth int) result {
	all := valid
	for it := list.Children(); list.Kind() == scan.Array && it.Next() && !v.spent(); {
		if r := v.check(it.Value(), n, depth+1); r == invalid {
			return invalid
		} else if r == undecided {
			all = undecided
		}
	}
	return all
}

// anyOf fails where every branch does.
func (v *validator) anyOf(list, n scan.Node, depth int) result {
	if list.Kind() != scan.Array || list.Len() == 0 {
		return valid
	}
	here, any := len(v.path), invalid
	for it := list.Children(); it.Next() && !v.spent(); {
		r := v.check(it.Value(), n, depth+1)
		v.path = v.path[:here]
		if r == valid {
			return valid
		}
		if r == undecided {
			any = undecided
		}
	}
	if any == undecided || v.spent() {
		return undecided
	}
	return v.fail("anyOf")
}

// oneOf fails where no branch holds, and where several do; but not the latter
// where a keyword that is not looked at might have told them apart.
func (v *validator) oneOf(list, n scan.Node, depth int) result {
	if list.Kind() != scan.Array || list.Len() == 0 {
		return valid
	}
	before := v.partial
	v.partial = false
	here, holds, open := len(v.path), 0, false
	for it := list.Children(); it.Next() && !v.spent(); {
		r := v.check(it.Value(), n, depth+1)
		v.path = v.path[:here]
		switch r {
		case valid:
			holds++
		case undecided:
			open = true
		}
	}
	lenient := v.partial
	v.partial = v.partial || before
	switch {
	case open || v.spent():
		return undecided
	case holds == 0, holds > 1 && !lenient:
		return v.fail("oneOf")
	}
	return valid
}

// reference follows a $ref into the schema itself ("#", "#/$defs/item"); one
// that leads anywhere else, or nowhere, asserts nothing.
func (v *validator) reference(ref, n scan.Node, depth int) result {
	var buf [128]byte
	pointer, ok := bytes.CutPrefix(ref.Text(buf[:0]), []byte("#"))
	if !ok {
		v.partial = true
		return valid
	}
	at := v.root
	for len(pointer) > 0 {
		if pointer[0] != '/' {
			v.partial = true
			return valid // an anchor
		}
		var name []byte
		name, pointer = cutStep(pointer[1:])
		if !v.spend(at.Len()) {
			return undecided
		}
		at = child(at, name)
	}
	if !at.Exists() {
		v.partial = true
		return valid
	}
	return v.check(at, n, depth+1)
}

// cutStep splits a JSON pointer behind its first step; the rest keeps its slash.
func cutStep(pointer []byte) (name, rest []byte) {
	if i := bytes.IndexByte(pointer, '/'); i >= 0 {
		return pointer[:i], pointer[i:]
	}
	return pointer, nil
}

// child follows one step of a JSON pointer (RFC 6901).
func child(n scan.Node, step []byte) scan.Node {
	name := string(step)
	if strings.Contains(name, "~") {
		name = strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
	}
	if n.Kind() == scan.Array {
		if i, err := strconv.Atoi(name); err == nil && i >= 0 {
			return n.At(i)
		}
		return scan.Node{}
	}
	v, _ := n.Get(name)
	return v
}
