package tensor

import (
	"encoding/binary"
	"math"
	"math/big"
	"testing"
)

var allTypes = []Type{BOOL, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FP16, BF16, FP32, FP64, BYTES}

func TestTypes(t *testing.T) {
	sizes := map[Type]int{BOOL: 1, INT8: 1, INT16: 2, INT32: 4, INT64: 8, UINT8: 1, UINT16: 2, UINT32: 4, UINT64: 8, FP16: 2, BF16: 2, FP32: 4, FP64: 8, BYTES: 0}
	for _, typ := range allTypes {
		if got, ok := Parse(typ.String()); !ok || got != typ {
			t.Errorf("Parse(%q) = %v, %v", typ.String(), got, ok)
		}
		if typ.Size() != sizes[typ] {
			t.Errorf("%v: size %d", typ, typ.Size())
		}
	}
	for _, s := range []string{"", "fp32", "FP32 ", "FP8", "STRING"} {
		if got, ok := Parse(s); ok || got != Unknown {
			t.Errorf("Parse(%q) = %v, %v", s, got, ok)
		}
	}
	for _, typ := range []Type{Unknown, BYTES + 1, 255} {
		if typ.String() != "" || typ.Size() != 0 || typ.Float() || typ.MaxFinite() != 0 {
			t.Errorf("type %d is something", typ)
		}
	}
}

func TestMaxFinite(t *testing.T) {
	for _, c := range []struct {
		typ       Type
		last, inf []byte
	}{
		{FP16, []byte{0xFF, 0x7B}, []byte{0, 0x7C}},
		{BF16, []byte{0x7F, 0x7F}, []byte{0x80, 0x7F}},
		{FP32, []byte{0xFF, 0xFF, 0x7F, 0x7F}, []byte{0, 0, 0x80, 0x7F}},
		{FP64, []byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xEF, 0x7F}, []byte{0, 0, 0, 0, 0, 0, 0xF0, 0x7F}},
		{INT8, []byte{0x7F}, nil},
		{UINT16, []byte{0xFF, 0xFF}, nil},
		{INT32, []byte{0xFF, 0xFF, 0xFF, 0x7F}, nil},
		{UINT64, []byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, nil},
	} {
		if got := At(c.typ, c.last, 0); got != c.typ.MaxFinite() {
			t.Errorf("%v: %v, want %v", c.typ, got, c.typ.MaxFinite())
		}
		if c.inf != nil && (!c.typ.Float() || !math.IsInf(At(c.typ, c.inf, 0), 1)) {
			t.Errorf("%v: the next is not infinite", c.typ)
		}
	}
}

// Every binary16 against its definition, computed with exact arithmetic.
func TestFromFP16(t *testing.T) {
	for b := range 1 << 16 {
		exp, frac := b>>10&0x1F, b&0x3FF
		got := float64(FromFP16(uint16(b)))
		if math.Signbit(got) != (b>>15 == 1) {
			t.Fatalf("%04x: sign of %v", b, got)
		}
		if exp == 0x1F {
			if frac != 0 != math.IsNaN(got) || frac == 0 != math.IsInf(got, 0) {
				t.Fatalf("%04x: %v", b, got)
			}
			continue
		}
		if exp > 0 {
			frac |= 0x400
		} else {
			exp = 1
		}
		want, _ := new(big.Float).SetMantExp(big.NewFloat(float64(frac)), exp-25).Float64()
		if math.Abs(got) != want {
			t.Fatalf("%04x: %v, want %v", b, got, want)
		}
	}
}

func TestFromBF16(t *testing.T) {
	for b, want := range map[uint16]float32{0x3F80: 1, 0xBF80: -1, 0x4049: 3.140625, 0x0001: 0x1p-133, 0x7F7F: 0x1.FEp127} {
		if got := FromBF16(b); got != want {
			t.Errorf("%04x: %v, want %v", b, got, want)
		}
	}
}

