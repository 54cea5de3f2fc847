package detect

import (
	"math"
	"strconv"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/tensor"
	"github.com/safestate/safestate/internal/verdict"
)

// Forms in which a value fails to be finite, as reasons have them. A bare token
// is its own form.
const (
	formNull     = "null"
	formString   = "string"
	formBits     = "bits"
	formOverflow = "overflow"
)

// findNonFinite looks at every output, or at the policy's paths for JSON.
func (t *plan) findNonFinite(m *protocol.Message) verdict.Finding {
	if t.nonFinite == "" {
		return verdict.Finding{}
	}
	var where string
	switch t.protocol {
	case policy.OpenInferenceV2, policy.OpenInferenceGRPC:
		for i := range m.Tensors {
			if where = nonFiniteTensor(&m.Tensors[i]); where != "" {
				break
			}
		}
	case policy.JSON:
		var twin string
		if where, twin = t.nonFiniteAtPaths(m.Root); twin != "" {
			return found(t.ambiguous, verdict.BrokenDuplicate, twin)
		}
	default:
		where = t.nonFiniteRows(m)
	}
	if where == "" {
		where = t.nonFiniteDeclared(m)
	}
	if where == "" {
		return verdict.Finding{}
	}
	return found(t.nonFinite, verdict.NonFiniteValue, where)
}

// nonFiniteTensor returns the first bad element of a V2 output and its form,
// "" for none. In an output that is no float a null is a missing value, and a
// string may say NaN; a bare token is no value of any datatype.
func nonFiniteTensor(t *protocol.Tensor) string {
	if t.Binary {
		if !t.Datatype.Float() {
			return ""
		}
		if i, _, bad := tensor.FirstNonFinite(t.Datatype, t.Raw); bad {
			return dataPlace(t, i) + " " + formBits
		}
		return ""
	}
	if t.Datatype == tensor.Unknown {
		j := rowsJudge{budget: siblingBudget}
		return j.find(t.Data, dataPlace(t, -1))
	}
	if s, flat := t.Data.Numbers(); flat {
		if s.FirstBad < 0 && t.Datatype != tensor.FP16 && t.Datatype != tensor.BF16 && t.Datatype != tensor.FP32 {
			return ""
		}
		if i, form := badNumber(t.Data, s, t.Datatype); i >= 0 {
			return dataPlace(t, i) + " " + form
		}
		return ""
	}
	return nonFiniteNested(t)
}

// nonFiniteNested looks at data that is nested, or holds more than numbers.
func nonFiniteNested(t *protocol.Tensor) string {
	var w walker
	w.start(t.Data)
	for n, ok := w.next(); ok; n, ok = w.next() {
		if s, flat := n.Numbers(); flat {
			if i, form := badNumber(n, s, t.Datatype); i >= 0 {
				return string(appendIndex(w.appendPlace([]byte(dataPlace(t, -1))), i)) + " " + form
			}
			continue
		}
		if form := badScalar(n, t.Datatype); form != "" {
			return string(w.appendPlace([]byte(dataPlace(t, -1)))) + " " + form
		}
	}
	return ""
}

// badNumber returns the first element of a numeric array that is no finite
// value of a datatype, with its form; -1 for none.
func badNumber(n scan.Node, s scan.Numbers, t tensor.Type) (int, string) {
	if !t.Float() {
		if s.FirstBad < 0 || s.BadKind == scan.Number {
			return -1, ""
		}
		return bareToken(n)
	}
	if s.FirstBad >= 0 {
		return s.FirstBad, formOf(n.At(s.FirstBad))
	}
	most := largest(t)
	if most == math.MaxFloat64 {
		return -1, ""
	}
	if i, bad := n.OutOfRange(-most, most); bad {
		return i, formOverflow
	}
	return -1, ""
}

// bareToken finds a bare token in an array where nulls are allowed.
func bareToken(n scan.Node) (index int, form string) {
	index = -1
	n.EachFloat(func(i int, v float64, k scan.Kind) bool {
		if k == scan.NonFinite {
			index, form = i, tokenName(v)
		}
		return index < 0
	})
	return index, form
}

// badScalar returns the form of a lone value that is no finite value of a
// datatype, "" for a good one and for one that is no matter of finiteness.
func badScalar(n scan.Node, t tensor.Type) string {
	switch n.Kind() {
	case scan.NonFinite:
		return formOf(n)
	case scan.Null:
		if t.Float() {
			return formNull
		}
	case scan.String:
		if t.Float() && specialText(n, true) {
			return formString
		}
	case scan.Number:
		if v, _ := n.Float(); t.Float() && !(math.Abs(v) <= largest(t)) {
			return formOverflow
		}
	}
	return ""
}

