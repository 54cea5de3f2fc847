//go:build !wasip1

package protocol

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/safestate/safestate/internal/tensor"
)

// contentsField returns the list of InferTensorContents that a datatype's
// values stand in, 0 for a datatype that has none: FP16 and BF16 are always raw.
func contentsField(t tensor.Type) protowire.Number {
	switch t {
	case tensor.BOOL:
		return grpcBoolContents
	case tensor.INT8, tensor.INT16, tensor.INT32:
		return grpcIntContents
	case tensor.INT64:
		return grpcInt64Contents
	case tensor.UINT8, tensor.UINT16, tensor.UINT32:
		return grpcUintContents
	case tensor.UINT64:
		return grpcUint64Contents
	case tensor.FP32:
		return grpcFP32Contents
	case tensor.FP64:
		return grpcFP64Contents
	case tensor.BYTES:
		return grpcBytesContents
	}
	return 0
}

// takeTyped appends the typed contents of a tensor to the tail, and reports
// whether there are any: a list without elements is none.
func (r *grpcReader) takeTyped(t tensor.Type, s span) (typed bool, p Problem) {
	w := fieldsOfWire{b: r.b, at: s.from, end: s.to, nested: true}
	want := contentsField(t)
	for f := (wireField{}); w.next(&f); {
		if f.num < grpcBoolContents || f.num > grpcBytesContents {
			continue
		}
		native := nativeType(f.num)
		packed := f.typ == protowire.BytesType && native != protowire.BytesType
		switch {
		case !packed && f.typ != native:
			return typed, malformed(f.begin)
		case packed && f.from == f.to:
			continue
		case f.num != want:
			return typed, problem(Form, "contents")
		case f.num == grpcBytesContents:
			// The length of a message fits in four bytes, and its parts' too.
			r.tail = binary.LittleEndian.AppendUint32(r.tail, uint32(f.to-f.from))
			r.tail = append(r.tail, r.b[f.from:f.to]...)
		case packed:
			p = r.takePacked(t, native, f.from, f.to)
		case !r.takeOne(t, f.value):
			p = problem(Form, "contents")
		}
		if p.Found() {
			return typed, p
		}
		typed = true
	}
	return typed, w.problem
}

func nativeType(num protowire.Number) protowire.Type {
	switch num {
	case grpcFP32Contents:
		return protowire.Fixed32Type
	case grpcFP64Contents:
		return protowire.Fixed64Type
	case grpcBytesContents:
		return protowire.BytesType
	}
	return protowire.VarintType
}

// takePacked appends a packed list: floats stand in it as they do in the tail.
func (r *grpcReader) takePacked(t tensor.Type, native protowire.Type, from, to int) Problem {
	if native != protowire.VarintType {
		if (to-from)%t.Size() != 0 {
			return malformed(from)
		}
		r.tail = append(r.tail, r.b[from:to]...)
		return Problem{}
	}
	for at := from; at < to; {
		v, n := uint64(r.b[at]), 1
		if v >= 0x80 {
			if v, n = protowire.ConsumeVarint(r.b[at:to]); n < 0 {
				return malformed(at)
			}
		}
		at += n
		if !r.takeOne(t, v) {
			return problem(Form, "contents")
		}
	}
	return Problem{}
}

// takeOne appends one value that is no BYTES, and reports whether it is one of
// its datatype. Protobuf reads an int32 or a uint32 by the lowest 32 bits of
// what is sent; a value past a narrower datatype is none of it.
func (r *grpcReader) takeOne(t tensor.Type, v uint64) bool {
	switch t {
	case tensor.BOOL:
		r.tail = append(r.tail, byte(protowire.EncodeBool(v != 0)))
		return true
	case tensor.INT8:
		i := int32(v)
		r.tail = append(r.tail, byte(i))
		return i >= math.MinInt8 && i <= math.MaxInt8
	case tensor.UINT8:
		r.tail = append(r.tail, byte(v))
		return uint32(v) <= math.MaxUint8
	case tensor.INT16:
		i := int32(v)
		r.tail = binary.LittleEndian.AppendUint16(r.tail, uint16(i))
		return i >= math.MinInt16 && i <= math.MaxInt16
	case tensor.UINT16:
		r.tail = binary.LittleEndian.AppendUint16(r.tail, uint16(v))
		return uint32(v) <= math.MaxUint16
	case tensor.INT32, tensor.UINT32, tensor.FP32:
		r.tail = binary.LittleEndian.AppendUint32(r.tail, uint32(v))
		return true
	}
	r.tail = binary.LittleEndian.AppendUint64(r.tail, v) // INT64, UINT64, FP64
	return true
}