func TestAt(t *testing.T) {
	raw := []byte{0x01, 0x80, 0xFF, 0x7F, 0x00, 0x3C, 0x80, 0xBF, 0xFF}
	for _, c := range []struct {
		typ  Type
		i    int
		want float64
	}{
		{BOOL, 0, 1}, {UINT8, 1, 128}, {INT8, 1, -128}, {INT8, 8, -1},
		{INT16, 0, -32767}, {UINT16, 0, 32769}, {INT16, 1, 32767},
		{INT32, 0, 0x7FFF8001}, {INT32, 1, -1082115072}, {UINT32, 1, 0xBF803C00},
		{INT64, 0, 0xBF803C007FFF8001 - 0x1p64}, {UINT64, 0, 0xBF803C007FFF8001},
		{FP16, 2, 1}, {BF16, 3, -1}, {FP32, 1, -1.001831},
	} {
		got := At(c.typ, raw, c.i)
		if c.typ == FP32 {
			got = math.Round(got*1e6) / 1e6
		}
		if got != c.want {
			t.Errorf("%v[%d]: %v, want %v", c.typ, c.i, got, c.want)
		}
	}
	for _, typ := range append([]Type{Unknown, 99}, allTypes...) {
		for _, i := range []int{-1, 9, math.MaxInt, math.MinInt} {
			if v := At(typ, raw, i); !math.IsNaN(v) {
				t.Errorf("%v[%d] = %v", typ, i, v)
			}
		}
	}
	if !math.IsNaN(At(FP64, raw, 1)) || !math.IsNaN(At(BYTES, raw, 0)) {
		t.Error("an element out of bounds")
	}
}

// Each form, of each type, at every place of a long tensor: in blocks, between
// them and in the rest.
func TestFirstNonFinite(t *testing.T) {
	forms := []struct {
		typ  Type
		bits uint64
		form string
	}{
		{FP16, 0x7C00, "Infinity"}, {FP16, 0xFC00, "-Infinity"}, {FP16, 0x7E00, "NaN"}, {FP16, 0x7C01, "NaN"}, {FP16, 0xFFFF, "NaN"},
		{BF16, 0x7F80, "Infinity"}, {BF16, 0xFF80, "-Infinity"}, {BF16, 0x7FC0, "NaN"}, {BF16, 0xFF81, "NaN"},
		{FP32, 0x7F800000, "Infinity"}, {FP32, 0xFF800000, "-Infinity"}, {FP32, 0x7FC00000, "NaN"}, {FP32, 0x7F800001, "NaN"}, {FP32, 0xFFFFFFFF, "NaN"},
		{FP64, 0x7FF0000000000000, "Infinity"}, {FP64, 0xFFF0000000000000, "-Infinity"}, {FP64, 0x7FF8000000000000, "NaN"}, {FP64, 0xFFF0000000000001, "NaN"},
	}
	for _, c := range forms {
		size := c.typ.Size()
		n := 700/size + 1
		for at := range n {
			// All around it the largest finite values, of both signs.
			raw := fill(c.typ, n)
			putBits(raw[at*size:], size, c.bits)
			if at+2 < n {
				putBits(raw[(at+2)*size:], size, forms[0].bits<<48|c.bits)
			}
			i, form, found := FirstNonFinite(c.typ, raw)
			if !found || i != at || form != c.form {
				t.Fatalf("%v %x at %d: %d %q %v", c.typ, c.bits, at, i, form, found)
			}
			// A beginning at an odd address, and a broken last element.
			shifted := append(make([]byte, 1, len(raw)+4), raw...)
			shifted = append(shifted, 0xFF)
			if i, _, found := FirstNonFinite(c.typ, shifted[1:]); !found || i != at {
				t.Fatalf("%v %x at %d of odd bytes: %d %v", c.typ, c.bits, at, i, found)
			}
		}
	}
	for _, typ := range allTypes {
		raw := fill(FP32, 200)
		if typ.Float() {
			raw = fill(typ, 200)
		} else {
			putBits(raw, 4, 0x7FC00000)
		}
		for _, b := range [][]byte{raw, raw[:3], nil} {
			if i, form, found := FirstNonFinite(typ, b); found {
				t.Errorf("%v: %d %q", typ, i, form)
			}
		}
	}
}

