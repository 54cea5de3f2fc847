package expr

// quantifier is all (every element holds) or exists (one does): a logical fold
// with its absorption of errors.
type quantifier struct {
	exists bool
	over   node
	slot   int
	pred   node
	limits []limit // what pred consists of, where it is simple
}

func (n *quantifier) eval(f *frame) value {
	op := "all"
	if n.exists {
		op = "exists"
	}
	if !f.spend(1) {
		return value{}
	}
	over := n.over.eval(f)
	if result, decided := decide(&over, n.limits, n.exists); decided {
		return boolean(result)
	}
	out := boolean(!n.exists)
	return fold(f, &over, n.slot, &out, func() bool {
		v := n.pred.eval(f)
		if v.kind == kindBool && (v.num != 0) == n.exists {
			out = v
			return false
		}
		out = absorb(out, v, op)
		return true
	})
}

// existsOne is exists_one: an error of any element is the result.
type existsOne struct {
	over node
	slot int
	pred node
}

func (n *existsOne) eval(f *frame) value {
	hits := 0
	out := boolean(false)
	over := n.over.eval(f)
	return fold(f, &over, n.slot, &out, func() bool {
		v := n.pred.eval(f)
		switch {
		case v.isTrue():
			hits++
			out = boolean(hits == 1)
		case v.kind == kindError:
			out = v
		case v.kind != kindBool:
			out = fail(NoOverload, "exists_one")
		}
		return out.kind != kindError
	})
}

// collect is map and filter: the elements that hold, each as it is or mapped.
type collect struct {
	over node
	slot int
	pred node // nil: every element
	to   node // nil: the element
}

func (n *collect) eval(f *frame) value {
	kept := &list{}
	out := value{kind: kindList, list: kept}
	over := n.over.eval(f)
	return fold(f, &over, n.slot, &out, func() bool {
		if n.pred != nil {
			v := n.pred.eval(f)
			switch {
			case v.isFalse():
				return true
			case v.kind == kindError:
				out = v
				return false
			case v.kind != kindBool:
				out = fail(NoOverload, "filter")
				return false
			}
		}
		v := f.vars[n.slot]
		if n.to != nil {
			v = n.to.eval(f)
		}
		if v.kind == kindError {
			out = v
			return false
		}
		kept.elems = append(kept.elems, v)
		return f.spend(4)
	})
}

// fold runs body for each element in a comprehension's variable until it
// returns false, and returns *out. An empty string is an empty range: cel-go
// looks at the size before the type.
func fold(f *frame, over *value, slot int, out *value, body func() bool) value {
	switch over.kind {
	case kindError:
		return *over
	case kindList, kindMap:
	case kindString:
		if over.text == "" {
			return *out
		}
		return fail(NotIterable, over.kind.String())
	default:
		return fail(NotIterable, over.kind.String())
	}
	over.each(f, &f.vars[slot], body)
	return *out
}
