package expr

import (
	"errors"
	"strconv"

	"github.com/safestate/safestate/internal/fault"
	"github.com/safestate/safestate/internal/scan"
)

// ErrWire is wrapped by every error of Decode.
var ErrWire = errors.New("not a compiled expression")

// Decode reads the wire form. It refuses what is not exactly that form, and
// anything over the bounds of this package, so that evaluation needs no checks.
func Decode(wire []byte) (*Program, error) {
	if len(wire) > MaxWire {
		return nil, fault.Errorf("%w: %d bytes, at most %d", ErrWire, len(wire), MaxWire)
	}
	var doc scan.Document
	// A little deeper than this package reads, so that its own message comes.
	if err := doc.Parse(wire, scan.Limits{Depth: MaxDepth + 4, NumberChars: 32, Nodes: MaxWire}); err != nil {
		return nil, fault.Errorf("%w: %w", ErrWire, err)
	}
	d := decoder{left: MaxNodes}
	root, err := d.node(doc.Root(), 1)
	if err != nil {
		return nil, fault.Errorf("%w: %w", ErrWire, err)
	}
	return &Program{root: root}, nil
}

// decoder counts what it builds.
type decoder struct {
	left int // nodes that may still come
	vars int // comprehensions around this node
}

// node decodes one node.
func (d *decoder) node(n scan.Node, depth int) (node, error) {
	if d.left--; d.left < 0 {
		return nil, fault.Errorf("more than %d operators and literals", MaxNodes)
	}
	if depth > MaxDepth {
		return nil, fault.Errorf("deeper than %d operators", MaxDepth)
	}
	switch n.Kind() {
	case scan.Null:
		return &literal{value{kind: kindNull}}, nil
	case scan.True, scan.False:
		return &literal{boolean(n.Kind() == scan.True)}, nil
	case scan.String:
		return &literal{text(string(n.Text(nil)))}, nil
	case scan.Number:
		i, ok := n.Int()
		if !ok {
			return nil, fault.Errorf("the number %s is no int", n.Raw())
		}
		return &literal{integer(i)}, nil
	case scan.Array:
		if n.Len() == 0 || n.At(0).Kind() != scan.String {
			return nil, errors.New("an array without an operator")
		}
		return d.operator(string(n.At(0).Text(nil)), call{d, n, depth})
	}
	return nil, errors.New("neither a literal nor an array")
}

// call is one operator's array.
type call struct {
	d     *decoder
	n     scan.Node
	depth int
}

// args is the number of operands.
func (c call) args() int { return c.n.Len() - 1 }

// arg decodes operand i, counted from 1.
func (c call) arg(i int) (node, error) {
	if i > c.args() {
		return nil, errors.New("too few operands")
	}
	return c.d.node(c.n.At(i), c.depth+1)
}

// exactly decodes all operands, of which there must be n.
func (c call) exactly(n int) ([]node, error) {
	if c.args() != n {
		return nil, fault.Errorf("%d operands, want %d", c.args(), n)
	}
	return c.from(1)
}

