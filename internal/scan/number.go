package scan

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
)

// scanNumber reads the number at p by JSON's grammar, of at most most bytes.
func scanNumber(src []byte, p, most int) (int, Code) {
	start := p
	limit := len(src)
	short := Truncated // what running into limit means
	if limit-start > most {
		limit, short = start+most+1, NumberLength
	}
	if src[p] == '-' {
		p++
	}
	if p >= limit {
		return numberEnd(start, p, short)
	}
	switch c := src[p]; {
	case c == '0':
		p++
	case c-'1' <= 8:
		p = digits(src[:limit], p)
	default:
		return p, Syntax
	}
	if p < limit && src[p] == '.' {
		from := p + 1
		if p = digits(src[:limit], from); p == from {
			if p >= limit {
				return numberEnd(start, p, short)
			}
			return p, Syntax
		}
	}
	if p < limit && src[p]|0x20 == 'e' {
		if p++; p < limit && (src[p] == '+' || src[p] == '-') {
			p++
		}
		from := p
		if p = digits(src[:limit], from); p == from {
			if p >= limit {
				return numberEnd(start, p, short)
			}
			return p, Syntax
		}
	}
	if p-start > most {
		return start, NumberLength
	}
	return p, 0
}

// numberEnd places the error of a number that ran into its limit: a number
// that is too long is named by its beginning.
func numberEnd(start, p int, short Code) (int, Code) {
	if short == NumberLength {
		return start, short
	}
	return p, short
}

func digits(src []byte, p int) int {
	for p < len(src) && src[p]-'0' <= 9 {
		p++
	}
	return p
}

// Reading eight digits as one word: the well-known sum of pairs, then fours,
// then eights by multiplication, as in the simdjson and fast_float libraries.

// nonDigits marks, in their highest bits, the bytes of t that are over 9. The
// lowest mark is always right: a carry can only reach bytes above it.
func nonDigits(t uint64) uint64 { return (t + 0x7676767676767676 | t) & highs }

// eight returns the number that eight bytes of 0 to 9 spell, the first digit
// in the lowest byte.
func eight(t uint64) uint64 {
	t = t*10 + t>>8
	return ((t&0x000000FF000000FF)*(100+1000000<<32) + (t>>16&0x000000FF000000FF)*(1+10000<<32)) >> 32
}

// few returns the number that the first n digits of t spell, n from 0 to 7.
func few(t uint64, n uint) uint64 { return eight(t << 8 << ((56 - 8*n) & 63)) }

var (
	pow10 = [...]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7}
	// A number under room[n] stays under 9e18, and so fits an int64, when n
	// digits are added to it.
	room = [...]uint64{9e18, 9e17, 9e16, 9e15, 9e14, 9e13, 9e12, 9e11}
)

// window is how many bytes quick needs to be there.
const window = 40

// quick reads an unsigned number of the usual sizes at p: up to seven digits
// before the point, up to 18 in all, an exponent of up to three digits. The
// number is mant*10^exp. ok is false when it is another form, an error or too
// near the end of src, and has then to be read by scanNumber. It reads no more
// than 7+1+23+5 bytes.
func quick(src []byte, p int) (mant uint64, exp, end int, ok bool) {
	if len(src)-p < window {
		return 0, 0, p, false
	}
	t := binary.LittleEndian.Uint64(src[p:]) ^ ones*'0'
	m := nonDigits(t)
	n := uint(bits.TrailingZeros64(m)) >> 3
	if n-1 > 6 || (t&0xFF == 0 && n > 1) {
		return 0, 0, p, false
	}
	mant = few(t, n)
	c := byte(t>>(8*n)) ^ '0'
	p += int(n)
	if c == '.' {
		w := (*[32]byte)(src[p : p+32])
		t = binary.LittleEndian.Uint64(w[1:9]) ^ ones*'0'
		m = nonDigits(t)
		p++
		if m == 0 {
			mant = mant*1e8 + eight(t)
			exp = -8
			p += 8
			t = binary.LittleEndian.Uint64(w[9:17]) ^ ones*'0'
			if m = nonDigits(t); m == 0 {
				if mant >= 9e10 {
					return 0, 0, p, false
				}
				mant = mant*1e8 + eight(t)
				exp = -16
				p += 8
				t = binary.LittleEndian.Uint64(w[17:25]) ^ ones*'0'
				m = nonDigits(t)
			}
		}
		n = uint(bits.TrailingZeros64(m)) >> 3
		if n > 7 || mant >= room[n&7] || (n == 0 && exp == 0) {
			return 0, 0, p, false
		}
		mant = mant*pow10[n&7] + few(t, n)
		exp -= int(n)
		p += int(n)
		c = byte(t>>(8*n)) ^ '0'
	}
	if c|0x20 == 'e' {
		return quickExponent(src, p, mant, exp)
	}
	return mant, exp, p, true
}