// Nothing is read behind the end: there the memory holds a NaN.
func TestFirstNonFiniteEnds(t *testing.T) {
	for _, typ := range []Type{FP16, BF16, FP32, FP64} {
		for n := range 700 {
			raw := append(fill(typ, 1+700/typ.Size())[:n], make([]byte, 300)...)
			for i := n; i < len(raw); i++ {
				raw[i] = 0xFF
			}
			if i, form, found := FirstNonFinite(typ, raw[:n]); found {
				t.Fatalf("%v of %d bytes: %d %q", typ, n, i, form)
			}
		}
	}
}

// fill returns n elements of the largest finite magnitude, signs in turn.
func fill(t Type, n int) []byte {
	most := map[Type]uint64{FP16: 0x7BFF, BF16: 0x7F7F, FP32: 0x7F7FFFFF, FP64: 0x7FEFFFFFFFFFFFFF}[t]
	size := t.Size()
	raw := make([]byte, n*size)
	for i := range n {
		putBits(raw[i*size:], size, most|uint64(i%2)<<(8*size-1))
	}
	return raw
}

func putBits(b []byte, size int, v uint64) {
	switch size {
	case 2:
		binary.LittleEndian.PutUint16(b, uint16(v))
	case 4:
		binary.LittleEndian.PutUint32(b, uint32(v))
	case 8:
		binary.LittleEndian.PutUint64(b, v)
	}
}

func TestOutOfRange(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	f32 := func(v ...float32) (b []byte) {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
		return b
	}
	i64 := func(v ...int64) (b []byte) {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint64(b, uint64(x))
		}
		return b
	}
	for _, c := range []struct {
		name   string
		typ    Type
		raw    []byte
		lo, hi float64
		index  int
		value  float64
		found  bool
	}{
		{"inside", FP32, f32(0, 1, 0.5), 0, 1, 0, 0, false},
		{"above", FP32, f32(0, 1, 1.5, 2), 0, 1, 2, 1.5, true},
		{"below", FP32, f32(0, -0.25), 0, 1, 1, -0.25, true},
		{"infinite inside infinite", FP32, f32(float32(inf)), 0, inf, 0, 0, false},
		{"infinite", FP32, f32(float32(inf)), 0, 1e300, 0, inf, true},
		{"no range", FP32, f32(0.5), 1, 0, 0, 0.5, true},
		{"NaN bound", FP32, f32(0.5), nan, 1, 0, 0.5, true},
		{"empty", FP32, nil, nan, nan, 0, 0, false},
		{"broken last", FP32, f32(0.5, 9)[:7], 0, 1, 0, 0, false},
		{"bytes", UINT8, []byte{1, 200}, 0, 199, 1, 200, true},
		{"signed bytes", INT8, []byte{1, 200}, 0, 199, 1, -56, true},
		{"half", FP16, []byte{0, 0x3C, 0, 0x40}, 0, 1.5, 1, 2, true},
		{"exact", INT64, i64(1<<53, 1<<53+1), 0, 1 << 53, 1, 1 << 53, true},
		{"exact below", INT64, i64(-1<<53, -1<<53-1), -1 << 53, 0, 1, -1 << 53, true},
		{"fractions", INT64, i64(1, 2), 0.5, 2.5, 0, 0, false},
		{"fractions out", INT64, i64(0), 0.5, 2.5, 0, 0, true},
		{"no integer between", INT64, i64(1), 0.25, 0.75, 0, 1, true},
		{"all", INT64, i64(math.MinInt64, math.MaxInt64), -inf, inf, 0, 0, false},
		{"all but exact", INT64, i64(math.MinInt64, math.MaxInt64), -0x1p63, 0x1p63, 0, 0, false},
		{"beyond", INT64, i64(math.MaxInt64), 0x1p63, inf, 0, 0x1p63, true},
		{"beyond below", INT64, i64(math.MinInt64), -inf, -0x1p64, 0, -0x1p63, true},
		{"integer NaN", INT64, i64(5), 0, nan, 0, 5, true},
		{"unsigned all", UINT64, i64(0, -1), 0, 0x1p64, 0, 0, false},
		{"unsigned below", UINT64, i64(5), -inf, -1, 0, 5, true},
		{"unsigned over", UINT64, i64(5, -1), -3, 0x1p63, 1, 0x1p64, true},
		{"unsigned beyond", UINT64, i64(-1), 0x1p64, inf, 0, 0x1p64, true},
		{"text", BYTES, f32(7), 0, 1, 0, 0, false},
		{"unknown", Unknown, f32(7), 0, 1, 0, 0, false},
	} {
		i, v, found := OutOfRange(c.typ, c.raw, c.lo, c.hi)
		if i != c.index || v != c.value || found != c.found {
			t.Errorf("%s: %d, %v, %v", c.name, i, v, found)
		}
	}
	if i, v, found := OutOfRange(FP32, f32(0, float32(nan)), -inf, inf); i != 1 || !math.IsNaN(v) || !found {
		t.Errorf("NaN: %d, %v, %v", i, v, found)
	}
}

