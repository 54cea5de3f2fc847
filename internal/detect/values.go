package detect

import (
	"math"
	"strconv"

	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/tensor"
	"github.com/safestate/safestate/internal/verdict"
)

// checkValues holds JSON values to an output's datatype, bounds and labels: t
// is what the answer says they are, or the promised datatype where it says
// nothing. It returns the breach and where below n, with the value of a breach
// of bounds; no code: none.
func (o *output) checkValues(n scan.Node, t tensor.Type) (code verdict.Code, suffix string) {
	if s, flat := n.Numbers(); flat {
		code, i, value := o.checkNumbers(n, s, t)
		if code == "" {
			return "", ""
		}
		return code, "[" + strconv.Itoa(i) + "]" + value
	}
	if o.datatype == tensor.Unknown && t == tensor.Unknown && !o.bounded && o.labels == nil {
		return "", ""
	}
	var w walker
	w.start(n)
	for v, ok := w.next(); ok; v, ok = w.next() {
		if s, flat := v.Numbers(); flat {
			if code, i, value := o.checkNumbers(v, s, t); code != "" {
				return code, below(&w, i) + value
			}
			continue
		}
		if code, value := o.checkOne(v, t); code != "" {
			return code, below(&w, -1) + value
		}
	}
	return "", ""
}

// checkNumbers is checkValues for an array of numbers, whose values are looked
// at one by one only where its minimum and maximum do not settle it.
func (o *output) checkNumbers(n scan.Node, s scan.Numbers, t tensor.Type) (verdict.Code, int, string) {
	switch {
	case s.Count == 0:
		return "", 0, ""
	case o.labels == nil && (!o.bounded || integer(t)) && s.Finite == 0 && onlyNulls(n):
		return "", 0, "" // missing values: non-finite says where that is a failure
	case t == tensor.BYTES && o.labels == nil, t == tensor.BOOL && s.Finite > 0 && !(s.Min >= 0 && s.Max <= 1):
		return verdict.ContractDatatype, 0, ""
	}
	if lo, hi := o.bounds(t); !math.IsInf(lo, -1) || !math.IsInf(hi, 1) {
		if i, bad := n.OutOfRange(lo, hi); bad {
			return verdict.ContractRange, i, " " + quoted(n.At(i).Raw())
		}
	}
	if o.bounded && s.FirstBad >= 0 && s.BadKind == scan.Null && !integer(t) {
		return verdict.ContractRange, s.FirstBad, " " + formNull
	}
	if integer(t) {
		if i := firstFraction(n); i >= 0 {
			return verdict.ContractDatatype, i, ""
		}
	}
	if o.labels != nil {
		if i := o.labels.firstOther(n); i >= 0 {
			return verdict.ContractLabel, i, ""
		}
	}
	return "", 0, ""
}

func onlyNulls(n scan.Node) bool {
	only := true
	n.EachFloat(func(_ int, _ float64, k scan.Kind) bool {
		only = k == scan.Null
		return only
	})
	return only
}

// checkOne is checkValues for one value.
func (o *output) checkOne(v scan.Node, t tensor.Type) (verdict.Code, string) {
	kind := v.Kind()
	switch {
	case kind == scan.Null && o.labels == nil && (!o.bounded || integer(t)):
		return "", "" // a missing value: non-finite says where that is a failure
	case o.labels != nil:
		if !o.labels.has(v) {
			return verdict.ContractLabel, ""
		}
	case kind == scan.Null:
		return verdict.ContractRange, " " + formNull
	case t == tensor.BYTES:
		if kind != scan.String && kind != scan.Object {
			return verdict.ContractDatatype, ""
		}
	case kind == scan.True || kind == scan.False:
		if t != tensor.BOOL && (t != tensor.Unknown || o.bounded) {
			return verdict.ContractDatatype, ""
		}
	case kind != scan.Number && kind != scan.NonFinite:
		if t != tensor.Unknown || o.bounded {
			return verdict.ContractDatatype, ""
		}
	default:
		return o.checkNumber(v, t)
	}
	return "", ""
}

func (o *output) checkNumber(v scan.Node, t tensor.Type) (verdict.Code, string) {
	f, _ := v.Float()
	lo, hi := o.bounds(t)
	switch {
	case t == tensor.BOOL && f != 0 && f != 1:
		return verdict.ContractDatatype, ""
	case integer(t) && f != math.Trunc(f):
		return verdict.ContractDatatype, ""
	case !math.IsInf(lo, -1) && !(f >= lo), !math.IsInf(hi, 1) && !(f <= hi):
		return verdict.ContractRange, " " + quoted(v.Raw())
	}
	return "", ""
}

// bounds is what the output's bounds and an integer's width leave.
func (o *output) bounds(t tensor.Type) (lo, hi float64) {
	lo, hi = o.min, o.max
	least, most := width(t)
	return math.Max(lo, least), math.Min(hi, most)
}

// width returns the range of an integer datatype, infinite for others. That of
// the 64-bit ones ends at the next float64 outside it.
func width(t tensor.Type) (lo, hi float64) {
	switch t {
	case tensor.INT8:
		return math.MinInt8, math.MaxInt8
	case tensor.INT16:
		return math.MinInt16, math.MaxInt16
	case tensor.INT32:
		return math.MinInt32, math.MaxInt32
	case tensor.INT64:
		return math.MinInt64, math.MaxInt64
	case tensor.UINT8:
		return 0, math.MaxUint8
	case tensor.UINT16:
		return 0, math.MaxUint16
	case tensor.UINT32:
		return 0, math.MaxUint32
	case tensor.UINT64:
		return 0, math.MaxUint64
	}
	return math.Inf(-1), math.Inf(1)
}

func integer(t tensor.Type) bool {
	lo, _ := width(t)
	return !math.IsInf(lo, -1)
}

// firstFraction returns the first element that is no integer, -1 for none.
func firstFraction(n scan.Node) int {
	index := -1
	n.EachFloat(func(i int, v float64, k scan.Kind) bool {
		if k != scan.Null && v != math.Trunc(v) {
			index = i
		}
		return index < 0
	})
	return index
}

// firstOther returns the first element that is not in the set, -1 for none.
func (l *labels) firstOther(n scan.Node) int {
	index := -1
	n.EachFloat(func(i int, v float64, k scan.Kind) bool {
		if k != scan.Number || !l.hasNumber(v) {
			index = i
		}
		return index < 0
	})
	return index
}

// maxRank bounds the dimensions that are looked at.
const maxRank = maxDepth

// dimensions returns the shape of nested arrays, and whether they are even: a
// value that is no array has none.
func dimensions(n scan.Node, buf []int64) (shape []int64, even bool) {
	for v := n; v.Kind() == scan.Array && len(buf) < cap(buf); {
		buf = append(buf, int64(v.Len()))
		it := v.Children()
		if !it.Next() {
			break
		}
		v = it.Value()
	}
	return buf, fills(n, buf)
}

// fills reports whether n has exactly a shape. It goes as deep as the shape is
// long.
func fills(n scan.Node, shape []int64) bool {
	if len(shape) == 0 {
		return n.Kind() != scan.Array
	}
	if n.Kind() != scan.Array || int64(n.Len()) != shape[0] {
		return false
	}
	if _, flat := n.Numbers(); flat {
		return len(shape) == 1
	}
	for it := n.Children(); it.Next(); {
		if !fills(it.Value(), shape[1:]) {
			return false
		}
	}
	return true
}

func equalShape(a, b []int64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
