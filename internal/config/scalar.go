package config

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// yaml11 are words that readers of YAML 1.1, Kubernetes among them, take for
// booleans and this one does not: the same file would mean two things.
var yaml11 = []string{"y", "n", "yes", "no", "on", "off"}

var decimal = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)$`)

// scalar decodes a text, a number or a boolean.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, field string) {
	switch v.Kind() {
	case reflect.String:
		d.text(n, v, field)
	case reflect.Bool:
		if n.Tag != "!!bool" {
			d.fail(n, field, "is %s; want true or false", describe(n))
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Float32, reflect.Float64:
		f, err := strconv.ParseFloat(n.Value, 64)
		if n.Tag != "!!int" && n.Tag != "!!float" || err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			d.fail(n, field, "is %s; want a finite number", describe(n))
			return
		}
		v.SetFloat(f)
	case reflect.Int, reflect.Int32, reflect.Int64:
		d.integer(n, v, field)
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		u, err := strconv.ParseUint(n.Value, 10, v.Type().Bits())
		if n.Tag != "!!int" || err != nil {
			d.fail(n, field, "is %s; want a whole number from 0", describe(n))
			return
		}
		v.SetUint(u)
	default:
		d.fail(n, field, "cannot be read from a file; remove it")
	}
}

func (d *decoder) integer(n *yaml.Node, v reflect.Value, field string) {
	if n.Tag != "!!int" || !decimal.MatchString(n.Value) {
		d.fail(n, field, "is %s; want a whole number, in decimal", describe(n))
		return
	}
	i, err := strconv.ParseInt(n.Value, 10, v.Type().Bits())
	if err != nil {
		limit := int64(math.MaxInt64) >> (64 - v.Type().Bits())
		d.fail(n, field, "is %s; want a whole number from %d to %d", n.Value, -limit-1, limit)
		return
	}
	v.SetInt(i)
}

func (d *decoder) text(n *yaml.Node, v reflect.Value, field string) {
	values := enumValues(v.Type())
	plain := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	switch {
	case values != nil && !slices.Contains(values, n.Value):
		d.enum(n, field, values)
	case n.Tag != "!!str" && n.Tag != "!!timestamp":
		d.fail(n, field, "is %s; want a text: %s", describe(n), strconv.Quote(n.Value))
	case plain && slices.Contains(yaml11, strings.ToLower(n.Value)):
		d.fail(n, field, "is %s, which Kubernetes reads as a boolean; want a text: %s", n.Value, strconv.Quote(n.Value))
	default:
		v.SetString(n.Value)
	}
}

func (d *decoder) enum(n *yaml.Node, field string, values []string) {
	if slices.Contains(values, "Disabled") && slices.Contains([]string{"off", "false", "no"}, strings.ToLower(n.Value)) {
		d.fail(n, field, "is %s; want Disabled to switch it off", n.Value)
		return
	}
	if meant := nearest(n.Value, values); meant != "" {
		d.fail(n, field, "is %s; did you mean %s? Want %s", quote(n.Value), meant, oneOf(values))
		return
	}
	d.fail(n, field, "is %s; want %s", quote(n.Value), oneOf(values))
}

func (d *decoder) duration(n *yaml.Node, into *metav1.Duration, field string) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		if n.Kind == yaml.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float") {
			d.fail(n, field, "is %s without a unit; want a duration such as %sms or %ss", n.Value, n.Value, n.Value)
			return
		}
		d.fail(n, field, "is %s; want a duration such as 80ms", describe(n))
		return
	}
	parsed, err := time.ParseDuration(n.Value)
	if err != nil {
		d.fail(n, field, "is %s; want a duration such as 80ms, 1.5s or 1m30s", quote(n.Value))
		return
	}
	into.Duration = parsed
}

// describe says what a node is, for a person.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
	default:
		return "unreadable"
	}
	switch n.Tag {
	case "!!null":
		return "empty"
	case "!!int", "!!float":
		return "the number " + clip(n.Value)
	case "!!bool":
		return "the boolean " + n.Value
	case "!!str", "!!timestamp":
		return "the text " + quote(n.Value)
	}
	return fmt.Sprintf("of type %s", clip(n.Tag))
}

func scalarName(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		if values := enumValues(v.Type()); values != nil {
			return oneOf(values)
		}
		return "a text"
	case reflect.Bool:
		return "true or false"
	}
	return "a number"
}

// quote writes what somebody wrote, shortened where it is long.
func quote(s string) string { return strconv.Quote(clip(s)) }

func clip(s string) string {
	const most = 60
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	return string(runes[:most]) + "…"
}
