package scan

import "math"

// Numbers tells of an array that holds only numbers, nulls and bare non-finite
// tokens. It is taken in the same pass that parses.
type Numbers struct {
	Count  int // elements of every kind
	Finite int // elements that are finite numbers
	// Min and Max are over the finite numbers, each within 2 units in the last
	// place of exact; NaN when there is none, so that no comparison holds.
	Min, Max float64
	// FirstBad is the index of the first element that is no finite number, -1
	// when all are; BadKind is Null, NonFinite, or Number for a number past
	// float64's range such as 1e999; BadOffset is its offset in the text.
	FirstBad  int
	BadKind   Kind
	BadOffset int
}

// exactPow10 holds the powers of ten that a float64 holds exactly, and zeros
// behind them so that an index below 32 needs no check.
var exactPow10 = [32]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// near returns mant*10^exp within 2 units in the last place: one rounding of
// mant and one of the quotient.
func near(mant uint64, exp int) (v float64, ok bool) {
	if e := uint(-exp); e <= 22 {
		return float64(int64(mant)) / exactPow10[e], true
	}
	v, _, ok = scale(mant, exp)
	return v, ok
}

// numericArray reads the array of rec, whose first element or end p is at, as
// long as it holds nothing but numbers, nulls and bare non-finite tokens. When
// it meets another value it leaves the tape as it was, and done is false
// without a code: the array is then read again as any other, so that a text is
// never read more than twice.
func (d *Document) numericArray(rec record, p int, lim Limits) (end int, done bool, code Code) {
	src := d.src
	begin := p
	short := lim.NumberChars >= window // what quick reads is within the limit
	x := extremes{least: math.Inf(1), most: math.Inf(-1)}
	bad := Numbers{FirstBad: -1}
	skipped := 0
	if src[p] == ']' {
		bad.Min, bad.Max = math.NaN(), math.NaN()
		return d.closeNumeric(rec, p, bad), true, 0
	}
	for {
		if short {
			p, x = run(src, p, x)
		}
		at := p
		v, kind, next, code := element(src, p, lim.NumberChars, short)
		if code != 0 {
			if next == at && other(src[at]) {
				return begin, false, 0
			}
			return next, false, code
		}
		if kind == Number && !math.IsInf(v, 0) {
			x.least = min(x.least, v)
			x.most = max(x.most, v)
		} else {
			if bad.FirstBad < 0 {
				bad = Numbers{FirstBad: x.count, BadKind: kind, BadOffset: at}
			}
			skipped++
		}
		x.count++
		var more bool
		if p, more, code = comma(src, next); code != 0 {
			return p, false, code
		}
		if !more {
			break
		}
	}
	bad.Count, bad.Finite, bad.Min, bad.Max = x.count, x.count-skipped, x.least, x.most
	if bad.Finite == 0 {
		bad.Min, bad.Max = math.NaN(), math.NaN()
	}
	return d.closeNumeric(rec, p, bad), true, 0
}

// comma reads what follows an element of an array of numbers that ends at p:
// more elements, next at p, or the array's end at p.
func comma(src []byte, p int) (next int, more bool, code Code) {
	if p < len(src) && src[p] <= ' ' {
		p = skip(src, p)
	}
	if p >= len(src) {
		return p, false, Truncated
	}
	if src[p] != ',' {
		if src[p] != ']' {
			return p, false, Syntax
		}
		return p, false, 0
	}
	p++
	if p < len(src) && src[p] <= ' ' {
		p = skip(src, p)
	}
	if p >= len(src) {
		return p, false, Truncated
	}
	return p, true, 0
}

// closeNumeric puts the numeric array that ends at p on the tape.
func (d *Document) closeNumeric(rec record, p int, stats Numbers) int {
	rec.flags |= numeric
	rec.end = uint32(p + 1)
	rec.count = uint32(stats.Count)
	rec.next = uint32(len(d.stats))
	d.stats = append(d.stats, stats)
	d.tape = append(d.tape, rec)
	return p + 1
}

// element reads one element of a numeric array, of any form. A number's value
// is as of near where it is quick, and exact otherwise.
func element(src []byte, p, numberChars int, short bool) (v float64, kind Kind, end int, code Code) {
	if short {
		first := p
		if src[p] == '-' {
			first++
		}
		if mant, exp, end, ok := quick(src, first); ok {
			if v, ok := near(mant, exp); ok {
				if first != p {
					v = -v
				}
				return v, Number, end, 0
			}
		}
	}
	kind, end, code = scalar(src, p, numberChars)
	if code == 0 && kind == Number {
		v = exactFloat(src[p:end])
	}
	return v, kind, end, code
}

// other reports whether c begins a value that a numeric array does not hold.
func other(c byte) bool {
	return c == '"' || c == '[' || c == '{' || c == 't' || c == 'f'
}