func TestCountAndNextBytes(t *testing.T) {
	for _, c := range []struct {
		typ Type
		raw string
		n   int
		ok  bool
	}{
		{FP32, "", 0, true}, {FP32, "12345678", 2, true}, {FP32, "1234567", 1, false}, {BOOL, "123", 3, true}, {FP64, "1234", 0, false},
		{Unknown, "12", 0, false}, {Unknown, "", 0, false},
		{BYTES, "", 0, true}, {BYTES, "\x02\x00\x00\x00ab\x00\x00\x00\x00", 2, true}, {BYTES, "\x02\x00\x00\x00a", 0, false},
		{BYTES, "\x01\x00\x00\x00a\x01\x00\x00", 1, false}, {BYTES, "\xff\xff\xff\xffab", 0, false}, {BYTES, "abc", 0, false},
	} {
		if n, ok := Count(c.typ, []byte(c.raw)); n != c.n || ok != c.ok {
			t.Errorf("Count(%v, %q) = %d, %v", c.typ, c.raw, n, ok)
		}
	}
	elem, rest, ok := NextBytes([]byte("\x03\x00\x00\x00abc\x00\x00\x00\x00x"))
	if !ok || string(elem) != "abc" || cap(elem) != 3 || string(rest) != "\x00\x00\x00\x00x" {
		t.Errorf("%q, %q, %v", elem, rest, ok)
	}
	if elem, rest, ok = NextBytes(rest); !ok || len(elem) != 0 || string(rest) != "x" {
		t.Errorf("%q, %q, %v", elem, rest, ok)
	}
	if _, _, ok = NextBytes(rest); ok {
		t.Error("an element of one byte")
	}
}

func TestElements(t *testing.T) {
	for _, c := range []struct {
		shape []int64
		n     int64
		ok    bool
	}{
		{nil, 1, true}, {[]int64{3}, 3, true}, {[]int64{2, 3, 4}, 24, true}, {[]int64{2, 0, 4}, 0, true}, {[]int64{-1}, 0, false}, {[]int64{0, -1}, 0, false},
		{[]int64{math.MaxInt64}, math.MaxInt64, true}, {[]int64{math.MaxInt64, 1}, math.MaxInt64, true}, {[]int64{math.MaxInt64, 2}, 0, false},
		{[]int64{1 << 32, 1 << 31}, 0, false}, {[]int64{1 << 32, 1 << 30}, 1 << 62, true}, {[]int64{0, 1 << 62, 4}, 0, false}, {[]int64{1 << 62, 4, 0}, 0, false},
	} {
		if n, ok := Elements(c.shape); n != c.n || ok != c.ok {
			t.Errorf("%v: %d, %v", c.shape, n, ok)
		}
	}
}