// largest returns the largest magnitude that a number's text may have in a
// datatype. Servers print the shortest text that reads back as the value, which
// for the largest FP32 (3.4028235e38) and BF16 (3.39e38) is a little above the
// value itself: the bound there is half a unit in the last place above it, from
// which on text reads as infinite. For FP16 it is 65504 itself.
func largest(t tensor.Type) float64 {
	switch t {
	case tensor.FP32:
		return 0x1.ffffffp127
	case tensor.BF16:
		return 0x1.ffp127
	case tensor.FP16:
		return 65504
	}
	return math.MaxFloat64
}

func formOf(n scan.Node) string {
	switch n.Kind() {
	case scan.Null:
		return formNull
	case scan.NonFinite:
		v, _ := n.Float()
		return tokenName(v)
	case scan.String:
		return formString
	}
	return formOverflow
}

func tokenName(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	}
	return "NaN"
}

// nonFiniteAtPaths looks at the places that the policy names in any JSON. twin
// is a place whose name is there twice.
func (t *plan) nonFiniteAtPaths(root scan.Node) (where, twin string) {
	for i := range t.nonFinitePaths {
		path := &t.nonFinitePaths[i]
		path.Visit(root, func(h scan.Hit) bool {
			if h.Ambiguous {
				twin = string(path.AppendAt(nil, h.Stars))
				return false
			}
			suffix, bad := nonFiniteBelow(h.Node, tensor.FP64)
			if bad {
				where = string(append(path.AppendAt(nil, h.Stars), suffix...))
			}
			return !bad
		})
		if where != "" || twin != "" {
			return where, twin
		}
	}
	return "", ""
}

// nonFiniteBelow looks at a value, and at everything in it, as numbers of a
// datatype: a null or a string that reads as non-finite is a failure. It
// returns where below the value, and the form.
func nonFiniteBelow(root scan.Node, t tensor.Type) (suffix string, bad bool) {
	if !root.Exists() {
		return "", false
	}
	if s, flat := root.Numbers(); flat {
		if i, form := badNumber(root, s, t); i >= 0 {
			return "[" + strconv.Itoa(i) + "] " + form, true
		}
		return "", false
	}
	var w walker
	w.start(root)
	for n, ok := w.next(); ok; n, ok = w.next() {
		if s, flat := n.Numbers(); flat {
			if i, form := badNumber(n, s, t); i >= 0 {
				return below(&w, i) + " " + form, true
			}
			continue
		}
		if form := badScalar(n, t); form != "" {
			return below(&w, -1) + " " + form, true
		}
	}
	return "", false
}

// below names the walker's leaf, or its element i, behind a name that is
// written already.
func below(w *walker, i int) string {
	b := w.appendPlace([]byte{0})[1:]
	if i >= 0 {
		b = appendIndex(b, i)
	}
	return string(b)
}

// nonFiniteDeclared holds the outputs of answers that carry no datatype to the
// one that the policy declares: 1e39 is a fine number, and no FP32.
func (t *plan) nonFiniteDeclared(m *protocol.Message) (where string) {
	if protocol.Tensors(t.protocol) {
		return ""
	}
	for i := range t.outputs {
		o := &t.outputs[i]
		if !o.datatype.Float() {
			continue
		}
		o.visit(m, func(p part) bool {
			suffix, bad := nonFiniteBelow(p.node, o.datatype)
			if bad {
				where = p.place() + suffix
			}
			return !bad
		})
		if where != "" {
			return where
		}
	}
	return ""
}

// specialText reports whether a string is one that a library writes for a
// non-finite number: protobuf's JSON has exactly NaN, Infinity and -Infinity;
// with loose also what C, Python and numpy print, in any case and with a sign.
func specialText(n scan.Node, loose bool) bool {
	if len(n.Raw()) > len(`"-infinity"`)+8 {
		return false
	}
	var buf [32]byte
	b := n.Text(buf[:0])
	switch string(b) {
	case "NaN", "Infinity", "-Infinity":
		return true
	}
	if !loose {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		b = b[1:]
	}
	switch string(b) {
	case "nan", "inf", "infinity":
		return true
	}
	return false
}
