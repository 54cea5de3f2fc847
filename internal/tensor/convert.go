package tensor

import (
	"encoding/binary"
	"math"
)

// FromFP16 returns the value of an IEEE 754 binary16, which a float32 holds
// exactly; a NaN keeps its sign and payload.
func FromFP16(b uint16) float32 {
	sign := uint32(b&0x8000) << 16
	exp, frac := uint32(b>>10&0x1F), uint32(b&0x3FF)
	switch exp {
	case 0x1F:
		return math.Float32frombits(sign | 0x7F800000 | frac<<13)
	case 0:
		// Subnormal: frac units of 2^-24, exact in float32.
		f := float32(frac) * 0x1p-24
		return math.Float32frombits(sign | math.Float32bits(f))
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}

// FromBF16 returns the value of a bfloat16: the upper half of a float32.
func FromBF16(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }

// At returns element i of the raw bytes; of INT64 and UINT64 the nearest
// float64, of BOOL its byte's value. It is NaN where there is no such element,
// and for BYTES and Unknown.
func At(t Type, raw []byte, i int) float64 {
	size := t.Size()
	if size == 0 || i < 0 || i >= len(raw)/size {
		return math.NaN()
	}
	b := raw[i*size : i*size+size]
	switch t {
	case BOOL, UINT8:
		return float64(b[0])
	case INT8:
		return float64(int8(b[0]))
	case INT16:
		return float64(int16(binary.LittleEndian.Uint16(b)))
	case UINT16:
		return float64(binary.LittleEndian.Uint16(b))
	case INT32:
		return float64(int32(binary.LittleEndian.Uint32(b)))
	case UINT32:
		return float64(binary.LittleEndian.Uint32(b))
	case INT64:
		return float64(int64(binary.LittleEndian.Uint64(b)))
	case UINT64:
		return float64(binary.LittleEndian.Uint64(b))
	case FP16:
		return float64(FromFP16(binary.LittleEndian.Uint16(b)))
	case BF16:
		return float64(FromBF16(binary.LittleEndian.Uint16(b)))
	case FP32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case FP64:
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	return math.NaN()
}

// Count returns how many elements the raw bytes hold. ok is false when they do
// not end with an element's end; n then counts the whole ones.
func Count(t Type, raw []byte) (n int, ok bool) {
	if t == BYTES {
		for len(raw) > 0 {
			if _, raw, ok = NextBytes(raw); !ok {
				return n, false
			}
			n++
		}
		return n, true
	}
	size := t.Size()
	if size == 0 {
		return 0, false
	}
	return len(raw) / size, len(raw)%size == 0
}

// NextBytes splits the first element off the raw bytes of a BYTES tensor: four
// bytes of length, little-endian, and as many bytes. ok is false at the end and
// where the length is more than what is left. elem shares raw's memory.
func NextBytes(raw []byte) (elem, rest []byte, ok bool) {
	if len(raw) < 4 {
		return nil, nil, false
	}
	n, raw := binary.LittleEndian.Uint32(raw), raw[4:]
	if uint64(n) > uint64(len(raw)) {
		return nil, nil, false
	}
	return raw[:n:n], raw[n:], true
}