func TestNothingAllocates(t *testing.T) {
	raw := fill(FP32, 4096)
	if n := testing.AllocsPerRun(20, func() {
		FirstNonFinite(FP32, raw)
		OutOfRange(FP32, raw, -1, 1)
		Count(BYTES, raw)
		Elements([]int64{4, 5})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzRaw holds every reader to the plainest one, and to not panic.
func FuzzRaw(f *testing.F) {
	f.Add(byte(FP32), 0.0, 1.0, fill(FP32, 100))
	f.Add(byte(FP64), -1.0, 1.0, fill(FP64, 100))
	f.Add(byte(FP16), 0.0, 1.0, append(fill(FP16, 300), 0, 0x7C, 0, 0xFC))
	f.Add(byte(BF16), 0.0, 1.0, append(fill(BF16, 200), 0x80, 0x7F))
	f.Add(byte(INT64), -0x1p63, 0x1p63, fill(FP64, 9))
	f.Add(byte(UINT64), 0.0, 0x1p64, fill(FP64, 9))
	f.Add(byte(BYTES), 0.0, 1.0, []byte("\x02\x00\x00\x00ab\x00\x00\x00\x00"))
	f.Add(byte(200), 0.0, 1.0, []byte{1})
	f.Fuzz(func(t *testing.T, b byte, lo, hi float64, raw []byte) {
		for _, typ := range []Type{Type(b), FP32, FP16, BF16, FP64} {
			n, whole := Count(typ, raw)
			if typ == BYTES || typ.Size() == 0 {
				if whole && typ != BYTES || n > len(raw)/4 {
					t.Fatalf("%v: %d of %d bytes", typ, n, len(raw))
				}
				n = 0
			}
			wantBad, wantOut := -1, -1
			for i := n - 1; i >= 0; i-- {
				v := At(typ, raw, i)
				if math.IsNaN(v) || math.IsInf(v, 0) {
					wantBad = i
				}
				if outside(typ, raw, i, v, lo, hi) {
					wantOut = i
				}
			}
			i, form, found := FirstNonFinite(typ, raw)
			if found != (wantBad >= 0) || found && (i != wantBad || form != formOf(At(typ, raw, i))) {
				t.Fatalf("%v: %d %q %v, want %d", typ, i, form, found, wantBad)
			}
			j, v, found := OutOfRange(typ, raw, lo, hi)
			if found != (wantOut >= 0) || found && (j != wantOut || math.Float64bits(v) != math.Float64bits(At(typ, raw, j))) {
				t.Fatalf("%v in %v to %v: %d %v %v, want %d", typ, lo, hi, j, v, found, wantOut)
			}
			if typ.Float() {
				l := map[Type]*lanes{FP16: &lanesFP16, BF16: &lanesBF16, FP32: &lanesFP32, FP64: &lanesFP64}[typ]
				if at := suspectWords(l, raw); wantBad >= 0 && (at > wantBad || wantBad-at >= 128/l.size) {
					t.Fatalf("%v: words stop at %d, want %d", typ, at, wantBad)
				}
				if at := clean(l, raw) / l.size; wantBad >= 0 && at > wantBad {
					t.Fatalf("%v: blocks stop at %d, want %d", typ, at, wantBad)
				}
			}
		}
	})
}

// outside compares exactly, with big numbers where a float64 is too small.
func outside(t Type, raw []byte, i int, v, lo, hi float64) bool {
	if t != INT64 && t != UINT64 || math.IsNaN(lo) || math.IsNaN(hi) {
		return !(v >= lo && v <= hi)
	}
	bits := binary.LittleEndian.Uint64(raw[i*8:])
	x := new(big.Float).SetUint64(bits)
	if t == INT64 {
		x = new(big.Float).SetInt64(int64(bits))
	}
	return x.Cmp(big.NewFloat(lo)) < 0 || x.Cmp(big.NewFloat(hi)) > 0
}

func formOf(v float64) string {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case v > 0:
		return "Infinity"
	}
	return "-Infinity"
}
