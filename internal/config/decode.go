package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Bounds of one document. Both are far over what the kinds need; they stop
// aliases that grow exponentially or contain themselves.
const (
	maxDepth = 64
	maxNodes = 200_000
)

// decoder fills a Go value from a document, strictly: a field that the type
// does not have, a value of another type, a key twice and a value outside its
// enumeration are mistakes. It goes on after each, so that all are found.
type decoder struct {
	source   *Source
	problems Problems
	nodes    int
	over     bool // a bound was hit, and said so
}

func decode(root *yaml.Node, into any, source *Source) Problems {
	d := &decoder{source: source}
	source.lines[""] = root.Line
	d.value(root, reflect.ValueOf(into).Elem(), "", 0)
	return d.problems
}

// fail reports a mistake at a field and remembers that it has no value.
func (d *decoder) fail(n *yaml.Node, field, format string, args ...any) {
	d.source.broken[field] = true
	p := d.source.Problem(field, format, args...)
	p.Line = n.Line
	d.problems = append(d.problems, p)
}

// enter counts a node and follows an alias; false: go no deeper.
func (d *decoder) enter(n *yaml.Node, field string, depth int) (*yaml.Node, bool) {
	d.nodes++
	if d.over {
		return n, false
	}
	if d.nodes > maxNodes || depth > maxDepth {
		d.over = true
		d.source.broken[everything] = true
		d.fail(n, clip(field), "is too large: over %d values or %d levels, aliases followed; write it out more simply", maxNodes, maxDepth)
		return n, false
	}
	if n.Kind == yaml.AliasNode {
		return n.Alias, n.Alias != nil
	}
	return n, true
}

func (d *decoder) value(n *yaml.Node, v reflect.Value, field string, depth int) {
	n, ok := d.enter(n, field, depth)
	if !ok {
		return
	}
	if n.Kind == yaml.AliasNode { // an alias of an alias
		d.value(n, v, field, depth+1)
		return
	}
	if isNull(n) {
		if !nullable(field) {
			d.fail(n, field, "has no value; give it one, write {} for the defaults of an object, or remove it")
		}
		return
	}
	for v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch {
	case v.Type() == reflect.TypeFor[metav1.Duration]():
		d.duration(n, v.Addr().Interface().(*metav1.Duration), field)
	case v.Addr().Type().Implements(reflect.TypeFor[json.Unmarshaler]()):
		d.foreign(n, v, field, depth)
	default:
		d.kind(n, v, field, depth)
	}
}

// nullable: what the API server writes may hold nulls, as in
// creationTimestamp; what people write may not.
func nullable(field string) bool {
	return strings.HasPrefix(field, "metadata.") || field == "status" || strings.HasPrefix(field, "status.")
}

func (d *decoder) kind(n *yaml.Node, v reflect.Value, field string, depth int) {
	switch v.Kind() {
	case reflect.Struct:
		if d.want(n, yaml.MappingNode, field, "an object") {
			d.object(n, v, field, depth)
		}
	case reflect.Map:
		if d.want(n, yaml.MappingNode, field, "an object") {
			d.mapping(n, v, field, depth)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			d.fail(n, field, "cannot be read from a file; remove it")
		} else if d.want(n, yaml.SequenceNode, field, "a list") {
			d.list(n, v, field, depth)
		}
	default:
		if d.want(n, yaml.ScalarNode, field, scalarName(v)) {
			d.scalar(n, v, field)
		}
	}
}

func (d *decoder) want(n *yaml.Node, kind yaml.Kind, field, name string) bool {
	if n.Kind == kind {
		return true
	}
	d.fail(n, field, "is %s; want %s", describe(n), name)
	return false
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, field string, depth int) {
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		path := fmt.Sprintf("%s[%d]", field, i)
		d.source.lines[path] = item.Line
		d.value(item, v.Index(i), path, depth+1)
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, field string, depth int) {
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Content)/2))
	d.members(n, field, func(key string, keyNode, value *yaml.Node) {
		element := reflect.New(v.Type().Elem()).Elem()
		path := join(field, key)
		d.source.lines[path] = keyNode.Line
		d.value(value, element, path, depth+1)
		v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), element)
	})
}

