package inflate

import "math/bits"

// quickBits is how long the codes are that one look into a table decodes.
const quickBits = 9

// huffman is a canonical code. The way of long codes is that of zlib's puff:
// codes of one length follow each other, so that a count of each length is enough.
type huffman struct {
	quick   [1 << quickBits]uint16 // by the next bits: a symbol and its length in the lowest 4 bits; 0 is none that short
	count   [longestCode + 1]uint16
	symbols [mostLiterals + 2]uint16 // in the order of their codes
}

// set makes the code of its lengths. It refuses one that is over-subscribed or not
// complete, but for a single code of one bit, and none at all, which only an offset
// code may be: nothing can be decoded by it.
func (h *huffman) set(lengths []uint8) bool {
	h.count = [longestCode + 1]uint16{}
	for _, n := range lengths {
		h.count[n]++
	}
	h.count[0] = 0
	h.quick = [1 << quickBits]uint16{}
	var first, code [longestCode + 1]uint16 // of each length: the index of its first symbol, its next code
	left, used := 1, uint16(0)
	for n := 1; n <= longestCode; n++ {
		left = left<<1 - int(h.count[n])
		if left < 0 {
			return false
		}
		first[n] = used
		used += h.count[n]
		if n < longestCode {
			code[n+1] = (code[n] + h.count[n]) << 1
		}
	}
	if left > 0 && used > 0 && (used != 1 || h.count[1] != 1) {
		return false
	}
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		h.symbols[first[n]] = uint16(symbol)
		first[n]++
		if n <= quickBits {
			entry := uint16(symbol)<<4 | uint16(n)
			for at := bits.Reverse16(code[n]) >> (16 - n); at < 1<<quickBits; at += 1 << n {
				h.quick[at] = entry
			}
		}
		code[n]++
	}
	return true
}

// next decodes a symbol.
func (h *huffman) next(d *decoder) (symbol int, ok bool) {
	if e := h.quick[d.bits%(1<<quickBits)]; e != 0 {
		n := uint(e & 15)
		if n > d.have {
			return 0, false
		}
		d.bits >>= n
		d.have -= n
		return int(e >> 4), true
	}
	return h.long(d)
}

func (h *huffman) long(d *decoder) (symbol int, ok bool) {
	code, first, index := 0, 0, 0
	for n := uint(1); n <= min(longestCode, d.have); n++ {
		code |= int(d.bits>>(n-1)) & 1
		count := int(h.count[n])
		if code-first < count {
			d.bits >>= n
			d.have -= n
			return int(h.symbols[index+code-first]), true
		}
		index += count
		first = (first + count) << 1
		code <<= 1
	}
	return 0, false
}

// useFixed takes the fixed codes, section 3.2.6.
func (d *decoder) useFixed() {
	if d.fixed {
		return
	}
	d.fixed = true
	literals, offsets := d.lengths[:mostLiterals+2], d.lengths[mostLiterals+2:]
	for i := range literals {
		switch {
		case i < 144:
			literals[i] = 8
		case i < 256:
			literals[i] = 9
		case i < 280:
			literals[i] = 7
		default:
			literals[i] = 8
		}
	}
	for i := range offsets {
		offsets[i] = 5
	}
	d.literals.set(literals)
	d.offsets.set(offsets)
}

// The alphabet of code lengths, section 3.2.7.
const (
	repeatLast  = 16
	repeatZero  = 17
	repeatZeros = 18
)

var lengthOrder = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// readCodes reads the codes that a block brings.
func (d *decoder) readCodes() bool {
	d.fixed = false
	d.fill()
	head, ok := d.take(5 + 5 + 4)
	literals, offsets, n := head&31+257, head>>5&31+1, head>>10+4
	if !ok || literals > mostLiterals || offsets > mostOffsets {
		return false
	}
	var own [len(lengthOrder)]uint8
	for _, i := range lengthOrder[:n] {
		d.fill()
		length, ok := d.take(3)
		if !ok {
			return false
		}
		own[i] = uint8(length)
	}
	if !d.offsets.set(own[:]) || !d.readLengths(d.lengths[:literals+offsets]) {
		return false
	}
	return d.literals.set(d.lengths[:literals]) && d.offsets.set(d.lengths[literals:literals+offsets])
}

// readLengths reads the lengths of both codes by the code that is in d.offsets for
// the time being.
func (d *decoder) readLengths(dst []uint8) bool {
	for i := 0; i < len(dst); {
		d.fill()
		symbol, ok := d.offsets.next(d)
		if !ok {
			return false
		}
		if symbol < repeatLast {
			dst[i] = uint8(symbol)
			i++
			continue
		}
		last, times, more := uint8(0), 3, uint(3)
		switch symbol {
		case repeatLast:
			if i == 0 {
				return false
			}
			last, more = dst[i-1], 2
		case repeatZeros:
			times, more = 11, 7
		}
		extra, ok := d.take(more)
		if times += extra; !ok || times > len(dst)-i {
			return false
		}
		for range times {
			dst[i] = last
			i++
		}
	}
	return true
}
