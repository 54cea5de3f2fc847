package scan

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// Byte-wise constants for reading eight bytes as one word. The tests for a
// byte in a word are from the collection "Bit Twiddling Hacks", "Determine if a
// word has a byte less than n": a borrow can only reach bytes above the first hit,
// so the lowest marked byte is always right.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks, in their highest bits, the bytes of w that end a run of plain
// string bytes: a quote, a backslash, a control byte. Bytes from 0x80 up are
// marked as well.
func special(w uint64) uint64 {
	quote := w ^ ones*'"'
	slash := w ^ ones*'\\'
	return ((quote - ones) | (slash - ones) | (w - ones*0x20) | w) & highs
}

// scanString reads the string whose opening quote is at p and returns the
// offset behind its closing quote and whether it has a backslash.
func scanString(src []byte, p int) (end int, escaped bool, code Code) {
	start := p
	p++
	wide := false
	for {
		for len(src)-p >= 8 {
			m := special(binary.LittleEndian.Uint64(src[p:]))
			if m != 0 {
				p += bits.TrailingZeros64(m) >> 3
				break
			}
			p += 8
		}
		if p >= len(src) {
			return len(src), escaped, Truncated
		}
		switch c := src[p]; {
		case c == '"':
			if wide && !utf8.Valid(src[start:p]) {
				return start + invalidAt(src[start:p]), escaped, UTF8
			}
			return p + 1, escaped, 0
		case c == '\\':
			escaped = true
			if p, code = scanEscape(src, p); code != 0 {
				return p, escaped, code
			}
		case c < 0x20:
			return p, escaped, Syntax
		case c >= 0x80:
			// A continuation byte is never a quote or a backslash, so the
			// whole string can be checked at its end.
			wide = true
			for p++; p < len(src) && src[p] >= 0x80; p++ {
			}
		default:
			p++
		}
	}
}

// invalidAt returns the offset of the first byte of b that is not UTF-8.
func invalidAt(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}

// scanEscape reads the escape whose backslash is at p.
func scanEscape(src []byte, p int) (int, Code) {
	if p+1 >= len(src) {
		return len(src), Truncated
	}
	switch src[p+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return p + 2, 0
	case 'u':
		for i := p + 2; i < p+6; i++ {
			if i >= len(src) {
				return len(src), Truncated
			}
			if hexValue(src[i]) > 15 {
				return i, Syntax
			}
		}
		return p + 6, 0
	}
	return p + 1, Syntax
}

// hexValue returns the digit's value, or 255.
func hexValue(c byte) byte {
	switch {
	case c-'0' <= 9:
		return c - '0'
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 255
}

// unit reads the four hexadecimal digits of a \u escape that has been scanned.
func unit(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		r = r<<4 | rune(hexValue(c))
	}
	return r
}

// unescape reads the escape at the beginning of b, part of a string that has
// been scanned. It returns the character and the escape's length. A surrogate
// pair is one character; a surrogate without its partner is returned as it is.
func unescape(b []byte) (rune, int) {
	switch b[1] {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r := unit(b[2:])
		if utf16.IsSurrogate(r) && len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
			if pair := utf16.DecodeRune(r, unit(b[8:])); pair != utf8.RuneError {
				return pair, 12
			}
		}
		return r, 6
	}
	return rune(b[1]), 2
}

// appendDecoded appends the text of a string's inside, b.
func appendDecoded(dst, b []byte) []byte {
	for i := 0; i < len(b); {
		if b[i] != '\\' {
			from := i
			for i < len(b) && b[i] != '\\' {
				i++
			}
			dst = append(dst, b[from:i]...)
			continue
		}
		r, n := unescape(b[i:])
		dst = utf8.AppendRune(dst, r) // a lone surrogate becomes U+FFFD
		i += n
	}
	return dst
}

// equalDecoded reports whether the text of a string's inside, b, is s.
func equalDecoded(b []byte, s string) bool {
	for len(b) > 0 {
		if b[0] != '\\' {
			if s == "" || b[0] != s[0] {
				return false
			}
			b, s = b[1:], s[1:]
			continue
		}
		r, n := unescape(b)
		var enc [utf8.UTFMax]byte
		size := utf8.EncodeRune(enc[:], r)
		if len(s) < size || s[:size] != string(enc[:size]) {
			return false
		}
		b, s = b[n:], s[size:]
	}
	return s == ""
}
