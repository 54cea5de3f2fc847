package strictyaml

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Bounds of one file, far over what one needs.
const (
	maxDepth = 32
	maxNodes = 50_000
)

// File is a decoded file: it knows where each field stands.
type File struct {
	name  string
	lines map[string]int // by field
}

// Decode fills into, a pointer to a struct whose fields have yaml tags, from
// data. It knows structs, slices, texts, whole numbers, truth values,
// time.Duration and what reads itself from a text, and leaves alone what the
// file does not name. The error is the first mistake, "name:line: field: what is
// wrong".
func Decode(name string, data []byte, into any) (*File, error) {
	f := &File{name: name, lines: map[string]int{}}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var root, more yaml.Node
	switch err := dec.Decode(&root); {
	case errors.Is(err, io.EOF):
		return f, nil // nothing in it
	case err != nil:
		return nil, syntax(name, err)
	}
	switch err := dec.Decode(&more); {
	case err == nil:
		return nil, fmt.Errorf("%s:%d: a second document begins here; want one", name, more.Line)
	case !errors.Is(err, io.EOF):
		return nil, syntax(name, err)
	}
	d := decoder{file: f}
	return f, d.value(root.Content[0], reflect.ValueOf(into).Elem(), "", 0)
}

// Errorf is a mistake at a field, such as "tokens[0].sha256"; one that the file
// does not have counts as standing where what it belongs to does.
func (f *File) Errorf(field, format string, args ...any) error {
	at := f.name
	for place := field; place != ""; place = parent(place) {
		if line, ok := f.lines[place]; ok {
			at += ":" + strconv.Itoa(line)
			break
		}
	}
	if field != "" {
		at += ": " + field
	}
	return errors.New(at + ": " + fmt.Sprintf(format, args...))
}

func parent(field string) string { return field[:max(strings.LastIndexAny(field, ".["), 0)] }

// syntax makes the reader's error one line that begins with the place.
func syntax(name string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if line, what, ok := strings.Cut(rest, ": "); ok {
			return fmt.Errorf("%s:%s: is no YAML: %s", name, line, what)
		}
	}
	return fmt.Errorf("%s: is no YAML: %s", name, text)
}

type decoder struct {
	file  *File
	nodes int
}

func (d *decoder) fail(n *yaml.Node, field, format string, args ...any) error {
	if field == "" {
		field = "the file"
	}
	return fmt.Errorf("%s:%d: %s: %s", d.file.name, n.Line, field, fmt.Sprintf(format, args...))
}

func (d *decoder) value(n *yaml.Node, v reflect.Value, field string, depth int) error {
	d.nodes++
	d.file.lines[field] = n.Line
	switch {
	case d.nodes > maxNodes || depth > maxDepth:
		return d.fail(n, field, "is over %d values or %d levels", maxNodes, maxDepth)
	case n.Kind == yaml.AliasNode:
		return d.fail(n, field, "is an alias; write it out")
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return d.fail(n, field, "has no value; give it one, or remove it")
	}
	if t, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if n.Kind != yaml.ScalarNode {
			return d.fail(n, field, "is %s; want a text", describe(n))
		}
		if err := t.UnmarshalText([]byte(n.Value)); err != nil {
			return d.fail(n, field, "%v", textError(v, n.Value, err))
		}
		return nil
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.object(n, v, field, depth)
	case reflect.Slice:
		return d.list(n, v, field, depth)
	default:
		return d.scalar(n, v, field)
	}
}

func textError(v reflect.Value, text string, err error) error {
	if _, ok := v.Interface().(time.Time); ok {
		return fmt.Errorf("is %q; want a time such as 2027-01-31T00:00:00Z", clip(text))
	}
	return err
}

func (d *decoder) object(n *yaml.Node, v reflect.Value, field string, depth int) error {
	if n.Kind != yaml.MappingNode {
		return d.fail(n, field, "is %s; want fields", describe(n))
	}
	index, names := map[string]int{}, []string{}
	for i := range v.NumField() {
		if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ","); name != "" && name != "-" {
			index[name] = i
			names = append(names, name)
		}
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		at := join(field, clip(key.Value))
		where, known := index[key.Value]
		switch first, twice := seen[key.Value]; {
		case key.Kind != yaml.ScalarNode:
			return d.fail(key, field, "has %s as a key; want a text", describe(key))
		case !known:
			return d.fail(key, at, "is no field; want one of %s", strings.Join(names, ", "))
		case twice:
			return d.fail(key, at, "is there twice, first on line %d; keep one", first)
		}
		seen[key.Value] = key.Line
		if err := d.value(n.Content[i+1], v.Field(where), at, depth+1); err != nil {
			return err
		}
		d.file.lines[at] = key.Line
	}
	return nil
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, field string, depth int) error {
	if n.Kind != yaml.SequenceNode {
		return d.fail(n, field, "is %s; want a list", describe(n))
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		if err := d.value(item, v.Index(i), fmt.Sprintf("%s[%d]", field, i), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, field string) error {
	if n.Kind != yaml.ScalarNode {
		return d.fail(n, field, "is %s; want one value", describe(n))
	}
	text := n.Value
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		took, err := time.ParseDuration(text)
		if err != nil {
			return d.fail(n, field, "is %q; want a duration such as 30s", clip(text))
		}
		v.SetInt(int64(took))
	case v.Kind() == reflect.String:
		v.SetString(text) // as it was written: no is a text here
	case v.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			return d.fail(n, field, "is %q; want true or false", clip(text))
		}
		v.SetBool(text == "true")
	case v.CanInt():
		number, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return d.fail(n, field, "is %q; want a whole number", clip(text))
		}
		v.SetInt(number)
	default:
		return d.fail(n, field, "cannot be read from a file")
	}
	return nil
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	default:
		return strconv.Quote(clip(n.Value))
	}
}

// clip bounds what a message repeats of a file.
func clip(text string) string {
	const most = 60
	text = strings.ToValidUTF8(text, "?")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}