func (d *decoder) object(n *yaml.Node, v reflect.Value, field string, depth int) {
	fields := map[string]int{}
	var names []string
	flat := flatten(v, fields, &names)
	d.members(n, field, func(key string, keyNode, value *yaml.Node) {
		path := join(field, key)
		i, known := fields[key]
		if !known {
			d.unknown(keyNode, field, key, names)
			return
		}
		d.source.lines[path] = keyNode.Line
		d.value(value, flat[i], path, depth+1)
	})
}

// unknown reports a field that the type does not have. The one that was meant
// counts as unreadable, so that it is not reported as missing as well.
func (d *decoder) unknown(n *yaml.Node, field, key string, names []string) {
	path := join(field, key)
	if meant := nearest(key, names); meant != "" {
		d.source.broken[join(field, meant)] = true
		d.fail(n, path, "is no field; did you mean %s?", meant)
		return
	}
	slices.Sort(names)
	d.fail(n, path, "is no field; want %s", oneOf(names))
}

// members calls f for every member, and reports what is no plain key or stands
// there twice.
func (d *decoder) members(n *yaml.Node, field string, f func(key string, keyNode, value *yaml.Node)) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode && key.Alias != nil {
			key = key.Alias
		}
		switch first, twice := seen[key.Value]; {
		case key.Kind != yaml.ScalarNode:
			d.fail(key, field, "has %s as a key; want a text", describe(key))
		case key.Tag == "!!merge":
			d.fail(key, join(field, "<<"), "is a merge key, which is not read; write the fields out")
		case twice:
			d.fail(key, join(field, key.Value), "is there twice, first on line %d; keep one", first)
		default:
			seen[key.Value] = key.Line
			f(key.Value, key, value)
		}
	}
}

// flatten lists the settable fields of a struct by their JSON names, those of
// inlined structs among them.
func flatten(v reflect.Value, index map[string]int, names *[]string) []reflect.Value {
	var flat []reflect.Value
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case !f.IsExported() || name == "-":
			case name == "" && (f.Anonymous || strings.Contains(options, "inline")):
				walk(v.Field(i))
			case name != "":
				index[name] = len(flat)
				*names = append(*names, name)
				flat = append(flat, v.Field(i))
			}
		}
	}
	walk(v)
	return flat
}

// foreign decodes a type that reads JSON itself, such as a timestamp.
func (d *decoder) foreign(n *yaml.Node, v reflect.Value, field string, depth int) {
	plain, ok := d.generic(n, field, depth)
	if !ok {
		return
	}
	data, err := json.Marshal(plain)
	if err == nil {
		err = v.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(data)
	}
	if err != nil {
		d.fail(n, field, "is %s, which does not fit: %v", describe(n), err)
	}
}

// generic turns a node into what encoding/json would have made of it.
func (d *decoder) generic(n *yaml.Node, field string, depth int) (any, bool) {
	n, ok := d.enter(n, field, depth)
	if !ok {
		return nil, false
	}
	switch n.Kind {
	case yaml.AliasNode:
		return d.generic(n, field, depth+1)
	case yaml.MappingNode:
		out := map[string]any{}
		d.members(n, field, func(key string, _, value *yaml.Node) {
			member, fine := d.generic(value, join(field, key), depth+1)
			out[key], ok = member, ok && fine
		})
		return out, ok
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, item := range n.Content {
			member, fine := d.generic(item, fmt.Sprintf("%s[%d]", field, i), depth+1)
			out[i], ok = member, ok && fine
		}
		return out, ok
	default:
		var out any
		if err := n.Decode(&out); err != nil {
			d.fail(n, field, "is %s, which cannot be read", describe(n))
			return nil, false
		}
		if n.Tag == "!!timestamp" { // JSON has none: as it was written
			return n.Value, true
		}
		return out, true
	}
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}
