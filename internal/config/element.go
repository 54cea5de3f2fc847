package config

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// floatLimits are the largest finite values of the floating-point datatypes
// (IEEE 754; BF16 is the upper half of FP32).
var floatLimits = map[string]float64{
	"FP16": 65504,
	"BF16": 0x1.FEp127,
	"FP32": math.MaxFloat32,
	"FP64": math.MaxFloat64,
}

// element returns what a datatype wants of an element; empty: it fits. An
// empty datatype takes every scalar.
func element(datatype string, v any) string {
	if v == wild {
		return ""
	}
	if v == nil {
		return "a value"
	}
	if _, isObject := v.(map[string]any); isObject {
		return "a scalar"
	}
	number, isNumber := v.(json.Number)
	if limit, isFloat := floatLimits[datatype]; isFloat {
		f, err := strconv.ParseFloat(string(number), 64)
		if !isNumber || err != nil || !(math.Abs(f) <= limit) {
			return "a number within " + datatype
		}
		return ""
	}
	switch {
	case datatype == "":
		return ""
	case datatype == "BOOL":
		if _, ok := v.(bool); !ok {
			return "true or false"
		}
	case datatype == "BYTES":
		if _, ok := v.(string); !ok {
			return "a text"
		}
	case strings.HasPrefix(datatype, "UINT"):
		bits, _ := strconv.Atoi(datatype[4:]) // of the closed set
		if _, err := strconv.ParseUint(string(number), 10, bits); err != nil {
			return "a whole number within " + datatype
		}
	default:
		bits, _ := strconv.Atoi(strings.TrimPrefix(datatype, "INT")) // of the closed set
		if _, err := strconv.ParseInt(string(number), 10, bits); err != nil {
			return "a whole number within " + datatype
		}
	}
	return ""
}

// declared returns what the policy promises of an output; nil: nothing.
func (a *shape) declared(name string) *v1alpha1.Output {
	for i := range a.detect.Outputs {
		if a.detect.Outputs[i].Name == name {
			return &a.detect.Outputs[i]
		}
	}
	return nil
}

// promised holds a tensor to a declared output.
func (a *shape) promised(place string, o *v1alpha1.Output, datatype string, extents []int64, known bool, leaves []any) {
	if o.Datatype != "" && datatype != "" && string(o.Datatype) != datatype {
		a.bad("%s.datatype is %s; detect.outputs promises %s", place, datatype, o.Datatype)
	}
	if o.Shape != nil && known && !fitsShape(extents, o.Shape) {
		a.bad("%s.shape is %s; detect.outputs promises %s", place, shapeText(extents), shapeText(o.Shape))
	}
	a.values(place+".data", o, leaves)
}

// values holds elements to a declared output's bounds and labels.
func (a *shape) values(place string, o *v1alpha1.Output, leaves []any) {
	for i, leaf := range leaves {
		at := place
		if len(leaves) > 1 || strings.HasSuffix(place, ".data") {
			at = fmt.Sprintf("%s[%d]", place, i)
		}
		if problem := value(o, leaf); problem != "" {
			a.bad("%s is %s; detect.outputs promises %s", at, jsonText(leaf), problem)
			return // one element says it for all
		}
	}
}

func value(o *v1alpha1.Output, v any) string {
	if v == wild {
		return ""
	}
	if len(o.Labels) > 0 {
		text, isText := v.(string)
		if number, ok := v.(json.Number); ok {
			text, isText = string(number), true
		}
		if !isText || !slices.Contains(o.Labels, text) {
			return oneOf(o.Labels)
		}
	}
	if o.Min == nil && o.Max == nil {
		return ""
	}
	number, _ := v.(json.Number)
	f, err := strconv.ParseFloat(string(number), 64)
	switch {
	case err != nil:
		return "a number"
	case o.Min != nil && f < *o.Min:
		return fmt.Sprintf("at least %v", *o.Min)
	case o.Max != nil && f > *o.Max:
		return fmt.Sprintf("at most %v", *o.Max)
	}
	return ""
}

// missing reports promised outputs that are not there.
func (a *shape) missing(names map[string]bool) {
	for i := range a.detect.Outputs {
		o := &a.detect.Outputs[i]
		if o.Name != "" && !o.Optional && !names[o.Name] {
			a.bad("outputs has no %s, which detect.outputs promises", quote(o.Name))
		}
	}
}

// unknown reports outputs that are not promised, where only those may be.
func (a *shape) unknown(names map[string]bool) {
	if k := a.detect.Contract; k == nil || k.Mode == v1alpha1.Disabled || !k.RefuseUnknownOutputs {
		return
	}
	var list []string
	for name := range names {
		if a.declared(name) == nil {
			list = append(list, quote(name))
		}
	}
	if len(list) > 0 {
		a.bad("it has %s, which detect.outputs does not name", sortedList(list))
	}
}

func fitsShape(extents, promised []int64) bool {
	if len(extents) != len(promised) {
		return false
	}
	for i, want := range promised {
		if want != -1 && want != extents[i] {
			return false
		}
	}
	return true
}

// volume multiplies extents; false: the product is over what any answer holds.
func volume(extents []int64) (product int64, fits bool) {
	product = 1
	for _, e := range extents {
		if e > math.MaxInt32 {
			return 0, false
		}
		if product *= e; product > math.MaxInt32 {
			return 0, false
		}
	}
	return product, true
}

func volumeText(product int64, fits bool) string {
	if !fits {
		return "more than any answer holds"
	}
	return strconv.FormatInt(product, 10)
}

func shapeText(extents []int64) string {
	parts := make([]string, len(extents))
	for i, e := range extents {
		parts[i] = strconv.FormatInt(e, 10)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func integer(v any) (int64, bool) {
	number, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(string(number), 10, 64)
	return n, err == nil
}

// jsonKind names what a decoded value is, for a person.
func jsonKind(v any) string {
	switch v := v.(type) {
	case nil:
		return "missing or null"
	case map[string]any:
		return "an object"
	case []any:
		if len(v) == 0 {
			return "an empty list"
		}
		return "a list"
	}
	return jsonText(v)
}

// jsonText writes a decoded scalar as it stood.
func jsonText(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return quote(v)
	case json.Number:
		return clip(string(v))
	case bool:
		return strconv.FormatBool(v)
	}
	return jsonKind(v)
}