// from decodes the operands from i on.
func (c call) from(i int) ([]node, error) {
	var out []node
	for ; i <= c.args(); i++ {
		x, err := c.arg(i)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

// word is operand i as a text.
func (c call) word(i int) (string, error) {
	if i > c.args() || c.n.At(i).Kind() != scan.String {
		return "", fault.Errorf("operand %d is no text", i)
	}
	return string(c.n.At(i).Text(nil)), nil
}

// operatorError is an error with the innermost operator that it is in.
type operatorError struct {
	op  string
	err error
}

func (e *operatorError) Error() string { return fault.Errorf("%.20q: %v", e.op, e.err).Error() }

// operator decodes an array by its operator.
func (d *decoder) operator(op string, c call) (node, error) {
	x, err := build(op, c)
	if _, inner := err.(*operatorError); err != nil && !inner {
		err = &operatorError{op, err}
	}
	return x, err
}

// build has a line for every operator of the wire form.
func build(op string, c call) (node, error) {
	switch op {
	case "d", "u":
		return numberLiteral(op, c)
	case "request", "response", "status", "v":
		return variableNamed(op, c)
	case ".", "[]", "has", "hdr", "hdr?":
		return access(op, c)
	case "&&", "||", "list":
		return variadic(op, c)
	case "map":
		return mapLiteral(c)
	case "all", "exists", "exists_one", "filter", "map()", "mapif":
		return comprehension(op, c)
	case "int", "uint", "double", "string", "bool":
		return convert(op, c)
	case "!", "neg", "size", "isNaN":
		return unary(op, c)
	case "?:":
		x, err := c.exactly(3)
		if err != nil {
			return nil, err
		}
		return &conditional{x[0], x[1], x[2]}, nil
	}
	return binary(op, c)
}

func unary(op string, c call) (node, error) {
	x, err := c.exactly(1)
	if err != nil {
		return nil, err
	}
	switch op {
	case "!":
		return &not{x[0]}, nil
	case "neg":
		return &negate{x[0]}, nil
	case "size":
		return &size{x[0]}, nil
	}
	return &isNaN{x[0]}, nil
}

func binary(op string, c call) (node, error) {
	x, err := c.exactly(2)
	if err != nil {
		return nil, err
	}
	switch op {
	case "==", "!=":
		return &equality{op == "!=", x[0], x[1]}, nil
	case "<", "<=", ">", ">=":
		return newComparison(op, x[0], x[1]), nil
	case "in":
		return &membership{x[0], x[1]}, nil
	case "+", "-", "*", "/", "%":
		return &arithmetic{op[0], x[0], x[1]}, nil
	case "contains", "startsWith", "endsWith":
		return &textTest{op, textTests[op], x[0], x[1]}, nil
	}
	return nil, errors.New("no such operator")
}

func numberLiteral(op string, c call) (node, error) {
	if c.args() != 1 || c.n.At(1).Kind() != scan.Number {
		return nil, errors.New("want one number")
	}
	raw := c.n.At(1)
	if op == "u" {
		u, err := strconv.ParseUint(string(raw.Raw()), 10, 64)
		if err != nil {
			return nil, errors.New("not a uint")
		}
		return &literal{unsigned(u)}, nil
	}
	v, ok := raw.Float()
	if !ok {
		return nil, errors.New("not a double")
	}
	return &literal{double(v)}, nil
}

func variableNamed(op string, c call) (node, error) {
	if op == "v" {
		if c.args() != 1 {
			return nil, errors.New("want one number")
		}
		i, ok := c.n.At(1).Int()
		if !ok || i < 0 || i >= int64(c.d.vars) {
			return nil, errors.New("no such variable")
		}
		return &variable{int(i)}, nil
	}
	if c.args() != 0 {
		return nil, errors.New("operands of a variable")
	}
	if op == "status" {
		return status{}, nil
	}
	return &document{response: op == "response"}, nil
}

func access(op string, c call) (node, error) {
	if op == "hdr" || op == "hdr?" {
		which, err := c.word(1)
		if err != nil || c.args() != 2 || (which != "request" && which != "response") {
			return nil, errors.New("want request or response, and a name")
		}
		key, err := c.arg(2)
		if err != nil {
			return nil, err
		}
		return &header{which == "response", op == "hdr?", key}, nil
	}
	if op == "[]" {
		x, err := c.exactly(2)
		if err != nil {
			return nil, err
		}
		return &index{x[0], x[1]}, nil
	}
	operand, err := c.arg(1)
	if err != nil {
		return nil, err
	}
	if c.args() < 2 || (op == "has" && c.args() != 2) {
		return nil, errors.New("want a value and a field")
	}
	fields := make([]string, 0, c.args()-1)
	for i := 2; i <= c.args(); i++ {
		name, err := c.word(i)
		if err != nil {
			return nil, err
		}
		fields = append(fields, name)
	}
	if op == "has" {
		return &presence{operand, fields[0]}, nil
	}
	return &selection{operand, fields}, nil
}

func variadic(op string, c call) (node, error) {
	if op != "list" && c.args() < 2 {
		return nil, errors.New("too few operands")
	}
	x, err := c.from(1)
	if err != nil {
		return nil, err
	}
	if op == "list" {
		return &listOf{x}, nil
	}
	return &logic{or: op == "||", terms: x}, nil
}

func mapLiteral(c call) (node, error) {
	if c.args()%2 != 0 {
		return nil, errors.New("a key without a value")
	}
	x, err := c.from(1)
	if err != nil {
		return nil, err
	}
	m := &mapOf{}
	for i := 0; i < len(x); i += 2 {
		m.keys, m.vals = append(m.keys, x[i]), append(m.vals, x[i+1])
	}
	return m, nil
}

// comprehension decodes the range outside and the rest inside of the scope of
// its variable.
func comprehension(op string, c call) (node, error) {
	want := 2
	if op == "mapif" {
		want = 3
	}
	if c.args() != want {
		return nil, fault.Errorf("%d operands, want %d", c.args(), want)
	}
	over, err := c.arg(1)
	if err != nil {
		return nil, err
	}
	slot := c.d.vars
	if slot == MaxVars {
		return nil, fault.Errorf("more than %d comprehensions inside each other", MaxVars)
	}
	c.d.vars++
	x, err := c.from(2)
	c.d.vars--
	if err != nil {
		return nil, err
	}
	switch op {
	case "all", "exists":
		return &quantifier{op == "exists", over, slot, x[0], limits(x[0], slot, op == "exists")}, nil
	case "exists_one":
		return &existsOne{over, slot, x[0]}, nil
	case "filter":
		return &collect{over, slot, x[0], nil}, nil
	case "map()":
		return &collect{over, slot, nil, x[0]}, nil
	}
	return &collect{over, slot, x[0], x[1]}, nil
}

func convert(op string, c call) (node, error) {
	n := &conversion{to: kindNamed(op)}
	if c.args() == 2 {
		from, err := c.word(2)
		if err != nil {
			return nil, err
		}
		if n.from = kindNamed(from); n.from == kindError {
			return nil, fault.Errorf("no such type: %q", from)
		}
	} else if c.args() != 1 {
		return nil, errors.New("want a value and at most a type")
	}
	var err error
	n.arg, err = c.arg(1)
	return n, err
}

// kindNamed is the scalar type of that name, or kindError.
func kindNamed(name string) kind {
	for k := kindBool; k <= kindString; k++ {
		if kindNames[k] == name {
			return k
		}
	}
	return kindError
}
