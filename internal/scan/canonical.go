package scan

import (
	"bytes"
	"cmp"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// level is a container that is being written.
type level struct {
	closer byte
	begun  bool
	next   uint32 // an array's next record
	left   uint32 // children still to be written
	order  int    // an object's next member in Document.order
	base   int    // the length of Document.order without this object
}

// AppendCanonical appends a form of the value that is equal for texts that
// differ only in blanks, in the order of members and in how strings are
// escaped. Members are sorted by name, numbers and bare tokens stay as they
// are written, strings keep only the escapes that JSON needs. Members of the
// same name all stay, in the order of the text. A lone surrogate stays an
// escape, so that texts which only decode alike have different forms. For no
// value nothing is appended. It is iterative, its depth bounded by the parse,
// and allocates only to grow.
func AppendCanonical(dst []byte, n Node) []byte {
	if n.record() == nil {
		return append(dst, n.Raw()...)
	}
	d := n.d
	d.order, d.levels = d.order[:0], d.levels[:0]
	dst = d.appendValue(dst, uint32(n.rec))
	for len(d.levels) > 0 {
		top := &d.levels[len(d.levels)-1]
		if top.left == 0 {
			dst = append(dst, top.closer)
			d.order = d.order[:top.base]
			d.levels = d.levels[:len(d.levels)-1]
			continue
		}
		top.left--
		if top.begun {
			dst = append(dst, ',')
		}
		top.begun = true
		var child uint32
		if top.closer == ']' {
			child = top.next
			top.next = d.behind(child)
		} else {
			child = d.order[top.order]
			top.order++
			dst = append(dst, '"')
			dst = append(dst, d.canonicalKey(child, 0)...)
			dst = append(dst, '"', ':')
		}
		dst = d.appendValue(dst, child)
	}
	return dst
}

// appendValue appends the value of record i, or opens it.
func (d *Document) appendValue(dst []byte, i uint32) []byte {
	r := &d.tape[i]
	raw := d.src[r.start:r.end]
	switch {
	case r.kind == String && r.flags&escapedText != 0:
		dst = append(dst, '"')
		dst = appendNormal(dst, raw[1:len(raw)-1])
		return append(dst, '"')
	case r.kind == Array && r.flags&numeric != 0:
		return appendUnspaced(dst, raw)
	case r.kind == Array:
		d.levels = append(d.levels, level{closer: ']', next: i + 1, left: r.count, base: len(d.order)})
		return append(dst, '[')
	case r.kind == Object:
		base := len(d.order)
		d.levels = append(d.levels, level{closer: '}', left: r.count, order: base, base: base})
		d.sortMembers(i, r.count)
		return append(dst, '{')
	}
	return append(dst, raw...)
}

// appendUnspaced appends the text of a numeric array without its blanks.
func appendUnspaced(dst, raw []byte) []byte {
	for len(raw) > 0 {
		n := 0
		for n < len(raw) && raw[n] > ' ' {
			n++
		}
		dst = append(dst, raw[:n]...)
		raw = raw[skip(raw, n):]
	}
	return dst
}

// sortMembers appends the object's members to order, sorted by the bytes of
// their canonical names, those of the same name in the order of the text.
func (d *Document) sortMembers(object, count uint32) {
	base := len(d.order)
	for i := object + 1; count > 0; count-- {
		d.order = append(d.order, i)
		i = d.behind(i)
	}
	slices.SortFunc(d.order[base:], func(x, y uint32) int {
		if c := bytes.Compare(d.canonicalKey(x, 0), d.canonicalKey(y, 1)); c != 0 {
			return c
		}
		return cmp.Compare(x, y)
	})
}

// canonicalKey returns the inside of the canonical name of member i, in the
// text itself or in scratch[slot]. A name without a backslash is canonical.
func (d *Document) canonicalKey(i uint32, slot int) []byte {
	m := &d.tape[i]
	raw := d.src[m.keyStart:m.keyEnd]
	if m.flags&escapedKey == 0 {
		return raw
	}
	d.scratch[slot] = appendNormal(d.scratch[slot][:0], raw)
	return d.scratch[slot]
}

// appendNormal appends a string's inside, b, with the fewest and shortest
// escapes.
func appendNormal(dst, b []byte) []byte {
	for i := 0; i < len(b); {
		if b[i] != '\\' {
			dst = append(dst, b[i])
			i++
			continue
		}
		r, n := unescape(b[i:])
		dst = appendEscaped(dst, r)
		i += n
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// appendEscaped appends one character, escaped where JSON needs it.
func appendEscaped(dst []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(dst, '\\', byte(r))
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	if r < 0x20 || utf16.IsSurrogate(r) {
		return append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
	}
	return utf8.AppendRune(dst, r)
}
