package scan

import "math"

// Kind is what a value is. The zero value, Invalid, is the kind of no value.
type Kind uint8

// The kinds. NonFinite is one of the bare tokens NaN, Infinity and -Infinity,
// which JSON forbids and model servers write all the same.
const (
	Invalid Kind = iota
	Null
	False
	True
	Number
	NonFinite
	String
	Object
	Array
)

var kindText = [...]string{"invalid", "null", "false", "true", "number", "non-finite", "string", "object", "array"}

// String returns the kind in lower case.
func (k Kind) String() string {
	if int(k) >= len(kindText) {
		return kindText[Invalid]
	}
	return kindText[k]
}

// The limits that a zero field of Limits stands for.
const (
	DefaultDepth       = 64
	DefaultNumberChars = 64
	DefaultNodes       = 1 << 16
)

// Limits bounds one Parse. A field that is zero or negative takes its default.
type Limits struct {
	Depth       int // arrays and objects inside each other
	NumberChars int // bytes of one number's text
	Nodes       int // values kept; an array of numbers alone is one, however long
}

func (l Limits) orDefault() Limits {
	if l.Depth <= 0 {
		l.Depth = DefaultDepth
	}
	if l.NumberChars <= 0 {
		l.NumberChars = DefaultNumberChars
	}
	if l.Nodes <= 0 {
		l.Nodes = DefaultNodes
	}
	return l
}

// flags of a record.
const (
	escapedText uint8 = 1 << iota // a string with a backslash
	escapedKey                    // a member whose name has a backslash
	numeric                       // an array of numbers, nulls and bare non-finite tokens only
)

// record is one value on the tape, in the order of the text: a container is
// followed by what it holds.
type record struct {
	start, end       uint32 // the value's bytes
	keyStart, keyEnd uint32 // the member's name without its quotes; 0, 0 outside objects
	next             uint32 // the record behind this value and all it holds; of a numeric array: its index in Document.stats
	count            uint32 // elements or members
	kind             Kind
	flags            uint8
}

// frame is a container that is still open.
type frame struct {
	rec   uint32
	count uint32
	kind  Kind
}

// cursor remembers where At last stood in an array, so that a loop over At
// walks the array once.
type cursor struct {
	rec uint32 // the array's index on the tape plus one; 0 is unused
	i   uint32 // an element's index
	pos uint32 // its record, or in a numeric array its offset
}

// Document is one parsed text. The zero value is ready. It is reusable, and a
// Parse after the first few allocates nothing unless a text is larger than all
// before it. It is not safe for concurrent use, reading included. It refers to
// the parsed bytes, which must not change, until the next Parse or Reset.
type Document struct {
	src     []byte
	tape    []record
	stats   []Numbers
	stack   []frame
	cursors [8]cursor
	scratch [3][]byte // decoded names: two to compare, one for Iter.Key
	order   []uint32  // members being sorted for the canonical form
	levels  []level   // containers being written in the canonical form
	stars   []int     // the indices that running visits stand at
}

// Sizes past which Reset lets go of memory that one large text made it take.
const (
	keepRecords = 1 << 14
	keepBytes   = 1 << 16
)

// Reset forgets the parsed text. Memory is kept for the next Parse, up to
// about a megabyte.
func (d *Document) Reset() {
	d.src = nil
	d.tape = trim(d.tape, keepRecords)
	d.stats = trim(d.stats, keepRecords)
	d.order = trim(d.order, keepRecords)
	for i := range d.scratch {
		d.scratch[i] = trim(d.scratch[i], keepBytes)
	}
	d.cursors = [8]cursor{}
}

func trim[T any](s []T, most int) []T {
	if cap(s) > most {
		return nil
	}
	return s[:0]
}

// Root returns the text's value; it does not exist before the first Parse,
// after Reset and after a Parse that failed.
func (d *Document) Root() Node {
	if len(d.tape) == 0 {
		return Node{}
	}
	return Node{d: d, rec: 0}
}

// Parse reads one JSON text in one pass, without recursion. It refuses what
// JSON (RFC 8259) forbids, bare non-finite tokens apart, and with it trailing
// bytes, a byte order mark and invalid UTF-8, and accepts what JSON requires,
// within lim. A lone surrogate escape is accepted and reads as U+FFFD. The
// error is an *Error, and the document is then empty.
func (d *Document) Parse(src []byte, lim Limits) error {
	d.src = src
	d.tape, d.stats, d.stack = d.tape[:0], d.stats[:0], d.stack[:0]
	d.cursors = [8]cursor{}
	if len(src) > math.MaxInt32 {
		d.src = nil
		return &Error{Offset: math.MaxInt32, Code: TooLarge}
	}
	at, code := d.parse(lim.orDefault())
	if code != 0 {
		d.src, d.tape, d.stats = nil, d.tape[:0], d.stats[:0]
		return &Error{Offset: at, Code: code}
	}
	return nil
}
