package expr

// arithmetic is + - * / %. Both sides have one type: CEL converts nothing.
type arithmetic struct {
	op   byte
	l, r node
}

func (n *arithmetic) eval(f *frame) value {
	if !f.spend(1) {
		return value{}
	}
	l := n.l.eval(f)
	if l.kind == kindError {
		return l
	}
	r := n.r.eval(f)
	if r.kind == kindError {
		return r
	}
	if l.kind != r.kind {
		return n.noOverload()
	}
	switch l.kind {
	case kindInt:
		return n.ints(int64(l.num), int64(r.num))
	case kindUint:
		return n.uints(l.num, r.num)
	case kindDouble:
		return n.doubles(l.double(), r.double())
	case kindString:
		if n.op == '+' && f.spendText(len(l.text)+len(r.text)) {
			return text(l.text + r.text)
		}
	case kindList:
		if n.op == '+' {
			return concat(f, &l, &r)
		}
	}
	return n.noOverload()
}

func (n *arithmetic) noOverload() value { return fail(NoOverload, string(n.op)) }

func (n *arithmetic) ints(x, y int64) value {
	var z int64
	ok := true
	switch n.op {
	case '+':
		z, ok = addInt(x, y)
	case '-':
		z, ok = subInt(x, y)
	case '*':
		z, ok = mulInt(x, y)
	default: // / and %
		if y == 0 {
			return fail(DivideByZero, "")
		}
		if y == -1 {
			// MinInt64 / -1 overflows, and cel-go says the same of %.
			if z, ok = subInt(0, x); ok && n.op == '%' {
				z = 0
			}
			break
		}
		if z = x / y; n.op == '%' {
			z = x % y
		}
	}
	if !ok {
		return fail(Overflow, "int")
	}
	return integer(z)
}

func (n *arithmetic) uints(x, y uint64) value {
	var z uint64
	ok := true
	switch n.op {
	case '+':
		z = x + y
		ok = z >= x
	case '-':
		z = x - y
		ok = y <= x
	case '*':
		z = x * y
		ok = y == 0 || z/y == x
	default: // / and %
		if y == 0 {
			return fail(DivideByZero, "")
		}
		if z = x / y; n.op == '%' {
			z = x % y
		}
	}
	if !ok {
		return fail(Overflow, "uint")
	}
	return unsigned(z)
}

func (n *arithmetic) doubles(x, y float64) value {
	switch n.op {
	case '+':
		return double(x + y)
	case '-':
		return double(x - y)
	case '*':
		return double(x * y)
	case '/':
		return double(x / y)
	}
	return n.noOverload() // doubles have no %
}

// concat builds the list of both lists' elements.
func concat(f *frame, l, r *value) value {
	size := l.length() + r.length()
	if !f.spend(4 * size) {
		return value{}
	}
	out := make([]value, 0, size)
	var v value
	add := func() bool {
		out = append(out, v)
		return true
	}
	l.each(f, &v, add)
	r.each(f, &v, add)
	return elements(out)
}

// negate is unary minus, of ints and doubles.
type negate struct{ arg node }

func (n *negate) eval(f *frame) value {
	if !f.spend(1) {
		return value{}
	}
	v := n.arg.eval(f)
	switch v.kind {
	case kindError:
		return v
	case kindInt:
		z, ok := subInt(0, int64(v.num))
		if !ok {
			return fail(Overflow, "int")
		}
		return integer(z)
	case kindDouble:
		return double(-v.double())
	}
	return fail(NoOverload, "-")
}
