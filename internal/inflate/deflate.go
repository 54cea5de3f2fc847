package inflate

import "encoding/binary"

// Bounds of RFC 1951.
const (
	longestCode  = 15
	mostLiterals = 286 // literals, the end of a block, and lengths
	mostOffsets  = 30
	endOfBlock   = 256
	longestCopy  = 258
)

// firstRoom is what is made ready for a body at first; it grows by doubling,
// never past the caps.
const firstRoom = 16 << 10

// decoder undoes one stream of deflate (RFC 1951). Bits that were taken from src
// and are not used yet are the low ones of bits.
type decoder struct {
	src  []byte
	at   int // of the next byte of src
	bits uint64
	have uint // valid bits; what is above them are bits of src[at:] or zero

	out   []byte
	start int // where in out the stream's own begins
	limit limit

	literals, offsets huffman
	lengths           [mostLiterals + 2 + mostOffsets + 2]uint8 // of codes; the fixed code has two of each more
	fixed             bool                                      // the codes are the fixed ones
}

// inflate appends the stream that src begins with to dst, and returns the bytes
// behind it. The errors are ErrDamaged and the limit's.
func inflate(dst, src []byte, most limit) (out, rest []byte, err error) {
	d := decoder{src: src, out: dst, start: len(dst), limit: most}
	if d.out == nil {
		d.out = []byte{}
	}
	for last := false; !last; {
		d.fill()
		head, ok := d.take(3)
		if !ok {
			return nil, nil, ErrDamaged
		}
		last = head&1 != 0
		switch head >> 1 {
		case 0:
			err = d.stored()
		case 1:
			d.useFixed()
			err = d.block()
		case 2:
			if !d.readCodes() {
				return nil, nil, ErrDamaged
			}
			err = d.block()
		default:
			err = ErrDamaged
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return d.out, d.src[d.at-int(d.have/8):], nil
}

// fill makes 56 bits ready, or all that are left.
func (d *decoder) fill() {
	if d.at+8 <= len(d.src) {
		d.bits |= binary.LittleEndian.Uint64(d.src[d.at:]) << d.have
		d.at += int((63 - d.have) / 8)
		d.have |= 56
		return
	}
	d.bits &= 1<<d.have - 1
	for d.have <= 56 && d.at < len(d.src) {
		d.bits |= uint64(d.src[d.at]) << d.have
		d.at++
		d.have += 8
	}
}

// take takes n bits of those that are ready.
func (d *decoder) take(n uint) (bits int, ok bool) {
	if n > d.have {
		return 0, false
	}
	bits = int(d.bits & (1<<n - 1))
	d.bits >>= n
	d.have -= n
	return bits, true
}

// room makes room for n more bytes, at most a copy's. It doubles, up to the limit.
func (d *decoder) room(n int) {
	if len(d.out)+n <= cap(d.out) {
		return
	}
	used := len(d.out) - d.start
	grown := make([]byte, len(d.out), d.start+max(min(2*used, d.limit.bytes), firstRoom, used+n))
	copy(grown, d.out)
	d.out = grown
}

// stored copies a block that is not compressed.
func (d *decoder) stored() error {
	d.at -= int(d.have / 8)
	d.bits, d.have = 0, 0
	if len(d.src)-d.at < 4 {
		return ErrDamaged
	}
	n := int(binary.LittleEndian.Uint16(d.src[d.at:]))
	if n^0xffff != int(binary.LittleEndian.Uint16(d.src[d.at+2:])) {
		return ErrDamaged
	}
	d.at += 4
	there := min(n, len(d.src)-d.at)
	if len(d.out)-d.start+there > d.limit.bytes {
		return d.limit.over
	}
	if there < n {
		return ErrDamaged
	}
	d.room(n)
	d.out = append(d.out, d.src[d.at:d.at+n]...)
	d.at += n
	return nil
}

// block decodes a block by the two codes.
func (d *decoder) block() error {
	for {
		d.fill() // 56 bits are more than a length and an offset take
		symbol, ok := d.literals.next(d)
		switch {
		case !ok:
			return ErrDamaged
		case symbol < endOfBlock:
			if len(d.out)-d.start >= d.limit.bytes {
				return d.limit.over
			}
			d.room(1)
			d.out = append(d.out, byte(symbol))
			continue
		case symbol == endOfBlock:
			return nil
		}
		length, offset, ok := d.pair(symbol)
		if !ok || offset > len(d.out)-d.start {
			return ErrDamaged
		}
		if len(d.out)-d.start+length > d.limit.bytes {
			return d.limit.over
		}
		d.room(length)
		d.repeat(length, offset)
	}
}

// pair reads what is left of a length, and an offset.
func (d *decoder) pair(symbol int) (length, offset int, ok bool) {
	if symbol >= mostLiterals {
		return 0, 0, false
	}
	length = int(lengthBase[symbol-endOfBlock-1])
	more, ok := d.take(uint(lengthBits[symbol-endOfBlock-1]))
	if !ok {
		return 0, 0, false
	}
	length += more
	symbol, ok = d.offsets.next(d)
	if !ok || symbol >= mostOffsets {
		return 0, 0, false
	}
	more, ok = d.take(uint(offsetBits[symbol]))
	return length, int(offsetBase[symbol]) + more, ok
}

// repeat appends length bytes of what began offset bytes ago, which may be less.
func (d *decoder) repeat(length, offset int) {
	for length > 0 {
		n := min(length, offset)
		from := len(d.out) - offset
		d.out = append(d.out, d.out[from:from+n]...)
		length -= n
		offset += n
	}
}

// Section 3.2.5: what the symbols of lengths (from 257) and offsets stand for, and
// how many bits are added to each.
var (
	lengthBase = [...]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, longestCopy}
	lengthBits = [...]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	offsetBase = [...]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	offsetBits = [...]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)
