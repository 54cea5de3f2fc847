package tensor

import (
	"encoding/binary"
	"math"
)

// lanes says how to find an exponent of all ones in every element of a word at
// once: clear the signs, add one unit of the exponent, and look at the sign
// bits. What is left without its sign is at most the all-ones exponent with a
// full fraction, so the sum never reaches into the next element.
type lanes struct {
	clear uint64 // all but the signs
	unit  uint64 // the exponents' lowest bits
	size  int    // bytes of an element
	// most holds, for each 16 bits that end in an element's sign and exponent,
	// the largest finite ones, and elsewhere what nothing is above.
	most uint64
}

var (
	lanesFP16 = lanes{0x7FFF7FFF7FFF7FFF, 0x0400040004000400, 2, 0x7BFF7BFF7BFF7BFF}
	lanesBF16 = lanes{0x7FFF7FFF7FFF7FFF, 0x0080008000800080, 2, 0x7F7F7F7F7F7F7F7F}
	lanesFP32 = lanes{0x7FFFFFFF7FFFFFFF, 0x0080000000800000, 4, 0x7F7F7FFF7F7F7FFF}
	lanesFP64 = lanes{0x7FFFFFFFFFFFFFFF, 0x0010000000000000, 8, 0x7FEF7FFF7FFF7FFF}
)

// FirstNonFinite returns the first element of the raw bytes that is NaN or
// infinite, and which: "NaN", "Infinity" or "-Infinity". Of a type that has
// none found is false. Bytes behind the last whole element are not read.
func FirstNonFinite(t Type, raw []byte) (index int, form string, found bool) {
	var l *lanes
	switch t {
	case FP16:
		l = &lanesFP16
	case BF16:
		l = &lanesBF16
	case FP32:
		l = &lanesFP32
	case FP64:
		l = &lanesFP64
	default:
		return 0, "", false
	}
	for i := suspect(l, raw); i < len(raw)/l.size; i++ {
		switch v := At(t, raw, i); {
		case v != v:
			return i, "NaN", true
		case math.IsInf(v, 1):
			return i, "Infinity", true
		case math.IsInf(v, -1):
			return i, "-Infinity", true
		}
	}
	return 0, "", false
}

// suspect returns the index of an element such that all before it are finite
// and that is close to the first that is not, where there is one.
func suspect(l *lanes, raw []byte) int {
	from := clean(l, raw)
	return from/l.size + suspectWords(l, raw[from:])
}

// suspectWords is suspect in plain Go: the beginning of the first block of 128
// bytes with an element that is not finite, or of the rest that is shorter.
func suspectWords(l *lanes, raw []byte) int {
	const step = 128
	clear, unit, signs := l.clear, l.unit, ^l.clear
	rest := raw
	for len(rest) >= step {
		b := (*[step]byte)(rest)
		v := ((binary.LittleEndian.Uint64(b[0:8]) & clear) + unit) |
			((binary.LittleEndian.Uint64(b[8:16]) & clear) + unit) |
			((binary.LittleEndian.Uint64(b[16:24]) & clear) + unit) |
			((binary.LittleEndian.Uint64(b[24:32]) & clear) + unit)
		w := ((binary.LittleEndian.Uint64(b[32:40]) & clear) + unit) |
			((binary.LittleEndian.Uint64(b[40:48]) & clear) + unit) |
			((binary.LittleEndian.Uint64(b[48:56]) & clear) + unit) |
			((binary.LittleEndian.Uint64(b[56:64]) & clear) + unit)
		x := ((binary.LittleEndian.Uint64(b[64:72]) & clear) + unit) |
			((binary.LittleEndian.Uint64(b[72:80]) & clear) + unit) |
			((binary.LittleEndian.Uint64(b[80:88]) & clear) + unit) |
			((binary.LittleEndian.Uint64(b[88:96]) & clear) + unit)
		y := ((binary.LittleEndian.Uint64(b[96:104]) & clear) + unit) |
			((binary.LittleEndian.Uint64(b[104:112]) & clear) + unit) |
			((binary.LittleEndian.Uint64(b[112:120]) & clear) + unit) |
			((binary.LittleEndian.Uint64(b[120:128]) & clear) + unit)
		if (v|w|x|y)&signs != 0 {
			break
		}
		rest = rest[step:]
	}
	return (len(raw) - len(rest)) / l.size
}
