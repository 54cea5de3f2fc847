package tensor

import (
	"encoding/binary"
	"math"
)

// OutOfRange returns the first element of the raw bytes that does not hold
// lo <= v <= hi, and its value as of At. The comparison is exact, of 64-bit
// integers too. A NaN never holds it, and nothing holds a bound that is NaN.
// For BYTES and Unknown found is false.
func OutOfRange(t Type, raw []byte, lo, hi float64) (index int, value float64, found bool) {
	size := t.Size()
	if size == 0 {
		return 0, 0, false
	}
	i := -1
	switch t {
	case FP32:
		i = outside32(raw, lo, hi)
	case INT64:
		i = outsideInt64(raw, lo, hi)
	case UINT64:
		i = outsideUint64(raw, lo, hi)
	default:
		for k := range len(raw) / size {
			if v := At(t, raw, k); !(v >= lo && v <= hi) {
				i = k
				break
			}
		}
	}
	if i < 0 {
		return 0, 0, false
	}
	return i, At(t, raw, i), true
}

// outside32 is for the type that almost every model answers in.
func outside32(raw []byte, lo, hi float64) int {
	for i := 0; len(raw) >= 4; i++ {
		v := float64(math.Float32frombits(binary.LittleEndian.Uint32(raw)))
		if !(v >= lo && v <= hi) {
			return i
		}
		raw = raw[4:]
	}
	return -1
}

// The bounds of the 64-bit integers as float64; the upper ones are the first
// value that is too large.
const (
	pastInt64  = 0x1p63
	pastUint64 = 0x1p64
)

// outsideInt64 compares as integers: a float64 can not tell 2^53 from 2^53+1.
func outsideInt64(raw []byte, lo, hi float64) int {
	lo, hi = math.Ceil(lo), math.Floor(hi)
	if !(lo <= hi) || lo >= pastInt64 || hi < -pastInt64 {
		return firstOf(raw)
	}
	least, most := int64(math.MinInt64), int64(math.MaxInt64)
	if lo > -pastInt64 {
		least = int64(lo)
	}
	if hi < pastInt64 {
		most = int64(hi)
	}
	for i := 0; len(raw) >= 8; i++ {
		if v := int64(binary.LittleEndian.Uint64(raw)); v < least || v > most {
			return i
		}
		raw = raw[8:]
	}
	return -1
}

// outsideUint64 is outsideInt64 for unsigned integers.
func outsideUint64(raw []byte, lo, hi float64) int {
	lo, hi = math.Ceil(lo), math.Floor(hi)
	if !(lo <= hi) || lo >= pastUint64 || hi < 0 {
		return firstOf(raw)
	}
	least, most := uint64(0), uint64(math.MaxUint64)
	if lo > 0 {
		least = uint64(lo)
	}
	if hi < pastUint64 {
		most = uint64(hi)
	}
	for i := 0; len(raw) >= 8; i++ {
		if v := binary.LittleEndian.Uint64(raw); v < least || v > most {
			return i
		}
		raw = raw[8:]
	}
	return -1
}

// firstOf is for a range that holds no integer at all: the first element is
// outside it, where there is one.
func firstOf(raw []byte) int {
	if len(raw) < 8 {
		return -1
	}
	return 0
}
