//go:build !wasip1

package protocol

import (
	"encoding/binary"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/tensor"
)

// elements turns JSON values into the raw ones of a datatype.
type elements struct {
	dst      []byte
	datatype tensor.Type
	count    int // values so far
}

// add appends a value, or all that arrays hold, in row-major order. False means
// that value number count is none of the datatype's. The document's limit on
// depth bounds the recursion.
func (e *elements) add(n scan.Node) bool {
	if _, flat := n.Numbers(); flat {
		return e.addNumbers(n)
	}
	if n.Kind() != scan.Array {
		return e.addOne(n)
	}
	for it := n.Children(); it.Next(); {
		if !e.add(it.Value()) {
			return false
		}
	}
	return true
}

// addNumbers appends a flat array. A null in it reads as NaN, and so is no value
// of any datatype.
func (e *elements) addNumbers(n scan.Node) bool {
	ok := true
	n.EachFloat(func(i int, v float64, _ scan.Kind) bool {
		if e.inexact(v) {
			ok = e.addText(n.At(i))
		} else {
			ok = e.addNumber(v)
		}
		return ok
	})
	return ok
}

// addOne appends a value that is no array.
func (e *elements) addOne(n scan.Node) bool {
	switch n.Kind() {
	case scan.True, scan.False:
		if e.datatype != tensor.BOOL {
			return false
		}
		return e.addNumber(float64(protowire.EncodeBool(n.Kind() == scan.True)))
	case scan.String:
		if e.datatype != tensor.BYTES {
			return false
		}
		start := len(e.dst)
		e.dst = n.Text(append(e.dst, 0, 0, 0, 0))
		binary.LittleEndian.PutUint32(e.dst[start:], uint32(len(e.dst)-start-4))
		e.count++
		return true
	case scan.Number:
		v, _ := n.Float()
		if e.inexact(v) {
			return e.addText(n)
		}
		return e.addNumber(v)
	}
	return false
}

// inexact reports whether the float64 next to an integer's text may be another
// integer.
func (e *elements) inexact(v float64) bool {
	return (e.datatype == tensor.INT64 || e.datatype == tensor.UINT64) && math.Abs(v) >= 1<<53
}

// addText appends a 64-bit integer by its text.
func (e *elements) addText(n scan.Node) bool {
	v, ok := n.Int()
	bits := uint64(v)
	if e.datatype == tensor.UINT64 {
		u, err := strconv.ParseUint(string(n.Raw()), 10, 64)
		bits, ok = u, err == nil
	}
	if !ok {
		return false
	}
	e.dst = binary.LittleEndian.AppendUint64(e.dst, bits)
	e.count++
	return true
}

// addNumber appends a number.
func (e *elements) addNumber(v float64) bool {
	var ok bool
	switch e.datatype {
	case tensor.BOOL:
		ok = v == 0 || v == 1
		e.dst = append(e.dst, byte(v))
	case tensor.FP64:
		var bits uint64
		bits, ok = finiteBits(v)
		e.dst = binary.LittleEndian.AppendUint64(e.dst, bits)
	case tensor.FP32:
		f := float32(v)
		ok = !math.IsInf(float64(f), 0) && f == f
		e.dst = binary.LittleEndian.AppendUint32(e.dst, math.Float32bits(f))
	case tensor.FP16, tensor.BF16:
		var half uint16
		half, ok = toHalf(v, e.datatype)
		e.dst = binary.LittleEndian.AppendUint16(e.dst, half)
	case tensor.BYTES:
		ok = false
	default:
		ok = e.addInteger(v)
	}
	if ok {
		e.count++
	}
	return ok
}

// addInteger appends a number that must be an integer of the datatype. Of the
// 64-bit ones it is given only what a float64 holds exactly.
func (e *elements) addInteger(v float64) bool {
	least, most := 0.0, e.datatype.MaxFinite()
	switch e.datatype {
	case tensor.INT8, tensor.INT16, tensor.INT32, tensor.INT64:
		least = -most - 1
	}
	if v != math.Trunc(v) || !(v >= least && v <= most) {
		return false
	}
	bits := uint64(int64(v))
	switch e.datatype.Size() {
	case 1:
		e.dst = append(e.dst, byte(bits))
	case 2:
		e.dst = binary.LittleEndian.AppendUint16(e.dst, uint16(bits))
	case 4:
		e.dst = binary.LittleEndian.AppendUint32(e.dst, uint32(bits))
	default:
		e.dst = binary.LittleEndian.AppendUint64(e.dst, bits)
	}
	return true
}

func finiteBits(v float64) (uint64, bool) {
	return math.Float64bits(v), !math.IsNaN(v) && !math.IsInf(v, 0)
}

// toHalf rounds to the nearest FP16 or BF16, ties to even (IEEE 754, 4.3.1),
// from the float64 at once: by way of a float32 it would round twice. ok is
// false for NaN and for what rounds to infinity.
func toHalf(v float64, t tensor.Type) (bits uint16, ok bool) {
	fraction, bias := 10, 15
	if t == tensor.BF16 {
		fraction, bias = 7, 127
	}
	if math.Signbit(v) {
		bits = 0x8000
	}
	a := math.Abs(v)
	// The exponent of a's leading bit; below the smallest normal number that of
	// the subnormal ones. Then a in units of its last place.
	exp := max(math.Ilogb(a), 1-bias)
	units := math.RoundToEven(math.Ldexp(a, fraction-exp))
	if a == 0 {
		return bits, true
	}
	if !(units <= float64(int(2)<<fraction)) || exp > bias {
		return 0, false
	}
	// The exponent field counts from 1 for normal numbers. A carry out of the
	// fraction, or into the normal numbers, is the right exponent by itself.
	n := uint32(exp+bias-1)<<fraction + uint32(units)
	if n >= uint32(2*bias+1)<<fraction {
		return 0, false
	}
	return bits | uint16(n), true
}

// appendContents appends the fields of an InferTensorContents that holds raw
// values of a datatype.
func appendContents(dst []byte, t tensor.Type, raw []byte) []byte {
	if len(raw) == 0 {
		return dst
	}
	num := contentsField(t)
	if t == tensor.BYTES {
		for len(raw) > 0 {
			var elem []byte
			elem, raw, _ = tensor.NextBytes(raw)
			dst = protowire.AppendTag(dst, num, protowire.BytesType)
			dst = protowire.AppendBytes(dst, elem)
		}
		return dst
	}
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	if t == tensor.FP32 || t == tensor.FP64 {
		return protowire.AppendBytes(dst, raw)
	}
	start := len(dst)
	for size := t.Size(); len(raw) > 0; raw = raw[size:] {
		dst = protowire.AppendVarint(dst, varintOf(t, raw))
	}
	return prefixLength(dst, start)
}

// varintOf returns the first raw value as protobuf's varint fields hold it:
// negative ones are extended to 64 bits.
func varintOf(t tensor.Type, raw []byte) uint64 {
	switch t {
	case tensor.BOOL:
		return protowire.EncodeBool(raw[0] != 0)
	case tensor.UINT8:
		return uint64(raw[0])
	case tensor.INT8:
		return uint64(int8(raw[0]))
	case tensor.UINT16:
		return uint64(binary.LittleEndian.Uint16(raw))
	case tensor.INT16:
		return uint64(int16(binary.LittleEndian.Uint16(raw)))
	case tensor.UINT32:
		return uint64(binary.LittleEndian.Uint32(raw))
	case tensor.INT32:
		return uint64(int32(binary.LittleEndian.Uint32(raw)))
	}
	return binary.LittleEndian.Uint64(raw)
}
