package expr

import "math"

// bound is the commonest condition of all: a comprehension's variable against
// a number literal. It reads the variable in place, and a quantifier over a
// numeric array can often decide it from the array's minimum and maximum,
// which the parse has taken.
type bound struct {
	op   string // with the variable on the left
	slot int
	to   value // an int, uint or double
}

func (n *bound) eval(f *frame) value {
	if !f.spend(1) {
		return value{}
	}
	v := &f.vars[n.slot]
	if v.kind == kindError {
		return *v
	}
	return ordered(f, n.op, v, &n.to)
}

// mirrored is the operator with its sides exchanged.
var mirrored = map[string]string{"<": ">", "<=": ">=", ">": "<", ">=": "<="}

// newComparison prefers a bound.
func newComparison(op string, l, r node) node {
	if b := newBound(op, l, r); b != nil {
		return b
	}
	// An exchange is not seen: both sides are evaluated without effects, and
	// the literal cannot fail.
	if b := newBound(mirrored[op], r, l); b != nil {
		return b
	}
	return &comparison{op, l, r}
}

func newBound(op string, l, r node) node {
	v, isVar := l.(*variable)
	c, isLiteral := r.(*literal)
	if !isVar || !isLiteral {
		return nil
	}
	switch c.v.kind {
	case kindInt, kindUint, kindDouble:
		return &bound{op, v.slot, c.v}
	}
	return nil
}

// limit is a bound with a float64 that stands for its literal exactly.
type limit struct {
	op string
	to float64
}

// limits are the bounds on the variable slot that a predicate consists of:
// joined by && for all, by || for exists. Nil where there is anything else.
func limits(pred node, slot int, exists bool) []limit {
	terms := []node{pred}
	if l, ok := pred.(*logic); ok && l.or == exists {
		terms = l.terms
	}
	var out []limit
	for _, t := range terms {
		b, ok := t.(*bound)
		if !ok || b.slot != slot {
			return nil
		}
		to, exact := b.to.exactDouble()
		if !exact {
			return nil
		}
		out = append(out, limit{b.op, to})
	}
	return out
}

// exactDouble is a number literal as a double that compares like it.
func (v *value) exactDouble() (float64, bool) {
	const exactTo = 1 << 53
	switch v.kind {
	case kindInt:
		i := int64(v.num)
		return float64(i), -exactTo <= i && i <= exactTo
	case kindUint:
		return float64(v.num), v.num <= exactTo
	}
	return v.double(), !v.isNaN()
}

// The minimum and maximum of an array are exact within 2 units in the last
// place; slack is more than that, as in package scan.
const slack = 0x1p-50

func below(v float64) float64 { return v - math.Abs(v)*slack }
func above(v float64) float64 { return v + math.Abs(v)*slack }

// holds decides a limit for an array of finite numbers: whether all of them, or
// one of them, hold it. Not decided is for numbers too close to the limit.
func (l limit) holds(lowest, highest float64, exists bool) (result, decided bool) {
	// What has to hold it: for all and <, the largest; for exists and <, the
	// smallest; the other way round for >.
	v := highest
	if (l.op[0] == '<') == exists {
		v = lowest
	}
	lo, hi := l.test(below(v)), l.test(above(v))
	return lo, lo == hi
}

// test holds for all values of an interval that it holds for both ends of.
func (l limit) test(v float64) bool {
	switch l.op {
	case "<":
		return v < l.to
	case "<=":
		return v <= l.to
	case ">":
		return v > l.to
	}
	return v >= l.to
}

// decide applies limits to a list. It is decided only for a numeric JSON array
// of finite numbers, because others can make the predicate an error.
func decide(over *value, ls []limit, exists bool) (result, decided bool) {
	if len(ls) == 0 || over.kind != kindList || over.list != nil {
		return false, false
	}
	stats, ok := over.node.Numbers()
	if !ok || stats.Count == 0 || stats.FirstBad >= 0 {
		return false, false
	}
	open := false
	for _, l := range ls {
		r, sure := l.holds(stats.Min, stats.Max, exists)
		if sure && r == exists {
			return r, true // one limit decides all
		}
		open = open || !sure
	}
	return !exists, !open
}
