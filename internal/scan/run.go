package scan

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// extremes is what a run of numbers has in common.
type extremes struct {
	count       int
	least, most float64
}

// run reads elements of a numeric array, from p on, as long as they have the
// form that probabilities and other small floats have: one digit, a point, up
// to 22 digits, a comma and at most one space. It returns the offset of the
// first element that is another form, an error or the last, which is then to
// be read in general; nothing is decided here. Every load is from one window
// that is checked once, and the number of digits costs no branch.
func run(src []byte, p int, x extremes) (int, extremes) {
	least, most, count := x.least, x.most, x.count
	for len(src)-p >= window {
		at := p
		var sign uint64
		if src[p] == '-' {
			sign = 1
		}
		p += int(sign)
		w := (*[window - 1]byte)(src[p:])
		mant := uint64(w[0] ^ '0')
		if mant > 9 || w[1] != '.' {
			p = at
			break
		}
		t := binary.LittleEndian.Uint64(w[2:10]) ^ ones*'0'
		m := nonDigits(t)
		fraction := uint(0)
		if m == 0 {
			mant = mant*1e8 + eight(t)
			t = binary.LittleEndian.Uint64(w[10:18]) ^ ones*'0'
			m = nonDigits(t)
			fraction = 8
			if m == 0 {
				mant = mant*1e8 + eight(t)
				t = binary.LittleEndian.Uint64(w[18:26]) ^ ones*'0'
				m = nonDigits(t)
				fraction = 16
			}
		}
		// Now m marks the byte behind the last digit. Of 24 digits it marks
		// none, and what is then taken for that byte is a digit, no comma.
		shift := uint(bits.TrailingZeros64(m)) & 56
		last := shift / 8
		fraction += last
		if mant >= room[last&7] || fraction-1 > 21 || byte(t>>shift) != ','^'0' {
			p = at
			break
		}
		mant = mant*pow10[last&7] + few(t, last)
		p += 2 + int(fraction) + 1
		if src[p] <= ' ' {
			if p++; src[p] <= ' ' {
				p = at
				break
			}
		}
		v := float64(int64(mant)) / exactPow10[fraction&31]
		v = math.Float64frombits(math.Float64bits(v) | sign<<63)
		if v < least {
			least = v
		}
		if v > most {
			most = v
		}
		count++
	}
	return p, extremes{count: count, least: least, most: most}
}
