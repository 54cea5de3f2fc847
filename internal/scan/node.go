package scan

import (
	"math"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Node is one value of a Document. It is small and passed by value, is valid
// until the document's next Parse or Reset, and shares the document's rule:
// no concurrent use. The zero Node is no value; every method may be called on
// it.
type Node struct {
	d   *Document
	rec int32 // index on the tape; -1 for an element of a numeric array
	// The bytes of an element of a numeric array.
	start, end uint32
}

// record returns the node's record, nil for an element of a numeric array, for
// no value, and for a node that outlived its text.
func (n Node) record() *record {
	if n.d == nil || uint(n.rec) >= uint(len(n.d.tape)) {
		return nil
	}
	return &n.d.tape[n.rec]
}

// element reports whether the node is an element of a numeric array.
func (n Node) element() bool {
	return n.d != nil && n.rec < 0 && int(n.end) <= len(n.d.src) && n.start < n.end
}

// Exists reports whether the node is a value.
func (n Node) Exists() bool { return n.Kind() != Invalid }

// Kind returns what the value is, Invalid for no value.
func (n Node) Kind() Kind {
	if r := n.record(); r != nil {
		return r.kind
	}
	if n.element() {
		return kindAt(n.d.src, int(n.start))
	}
	return Invalid
}

// kindAt tells the elements of a numeric array apart.
func kindAt(src []byte, p int) Kind {
	switch c := src[p]; {
	case c == 'n':
		return Null
	case c == 'N' || c == 'I' || c == '-' && p+1 < len(src) && src[p+1] == 'I':
		return NonFinite
	}
	return Number
}

// Raw returns the value's bytes in the text, which must not be changed; nil
// for no value.
func (n Node) Raw() []byte {
	if r := n.record(); r != nil {
		return n.d.src[r.start:r.end:r.end]
	}
	if n.element() {
		return n.d.src[n.start:n.end:n.end]
	}
	return nil
}

// Offset returns where in the text the value begins, -1 for no value.
func (n Node) Offset() int {
	if r := n.record(); r != nil {
		return int(r.start)
	}
	if n.element() {
		return int(n.start)
	}
	return -1
}

// Len returns the number of an array's elements or an object's members, 0 for
// every other value.
func (n Node) Len() int {
	if r := n.record(); r != nil {
		return int(r.count)
	}
	return 0
}

// Get returns the member of an object whose name is key, compared decoded and
// in exact case. dup reports that it occurs more than once; v is then the
// first. Of anything but an object, and where it is missing, v does not exist.
// It looks at every member.
func (n Node) Get(key string) (v Node, dup bool) {
	r := n.record()
	if r == nil || r.kind != Object {
		return Node{}, false
	}
	d := n.d
	for i, left := uint32(n.rec)+1, r.count; left > 0; left-- {
		m := &d.tape[i]
		if d.named(m, key) {
			if v.d != nil {
				return v, true
			}
			v = Node{d: d, rec: int32(i)}
		}
		i = d.behind(i)
	}
	return v, false
}

// Ambiguous reports whether more than one member of an object answers to key
// under case folding: the same name twice, or names that differ only in case,
// which readers of JSON resolve differently. Folding is Unicode's simple
// folding, as in encoding/json's match of struct fields.
func (n Node) Ambiguous(key string) bool {
	r := n.record()
	if r == nil || r.kind != Object {
		return false
	}
	d, seen := n.d, false
	for i, left := uint32(n.rec)+1, r.count; left > 0; left-- {
		if equalFold(d.key(&d.tape[i], 0), key) {
			if seen {
				return true
			}
			seen = true
		}
		i = d.behind(i)
	}
	return false
}

// named reports whether m's name is key.
func (d *Document) named(m *record, key string) bool {
	raw := d.src[m.keyStart:m.keyEnd]
	if m.flags&escapedKey != 0 {
		return equalDecoded(raw, key)
	}
	return string(raw) == key
}

// keySlot is the scratch that Iter.Key has to itself.
const keySlot = 2

// key returns m's decoded name, in the text itself or in scratch[slot].
func (d *Document) key(m *record, slot int) []byte {
	raw := d.src[m.keyStart:m.keyEnd:m.keyEnd]
	if m.flags&escapedKey == 0 {
		return raw
	}
	d.scratch[slot] = appendDecoded(d.scratch[slot][:0], raw)
	return d.scratch[slot]
}

// behind returns the index of the record behind the value at i.
func (d *Document) behind(i uint32) uint32 {
	if r := &d.tape[i]; r.flags&numeric == 0 {
		return r.next
	}
	return i + 1
}

func equalFold(b []byte, s string) bool {
	for len(b) > 0 && s != "" {
		if b[0]|s[0] < utf8.RuneSelf {
			if b[0] != s[0] && lower(b[0]) != lower(s[0]) {
				return false
			}
			b, s = b[1:], s[1:]
			continue
		}
		x, n := utf8.DecodeRune(b)
		y, m := utf8.DecodeRuneInString(s)
		if x != y && !foldsTo(x, y) {
			return false
		}
		b, s = b[n:], s[m:]
	}
	return len(b) == 0 && s == ""
}

func lower(c byte) byte {
	if c-'A' < 26 {
		return c + 'a' - 'A'
	}
	return c
}

// foldsTo reports whether y is in x's orbit of case folding.
func foldsTo(x, y rune) bool {
	for r := unicode.SimpleFold(x); r != x; r = unicode.SimpleFold(r) {
		if r == y {
			return true
		}
	}
	return false
}

// Float returns a Number as the float64 nearest to its text (strconv's result,
// ±Inf past the range), and a NonFinite as what its token names. ok is false
// for every other kind, a string "NaN" included.
func (n Node) Float() (f float64, ok bool) {
	switch n.Kind() {
	case Number:
		return exactFloat(n.Raw()), true
	case NonFinite:
		return tokenValue(n.Raw()[0]), true
	}
	return 0, false
}

// tokenValue returns what a bare non-finite token names, by its first byte.
func tokenValue(c byte) float64 {
	switch c {
	case 'I':
		return math.Inf(1)
	case '-':
		return math.Inf(-1)
	}
	return math.NaN()
}

// Int returns a Number that has neither fraction nor exponent and fits an
// int64.
func (n Node) Int() (int64, bool) {
	if n.Kind() != Number {
		return 0, false
	}
	b := n.Raw()
	if len(b) > len("-9223372036854775808") {
		return 0, false
	}
	v, err := strconv.ParseInt(string(b), 10, 64)
	return v, err == nil
}

// Text appends a String's decoded text to buf, and nothing for another kind.
func (n Node) Text(buf []byte) []byte {
	r := n.record()
	if r == nil || r.kind != String {
		return buf
	}
	inside := n.d.src[r.start+1 : r.end-1]
	if r.flags&escapedText == 0 {
		return append(buf, inside...)
	}
	return appendDecoded(buf, inside)
}

// EqualText reports whether the value is a String whose decoded text is s.
func (n Node) EqualText(s string) bool {
	r := n.record()
	if r == nil || r.kind != String {
		return false
	}
	inside := n.d.src[r.start+1 : r.end-1]
	if r.flags&escapedText == 0 {
		return string(inside) == s
	}
	return equalDecoded(inside, s)
}
