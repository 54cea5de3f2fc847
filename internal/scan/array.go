package scan

import "math"

// At returns an array's element i, of anything else and out of bounds no
// value. A loop from 0 upwards walks the array once in all; a jump walks from
// where the last call stood, or from the beginning.
func (n Node) At(i int) Node {
	r := n.record()
	if r == nil || r.kind != Array || i < 0 || i >= int(r.count) {
		return Node{}
	}
	d := n.d
	c := &d.cursors[uint(n.rec)%uint(len(d.cursors))]
	if c.rec != uint32(n.rec)+1 || c.i > uint32(i) {
		*c = cursor{rec: uint32(n.rec) + 1, pos: uint32(n.rec) + 1}
		if r.flags&numeric != 0 {
			c.pos = uint32(skip(d.src, int(r.start)+1))
		}
	}
	if r.flags&numeric == 0 {
		for ; c.i < uint32(i); c.i++ {
			c.pos = d.behind(c.pos)
		}
		return Node{d: d, rec: int32(c.pos)}
	}
	for ; c.i < uint32(i); c.i++ {
		c.pos = uint32(nextToken(d.src, tokenEnd(d.src, int(c.pos))))
	}
	return Node{d: d, rec: -1, start: c.pos, end: uint32(tokenEnd(d.src, int(c.pos)))}
}

// tokenEnd returns where the token of a numeric array that begins at p ends.
func tokenEnd(src []byte, p int) int {
	for p < len(src) && src[p] > ' ' && src[p] != ',' && src[p] != ']' {
		p++
	}
	return p
}

// nextToken returns where the token behind the one that ends at p begins.
func nextToken(src []byte, p int) int {
	p = skip(src, p)
	return skip(src, p+1) // over the comma
}

// Iter walks what a container holds, in the order of the text:
//
//	for it := n.Children(); it.Next(); { it.Key(); it.Value() }
type Iter struct {
	d       *Document
	next    uint32 // the next record, or in a numeric array the next offset
	left    uint32
	index   int
	current Node
	inText  bool // a numeric array
}

// Children returns an iterator before the first element of an array or member
// of an object; of another value it is empty.
func (n Node) Children() Iter {
	r := n.record()
	if r == nil {
		return Iter{index: -1}
	}
	it := Iter{d: n.d, left: r.count, index: -1, next: uint32(n.rec) + 1}
	if r.flags&numeric != 0 {
		it.inText = true
		it.next = uint32(skip(n.d.src, int(r.start)+1))
	}
	return it
}

// Next moves to the next child and reports whether there is one.
func (it *Iter) Next() bool {
	if it.left == 0 {
		it.current = Node{}
		return false
	}
	it.left--
	it.index++
	if it.inText {
		end := tokenEnd(it.d.src, int(it.next))
		it.current = Node{d: it.d, rec: -1, start: it.next, end: uint32(end)}
		if it.left > 0 {
			it.next = uint32(nextToken(it.d.src, end))
		}
		return true
	}
	if uint(it.next) >= uint(len(it.d.tape)) {
		it.left, it.current = 0, Node{} // it outlived its text
		return false
	}
	it.current = Node{d: it.d, rec: int32(it.next)}
	it.next = it.d.behind(it.next)
	return true
}

// Value returns the current child.
func (it *Iter) Value() Node { return it.current }

// Index returns the current child's index, -1 before the first Next.
func (it *Iter) Index() int { return it.index }

// Key returns the current member's decoded name, nil in an array. It is valid
// until the next call of Key on any iterator of the document.
func (it *Iter) Key() []byte {
	r := it.current.record()
	if r == nil || r.keyStart == 0 {
		return nil
	}
	return it.d.key(r, keySlot)
}

// Numbers returns what the parse learnt of an array that holds only numbers,
// nulls and bare non-finite tokens, an empty array included; ok is false for
// every other value.
func (n Node) Numbers() (s Numbers, ok bool) {
	r := n.record()
	if r == nil || r.flags&numeric == 0 {
		return Numbers{}, false
	}
	return n.d.stats[r.next], true
}

// OutOfRange returns the first element of a numeric array that does not hold
// lo <= v <= hi, exactly: a NaN token never holds it, an Infinity token and a
// number past float64's range only with an infinite bound, a bound that is NaN
// is held by nothing. Nulls are no numbers and are passed over; Numbers tells
// of them. Of any value but a numeric array found is false. It costs nothing
// when the array's minimum and maximum are clearly inside.
func (n Node) OutOfRange(lo, hi float64) (index int, found bool) {
	s, ok := n.Numbers()
	if !ok {
		return 0, false
	}
	if s.FirstBad < 0 && (s.Finite == 0 || down(s.Min) >= lo && up(s.Max) <= hi) {
		return 0, false
	}
	r := n.record()
	src := n.d.src[:r.end]
	p := skip(src, int(r.start)+1)
	for i := range s.Count {
		kind := kindAt(src, p)
		var end int
		switch kind {
		case Number:
			var inside bool
			if inside, end = within(src, p, lo, hi); !inside {
				return i, true
			}
		case NonFinite:
			if v := tokenValue(src[p]); !(v >= lo && v <= hi) {
				return i, true
			}
			fallthrough
		default:
			end = tokenEnd(src, p)
		}
		p = nextToken(src, end)
	}
	return 0, false
}

// within reports whether the number at p holds lo <= v <= hi, and where it
// ends. Only what is close to a bound is converted exactly.
func within(src []byte, p int, lo, hi float64) (inside bool, end int) {
	first := p
	if src[p] == '-' {
		first++
	}
	if mant, exp, end, ok := quick(src, first); ok {
		if v, ok := near(mant, exp); ok {
			if first != p {
				v = -v
			}
			if down(v) >= lo && up(v) <= hi {
				return true, end
			}
		}
	}
	v, end := floatAt(src, p)
	return v >= lo && v <= hi, end
}

// slack is more than the relative error of near, which is under 2 to the -51.
const slack = 0x1p-50

// down returns at most what a value that near gives as v can be.
func down(v float64) float64 { return v - math.Abs(v)*slack }

// up returns at least what a value that near gives as v can be.
func up(v float64) float64 { return v + math.Abs(v)*slack }

// EachFloat calls f with each element of a numeric array in order, until f
// returns false: its index, its exact value as of Float and its kind. A null's
// value is NaN. Of any other value it calls nothing.
func (n Node) EachFloat(f func(i int, v float64, k Kind) bool) {
	r := n.record()
	if r == nil || r.flags&numeric == 0 {
		return
	}
	src := n.d.src[:r.end]
	p := skip(src, int(r.start)+1)
	for i := 0; i < int(r.count); i++ {
		kind := kindAt(src, p)
		v := math.NaN()
		var end int
		if kind == Number {
			v, end = floatAt(src, p)
		} else {
			end = tokenEnd(src, p)
			if kind == NonFinite {
				v = tokenValue(src[p])
			}
		}
		if !f(i, v, kind) {
			return
		}
		p = nextToken(src, end)
	}
}

// floatAt returns the exact value and the end of the number at p.
func floatAt(src []byte, p int) (float64, int) {
	first := p
	if src[p] == '-' {
		first++
	}
	if mant, exp, end, ok := quick(src, first); ok {
		if v, exact, _ := scale(mant, exp); exact {
			if first != p {
				v = -v
			}
			return v, end
		}
	}
	end := tokenEnd(src, p)
	return exactFloat(src[p:end]), end
}
