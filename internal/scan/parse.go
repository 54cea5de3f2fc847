package scan

// space reports whether c is one of JSON's four blanks.
func space(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// skip returns the offset of the first byte from p on that is no blank.
func skip(src []byte, p int) int {
	for p < len(src) && space(src[p]) {
		p++
	}
	return p
}

// parse fills the tape. It returns the offset that decided and a code, 0 when
// the text is good.
func (d *Document) parse(lim Limits) (int, Code) {
	src := d.src
	if len(src) >= 3 && src[0] == 0xEF && src[1] == 0xBB && src[2] == 0xBF {
		return 0, BOM
	}
	p := skip(src, 0)
	if p == len(src) {
		return p, Empty
	}
	var code Code
	var keyStart, keyEnd uint32
	var keyFlags uint8
	for {
		// p is at the first byte of a value.
		if p >= len(src) {
			return p, Truncated
		}
		if len(d.tape) >= lim.Nodes {
			return p, TooManyNodes
		}
		rec := record{start: uint32(p), keyStart: keyStart, keyEnd: keyEnd, flags: keyFlags}
		keyStart, keyEnd, keyFlags = 0, 0, 0
		opened := false
		switch c := src[p]; c {
		case '{', '[':
			if len(d.stack) >= lim.Depth {
				return p, Depth
			}
			p, opened, code = d.open(rec, p, c, lim)
		default:
			p, code = d.leaf(rec, p, c, lim)
		}
		if code != 0 {
			return p, code
		}
		if !opened {
			var done bool
			p, done, code = d.after(p)
			if code != 0 || done {
				return p, code
			}
		}
		if top := d.stack[len(d.stack)-1]; top.kind == Object {
			var escaped bool
			keyStart = uint32(p + 1)
			p, escaped, code = name(src, p)
			if code != 0 {
				return p, code
			}
			keyEnd = uint32(p - 1)
			if escaped {
				keyFlags = escapedKey
			}
			if p = skip(src, p); p >= len(src) {
				return p, Truncated
			}
			if src[p] != ':' {
				return p, Syntax
			}
			p = skip(src, p+1)
		}
	}
}

// name reads a member's name, whose quote p must be at.
func name(src []byte, p int) (int, bool, Code) {
	if p >= len(src) {
		return p, false, Truncated
	}
	if src[p] != '"' {
		return p, false, Syntax
	}
	return scanString(src, p)
}

// open reads the beginning of a container, and all of it where it is empty or
// an array of numbers. opened reports that p is at the first thing inside.
func (d *Document) open(rec record, p int, c byte, lim Limits) (next int, opened bool, code Code) {
	first := skip(d.src, p+1)
	if first >= len(d.src) {
		return first, false, Truncated
	}
	rec.kind = Object
	if c == '[' {
		rec.kind = Array
		end, done, code := d.numericArray(rec, first, lim)
		if done || code != 0 {
			return end, false, code
		}
	} else if d.src[first] == '}' {
		rec.end = uint32(first + 1)
		rec.next = uint32(len(d.tape) + 1)
		d.tape = append(d.tape, rec)
		return first + 1, false, 0
	}
	d.stack = append(d.stack, frame{rec: uint32(len(d.tape)), kind: rec.kind})
	d.tape = append(d.tape, rec)
	return first, true, 0
}

// leaf reads a value that holds no other.
func (d *Document) leaf(rec record, p int, c byte, lim Limits) (int, Code) {
	var (
		code Code
		end  int
	)
	switch c {
	case '"':
		var escaped bool
		rec.kind = String
		end, escaped, code = scanString(d.src, p)
		if escaped {
			rec.flags |= escapedText
		}
	case 't':
		rec.kind = True
		end, code = literal(d.src, p, "true")
	case 'f':
		rec.kind = False
		end, code = literal(d.src, p, "false")
	default:
		rec.kind, end, code = scalar(d.src, p, lim.NumberChars)
	}
	if code != 0 {
		return end, code
	}
	rec.end = uint32(end)
	rec.next = uint32(len(d.tape) + 1)
	d.tape = append(d.tape, rec)
	return end, 0
}

// after reads what follows a complete value: the ends of the containers that
// it closes, and a comma. It returns the offset of the next name or value, or
// done at the end of the text.
func (d *Document) after(p int) (next int, done bool, code Code) {
	src := d.src
	for {
		p = skip(src, p)
		if len(d.stack) == 0 {
			if p < len(src) {
				return p, false, Trailing
			}
			return p, true, 0
		}
		if p >= len(src) {
			return p, false, Truncated
		}
		top := &d.stack[len(d.stack)-1]
		top.count++
		closer := byte(']')
		if top.kind == Object {
			closer = '}'
		}
		switch src[p] {
		case ',':
			return skip(src, p+1), false, 0
		case closer:
			rec := &d.tape[top.rec]
			rec.end = uint32(p + 1)
			rec.next = uint32(len(d.tape))
			rec.count = top.count
			d.stack = d.stack[:len(d.stack)-1]
			p++
		default:
			return p, false, Syntax
		}
	}
}

// scalar reads a number, null or bare non-finite token at p.
func scalar(src []byte, p, numberChars int) (Kind, int, Code) {
	switch c := src[p]; {
	case c == 'n':
		end, code := literal(src, p, "null")
		return Null, end, code
	case c == 'N':
		end, code := literal(src, p, "NaN")
		return NonFinite, end, code
	case c == 'I':
		end, code := literal(src, p, "Infinity")
		return NonFinite, end, code
	case c == '-' && p+1 < len(src) && src[p+1] == 'I':
		end, code := literal(src, p, "-Infinity")
		return NonFinite, end, code
	case c == '-' || c-'0' <= 9:
		end, code := scanNumber(src, p, numberChars)
		return Number, end, code
	}
	return Invalid, p, Syntax
}

// literal reads the word at p.
func literal(src []byte, p int, word string) (int, Code) {
	for i := 0; i < len(word); i++ {
		if p+i >= len(src) {
			return len(src), Truncated
		}
		if src[p+i] != word[i] {
			return p + i, Syntax
		}
	}
	return p + len(word), 0
}
