package expr

// The zero value of value is an error, which is what a comprehension and these
// operators return once the steps are spent; Bool looks at exhausted first.

// logic is && and ||: the deciding value wins over errors on either side.
type logic struct {
	or    bool
	terms []node
}

func (n *logic) eval(f *frame) value {
	if !f.spend(1) {
		return value{}
	}
	op := "&&"
	if n.or {
		op = "||"
	}
	out := boolean(!n.or)
	for _, t := range n.terms {
		v := t.eval(f)
		if v.kind == kindBool && (v.num != 0) == n.or {
			return v
		}
		out = absorb(out, v, op)
	}
	return out
}

// absorb folds a term that did not decide into the result so far: the first
// error stays.
func absorb(out, v value, op string) value {
	switch {
	case out.kind == kindError || v.kind == kindBool:
		return out
	case v.kind == kindError:
		return v
	}
	return fail(NoOverload, op)
}

// not is the logical !.
type not struct{ arg node }

func (n *not) eval(f *frame) value {
	v := n.arg.eval(f)
	switch v.kind {
	case kindError:
		return v
	case kindBool:
		return boolean(v.num == 0)
	}
	return fail(NoOverload, "!")
}

// conditional is C ? A : B.
type conditional struct{ cond, then, other node }

func (n *conditional) eval(f *frame) value {
	if !f.spend(1) {
		return value{}
	}
	c := n.cond.eval(f)
	switch {
	case c.isTrue():
		return n.then.eval(f)
	case c.isFalse():
		return n.other.eval(f)
	case c.kind == kindError:
		return c
	}
	return fail(NoOverload, "?:")
}

// literal is a constant.
type literal struct{ v value }

func (n *literal) eval(*frame) value { return n.v }

// variable is the current element of a comprehension.
type variable struct{ slot int }

func (n *variable) eval(f *frame) value { return f.vars[n.slot] }

// listOf is a list literal.
type listOf struct{ elems []node }

func (n *listOf) eval(f *frame) value {
	if !f.spend(1 + 4*len(n.elems)) {
		return value{}
	}
	out := make([]value, len(n.elems))
	for i, e := range n.elems {
		if out[i] = e.eval(f); out[i].kind == kindError {
			return out[i]
		}
	}
	return elements(out)
}

// mapOf is a map literal; the last of equal keys wins.
type mapOf struct{ keys, vals []node }

func (n *mapOf) eval(f *frame) value {
	if !f.spend(1 + 8*len(n.keys)) {
		return value{}
	}
	d := &dict{entries: make([]entry, 0, len(n.keys))}
	for i := range n.keys {
		k := n.keys[i].eval(f)
		if k.kind == kindError {
			return k
		}
		v := n.vals[i].eval(f)
		if v.kind == kindError {
			return v
		}
		if !f.spend(len(d.entries)) {
			return value{}
		}
		d.set(k, v)
	}
	return value{kind: kindMap, dict: d}
}
