package celc

import (
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// operatorOps are the operators of two or one operands, by cel-go's name.
var operatorOps = map[string]string{
	operators.LogicalNot:    "!",
	operators.Conditional:   "?:",
	operators.Equals:        "==",
	operators.NotEquals:     "!=",
	operators.Less:          "<",
	operators.LessEquals:    "<=",
	operators.Greater:       ">",
	operators.GreaterEquals: ">=",
	operators.Add:           "+",
	operators.Subtract:      "-",
	operators.Multiply:      "*",
	operators.Divide:        "/",
	operators.Modulo:        "%",
	operators.Negate:        "neg",
}

// functionOps are the functions that have the same name in the wire form.
var functionOps = map[string]bool{
	"size": true, "contains": true, "startsWith": true, "endsWith": true, "isNaN": true,
	"int": true, "uint": true, "double": true, "string": true, "bool": true,
}

// functionList is what an error offers.
const functionList = "size, contains, startsWith, endsWith, int, uint, double, string, bool, dyn, isNaN, has, all, exists, exists_one, filter, map"

// instead says what to write in the place of a function that is not supported.
var instead = map[string]string{
	"matches":   "regular expressions are not evaluated on the data path: use contains, startsWith, endsWith or ==",
	"type":      "compare values, not types",
	"timestamp": "there is no time type: compare numbers, or texts of one format",
	"duration":  "there is no duration type: compare numbers",
	"bytes":     "there is no bytes type: compare texts",
}

func (w *writer) call(e ast.Expr) ([]byte, error) {
	c := e.AsCall()
	name := c.FunctionName()
	switch name {
	case operators.LogicalAnd:
		return w.logic(e, name, "&&")
	case operators.LogicalOr:
		return w.logic(e, name, "||")
	case operators.Index:
		return w.index(e)
	case operators.In, operators.OldIn:
		return w.in(e)
	case "dyn":
		return w.expr(c.Args()[0])
	}
	args := c.Args()
	if c.IsMemberFunction() {
		args = append([]ast.Expr{c.Target()}, args...)
	}
	out, known := operatorOps[name]
	if !known {
		if !functionOps[name] {
			return nil, w.unsupportedCall(e, name)
		}
		out = name
	}
	x, err := w.exprs(args)
	if err != nil {
		return nil, err
	}
	if from := w.conversionFrom(e, name); from != "" {
		x = append(x, quoted(from))
	}
	return op(out, x...), nil
}

func (w *writer) unsupportedCall(e ast.Expr, name string) error {
	if hint := instead[name]; hint != "" {
		return w.refuse(e, "%s() is not supported: %s", name, hint)
	}
	return w.refuse(e, "%s() is not supported: the functions are %s", name, functionList)
}

// conversionFrom is the type that the checker settled on for a conversion's
// operand, because cel-go then takes no other; empty where it chooses when it
// runs.
func (w *writer) conversionFrom(e ast.Expr, name string) string {
	ids := w.ast.GetOverloadIDs(e.ID())
	if len(ids) != 1 {
		return ""
	}
	switch name {
	case "int", "uint", "double", "string", "bool":
	default:
		return ""
	}
	// The ids are such as double_to_int64; the sizes are not part of the name.
	from, _, _ := strings.Cut(ids[0], "_to_")
	switch from {
	case "int64":
		return "int"
	case "uint64":
		return "uint"
	}
	return from
}

func (w *writer) index(e ast.Expr) ([]byte, error) {
	args := e.AsCall().Args()
	if which, ok := w.headers(args[0]); ok {
		return w.header(e, "hdr", which, args[1])
	}
	x, err := w.exprs(args)
	return op("[]", x...), err
}

func (w *writer) in(e ast.Expr) ([]byte, error) {
	args := e.AsCall().Args()
	if which, ok := w.headers(args[1]); ok {
		return w.header(e, "hdr?", which, args[0])
	}
	x, err := w.exprs(args)
	return op("in", x...), err
}

func (w *writer) header(e ast.Expr, name string, which []byte, key ast.Expr) ([]byte, error) {
	if key.Kind() == ast.LiteralKind {
		if s, ok := key.AsLiteral().Value().(string); ok {
			if err := w.headerName(key, s); err != nil {
				return nil, err
			}
		}
	}
	x, err := w.expr(key)
	if err != nil {
		return nil, err
	}
	return op(name, which, x), nil
}