// quickExponent reads the exponent at p for quick.
func quickExponent(src []byte, p int, mant uint64, exp int) (uint64, int, int, bool) {
	b := src[p:]
	if len(b) < 6 {
		return 0, 0, p, false
	}
	b = b[:6]
	i, negative := 1, false
	if b[1] == '-' || b[1] == '+' {
		i, negative = 2, b[1] == '-'
	}
	from, x := i, 0
	for ; i < 6 && b[i]-'0' <= 9; i++ {
		x = x*10 + int(b[i]-'0')
	}
	if i == from || i == 6 {
		return 0, 0, p, false
	}
	if negative {
		x = -x
	}
	return mant, exp + x, p + i, true
}

// scale returns mant*10^exp rounded to nearest, by the product of 64-bit
// significands (the first of the two steps of "Number Parsing at a Gigabyte per
// Second", 2021, arXiv 2101.11408). exact is false when the truncated power
// leaves the rounding open, about once in 500; f is then at or next to the
// right float64. usable is false too in the subnormal range and past the
// largest float64.
func scale(mant uint64, exp int) (f float64, exact, usable bool) {
	if mant == 0 {
		return 0, true, true
	}
	if exp < minPower || exp > maxPower {
		return 0, false, false
	}
	zeros := bits.LeadingZeros64(mant)
	mant <<= zeros & 63
	power := uint64(217706*exp>>16+64+1023) - uint64(zeros)
	hi, lo := bits.Mul64(mant, powers[exp-minPower])
	exact = hi&0x1FF != 0x1FF || lo+mant >= lo
	msb := hi >> 63
	sig := hi >> (msb + 9)
	power -= 1 ^ msb
	if lo == 0 && hi&0x1FF == 0 && sig&3 == 1 {
		exact = false
	}
	sig += sig & 1
	sig >>= 1
	if sig>>53 > 0 {
		sig >>= 1
		power++
	}
	if power-1 >= 0x7FF-1 {
		return 0, false, false
	}
	return math.Float64frombits(power<<52 | sig&(1<<52-1)), exact, true
}

// exactFloat returns what strconv.ParseFloat returns for a number's text b,
// overflow as ±Inf.
func exactFloat(b []byte) float64 {
	mant, exp, whole, ok := decimal(b)
	if ok {
		f, exact, _ := scale(mant, exp)
		if exact && !whole {
			// The number is between two that round alike, or it is not.
			above, alike, _ := scale(mant+1, exp)
			exact = alike && above == f
		}
		if exact {
			if b[0] == '-' {
				f = -f
			}
			return f
		}
	}
	f, _ := strconv.ParseFloat(string(b), 64) // the only error left is overflow, with ±Inf
	return f
}

// decimal reads a number's text that has been scanned, as mant*10^exp; it is
// less than mant+1 where digits had to be left out (whole is false). ok is
// false when the exponent has more than four digits.
func decimal(b []byte) (mant uint64, exp int, whole, ok bool) {
	i := 0
	whole = true
	if b[0] == '-' {
		i = 1
	}
	point := false
	for ; i < len(b); i++ {
		switch c := b[i]; {
		case c-'0' <= 9:
			if mant >= room[1] {
				whole = false
				if !point {
					exp++
				}
				continue
			}
			mant = mant*10 + uint64(c-'0')
			if point {
				exp--
			}
		case c == '.':
			point = true
		default:
			x, ok := exponent(b[i+1:])
			return mant, exp + x, whole, ok
		}
	}
	return mant, exp, whole, true
}

// exponent reads the text behind an e.
func exponent(b []byte) (int, bool) {
	negative := b[0] == '-'
	if negative || b[0] == '+' {
		b = b[1:]
	}
	x := 0
	for _, c := range b {
		if x = x*10 + int(c-'0'); x > 9999 {
			return 0, false
		}
	}
	if negative {
		x = -x
	}
	return x, true
}
