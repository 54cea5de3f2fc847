package tensor

import "math"

// Type is a datatype. The zero value, Unknown, is none of them.
type Type uint8

// The datatypes of the Open Inference Protocol, and BF16, which Triton adds.
const (
	Unknown Type = iota
	BOOL
	INT8
	INT16
	INT32
	INT64
	UINT8
	UINT16
	UINT32
	UINT64
	FP16
	BF16
	FP32
	FP64
	BYTES
)

// table holds what is known of each type.
var table = [...]struct {
	name string
	size int     // bytes of an element; 0 when elements differ
	most float64 // the largest finite value; 0 when elements are no numbers
}{
	Unknown: {"", 0, 0},
	BOOL:    {"BOOL", 1, 1},
	INT8:    {"INT8", 1, math.MaxInt8},
	INT16:   {"INT16", 2, math.MaxInt16},
	INT32:   {"INT32", 4, math.MaxInt32},
	INT64:   {"INT64", 8, math.MaxInt64},
	UINT8:   {"UINT8", 1, math.MaxUint8},
	UINT16:  {"UINT16", 2, math.MaxUint16},
	UINT32:  {"UINT32", 4, math.MaxUint32},
	UINT64:  {"UINT64", 8, math.MaxUint64},
	FP16:    {"FP16", 2, 65504},
	BF16:    {"BF16", 2, 0x1.FEp127},
	FP32:    {"FP32", 4, math.MaxFloat32},
	FP64:    {"FP64", 8, math.MaxFloat64},
	BYTES:   {"BYTES", 0, 0},
}

// Parse returns the type of that name, in exact case.
func Parse(s string) (Type, bool) {
	if s == "" {
		return Unknown, false
	}
	for t := range table {
		if table[t].name == s {
			return Type(t), true
		}
	}
	return Unknown, false
}

// known returns t, or Unknown for a number that is no type.
func (t Type) known() Type {
	if int(t) >= len(table) {
		return Unknown
	}
	return t
}

// String returns the type's name, "" for Unknown.
func (t Type) String() string { return table[t.known()].name }

// Size returns the bytes of an element; 0 for BYTES, whose elements differ,
// and for Unknown.
func (t Type) Size() int { return table[t.known()].size }

// Float reports whether the type's elements can be NaN or infinite.
func (t Type) Float() bool { return t == FP16 || t == BF16 || t == FP32 || t == FP64 }

// MaxFinite returns the largest finite value; of INT64 and UINT64 the float64
// next to it. It is 0 for BYTES and Unknown.
func (t Type) MaxFinite() float64 { return table[t.known()].most }

// Elements returns the number of elements of a shape, 1 for no dimensions. ok
// is false when a dimension is negative or the number does not fit an int64;
// the latter holds for the non-zero dimensions even when another is 0.
func Elements(shape []int64) (n int64, ok bool) {
	n = 1
	zero := false
	for _, d := range shape {
		switch {
		case d < 0:
			return 0, false
		case d == 0:
			zero = true
		case n > math.MaxInt64/d:
			return 0, false
		default:
			n *= d
		}
	}
	if zero {
		return 0, true
	}
	return n, true
}
