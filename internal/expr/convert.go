package expr

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// conversion is int(), uint(), double(), string() or bool().
type conversion struct {
	to   kind
	from kind // the only type taken, where the checker settled on one; else kindError
	arg  node
}

func (n *conversion) eval(f *frame) value {
	if !f.spend(1) {
		return value{}
	}
	v := n.arg.eval(f)
	if v.kind == kindError {
		return v
	}
	if n.from != kindError && v.kind != n.from {
		return fail(NoOverload, n.to.String())
	}
	if v.kind == kindString {
		f.spendText(len(v.text))
	}
	switch n.to {
	case kindInt:
		return toInt(&v)
	case kindUint:
		return toUint(&v)
	case kindDouble:
		return toDouble(&v)
	case kindBool:
		return toBool(&v)
	}
	return toString(&v)
}

func toInt(v *value) value {
	switch v.kind {
	case kindInt:
		return *v
	case kindUint:
		if v.num > math.MaxInt64 {
			return fail(Overflow, "int")
		}
		return integer(int64(v.num))
	case kindDouble:
		i, ok := doubleToInt(v.double())
		if !ok {
			return fail(Overflow, "int")
		}
		return integer(i)
	case kindString:
		i, err := strconv.ParseInt(v.text, 10, 64)
		if err != nil {
			return fail(BadNumber, "string to int")
		}
		return integer(i)
	}
	return fail(NoOverload, "int")
}

func toUint(v *value) value {
	switch v.kind {
	case kindUint:
		return *v
	case kindInt:
		if int64(v.num) < 0 {
			return fail(Overflow, "uint")
		}
		return unsigned(v.num)
	case kindDouble:
		u, ok := doubleToUint(v.double())
		if !ok {
			return fail(Overflow, "uint")
		}
		return unsigned(u)
	case kindString:
		u, err := strconv.ParseUint(v.text, 10, 64)
		if err != nil {
			return fail(BadNumber, "string to uint")
		}
		return unsigned(u)
	}
	return fail(NoOverload, "uint")
}

func toDouble(v *value) value {
	switch v.kind {
	case kindDouble:
		return *v
	case kindInt:
		return double(float64(int64(v.num)))
	case kindUint:
		return double(float64(v.num))
	case kindString:
		d, err := strconv.ParseFloat(v.text, 64)
		if err != nil {
			return fail(BadNumber, "string to double")
		}
		return double(d)
	}
	return fail(NoOverload, "double")
}

func toBool(v *value) value {
	switch v.kind {
	case kindBool:
		return *v
	case kindString:
		b, err := strconv.ParseBool(v.text)
		if err != nil {
			return fail(BadNumber, "string to bool")
		}
		return boolean(b)
	}
	return fail(NoOverload, "bool")
}

func toString(v *value) value {
	switch v.kind {
	case kindString:
		return *v
	case kindBool:
		return text(strconv.FormatBool(v.num != 0))
	case kindInt:
		return text(strconv.FormatInt(int64(v.num), 10))
	case kindUint:
		return text(strconv.FormatUint(v.num, 10))
	case kindDouble:
		return text(strconv.FormatFloat(v.double(), 'g', -1, 64))
	}
	return fail(NoOverload, "string")
}

// size is the number of code points, elements or entries.
type size struct{ arg node }

func (n *size) eval(f *frame) value {
	if !f.spend(1) {
		return value{}
	}
	v := n.arg.eval(f)
	switch v.kind {
	case kindError:
		return v
	case kindString:
		f.spendText(len(v.text))
		return integer(int64(utf8.RuneCountInString(v.text)))
	case kindList, kindMap:
		return integer(int64(v.length()))
	}
	return fail(NoOverload, "size")
}

// textTest is contains(), startsWith() or endsWith().
type textTest struct {
	name string
	test func(s, part string) bool
	l, r node
}

func (n *textTest) eval(f *frame) value {
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
	if l.kind != kindString || r.kind != kindString {
		return fail(NoOverload, n.name)
	}
	if !f.spendText(len(l.text)) {
		return value{}
	}
	return boolean(n.test(l.text, r.text))
}

// textTests are the functions of two strings, by name.
var textTests = map[string]func(s, part string) bool{
	"contains":   strings.Contains,
	"startsWith": strings.HasPrefix,
	"endsWith":   strings.HasSuffix,
}

// isNaN is ours: true for a double that is NaN, an error for other types.
type isNaN struct{ arg node }

func (n *isNaN) eval(f *frame) value {
	if !f.spend(1) {
		return value{}
	}
	v := n.arg.eval(f)
	switch v.kind {
	case kindError:
		return v
	case kindDouble:
		return boolean(v.isNaN())
	}
	return fail(NoOverload, "isNaN")
}
