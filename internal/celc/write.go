package celc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/safestate/safestate/internal/expr"
)

// writer turns a checked tree into the wire form.
type writer struct {
	ast   *ast.AST
	scope []string // the comprehension variables around this node, outermost first
	depth int
}

// refuse names a construct that the data path does not evaluate.
func (w *writer) refuse(e ast.Expr, format string, args ...any) error {
	return fmt.Errorf("%s: %s", position(w.ast, e.ID()), fmt.Sprintf(format, args...))
}

// op writes one operator's array.
func op(name string, args ...[]byte) []byte {
	out := append([]byte("["), quoted(name)...)
	for _, a := range args {
		out = append(append(out, ','), a...)
	}
	return append(out, ']')
}

// quoted writes a JSON string; < and > stay as they are.
func quoted(s string) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

func (w *writer) expr(e ast.Expr) ([]byte, error) {
	w.depth++
	defer func() { w.depth-- }()
	if w.depth > expr.MaxDepth {
		return nil, w.refuse(e, "more than %d operators inside each other", expr.MaxDepth)
	}
	switch e.Kind() {
	case ast.LiteralKind:
		return w.literal(e)
	case ast.IdentKind:
		return w.ident(e)
	case ast.SelectKind:
		return w.selection(e)
	case ast.CallKind:
		return w.call(e)
	case ast.ListKind:
		return w.list(e)
	case ast.MapKind:
		return w.mapping(e)
	case ast.ComprehensionKind:
		return w.comprehension(e)
	case ast.StructKind:
		return nil, w.refuse(e, "messages such as %s{} are not supported: JSON values are maps, write {\"key\": value}", e.AsStruct().TypeName())
	}
	return nil, w.refuse(e, "this construct is not supported")
}

func (w *writer) exprs(es []ast.Expr) ([][]byte, error) {
	out := make([][]byte, len(es))
	for i, e := range es {
		var err error
		if out[i], err = w.expr(e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (w *writer) literal(e ast.Expr) ([]byte, error) {
	switch v := e.AsLiteral().(type) {
	case types.Null:
		return []byte("null"), nil
	case types.Bool:
		return strconv.AppendBool(nil, bool(v)), nil
	case types.Int:
		return strconv.AppendInt(nil, int64(v), 10), nil
	case types.Uint:
		return op("u", strconv.AppendUint(nil, uint64(v), 10)), nil
	case types.Double:
		if math.IsInf(float64(v), 0) || math.IsNaN(float64(v)) {
			return nil, w.refuse(e, "a number over the range of a double is not supported")
		}
		return op("d", strconv.AppendFloat(nil, float64(v), 'g', -1, 64)), nil
	case types.String:
		return quoted(string(v)), nil
	case types.Bytes:
		return nil, w.refuse(e, "bytes literals are not supported: JSON has texts, write \"…\" without the b")
	default:
		return nil, w.refuse(e, "literals of type %s are not supported", v.Type().TypeName())
	}
}

func (w *writer) ident(e ast.Expr) ([]byte, error) {
	name := e.AsIdent()
	if slot, ok := w.slot(name); ok {
		return op("v", strconv.AppendInt(nil, int64(slot), 10)), nil
	}
	switch name = strings.TrimPrefix(name, "."); name {
	case "request", "response", "status":
		return op(name), nil
	case "request_headers", "response_headers":
		return nil, w.refuse(e, `%s can only be read by name: %s["x-name"], has(%s.name) or "x-name" in %s`, name, name, name, name)
	}
	return nil, w.refuse(e, "%s is a type or a named constant, which are not supported: compare plain values", name)
}

// slot finds a comprehension's variable; the innermost of a name hides others.
func (w *writer) slot(name string) (int, bool) {
	for i := len(w.scope) - 1; i >= 0; i-- {
		if w.scope[i] == name {
			return i, true
		}
	}
	return 0, false
}

// headers says whether a node is one of the header variables, and which.
func (w *writer) headers(e ast.Expr) ([]byte, bool) {
	if e.Kind() != ast.IdentKind {
		return nil, false
	}
	name := e.AsIdent()
	if _, local := w.slot(name); local {
		return nil, false
	}
	which, ok := strings.CutSuffix(strings.TrimPrefix(name, "."), "_headers")
	return quoted(which), ok
}

// headerName checks a constant name: Envoy's are lower case.
func (w *writer) headerName(e ast.Expr, name string) error {
	if name == strings.ToLower(name) {
		return nil
	}
	return w.refuse(e, "header names are lower case: write %q instead of %q", strings.ToLower(name), name)
}

func (w *writer) selection(e ast.Expr) ([]byte, error) {
	s := e.AsSelect()
	if which, ok := w.headers(s.Operand()); ok {
		name := "hdr"
		if s.IsTestOnly() {
			name = "hdr?"
		}
		return op(name, which, quoted(s.FieldName())), w.headerName(e, s.FieldName())
	}
	if s.IsTestOnly() {
		x, err := w.expr(s.Operand())
		return op("has", x, quoted(s.FieldName())), err
	}
	// A path is one operator.
	fields := [][]byte{quoted(s.FieldName())}
	inner := s.Operand()
	for inner.Kind() == ast.SelectKind && !inner.AsSelect().IsTestOnly() {
		if _, ok := w.headers(inner.AsSelect().Operand()); ok {
			break
		}
		fields = append([][]byte{quoted(inner.AsSelect().FieldName())}, fields...)
		inner = inner.AsSelect().Operand()
	}
	x, err := w.expr(inner)
	if err != nil {
		return nil, err
	}
	return op(".", append([][]byte{x}, fields...)...), nil
}

func (w *writer) list(e ast.Expr) ([]byte, error) {
	l := e.AsList()
	if len(l.OptionalIndices()) != 0 {
		return nil, w.refuse(e, "optional elements ([?x]) are not supported")
	}
	x, err := w.exprs(l.Elements())
	return op("list", x...), err
}

func (w *writer) mapping(e ast.Expr) ([]byte, error) {
	var out [][]byte
	for _, entry := range e.AsMap().Entries() {
		m := entry.AsMapEntry()
		if m.IsOptional() {
			return nil, w.refuse(e, "optional entries ({?k: v}) are not supported")
		}
		switch t := w.ast.GetType(m.Key().ID()); t.Kind() {
		case types.StringKind, types.IntKind, types.UintKind, types.BoolKind, types.DynKind:
		default:
			return nil, w.refuse(m.Key(), "a map key of type %s is not supported: keys are string, int, uint or bool", t)
		}
		x, err := w.exprs([]ast.Expr{m.Key(), m.Value()})
		if err != nil {
			return nil, err
		}
		out = append(out, x...)
	}
	return op("map", out...), nil
}

// logic flattens a && b && c, which the parser nests.
func (w *writer) logic(e ast.Expr, function, name string) ([]byte, error) {
	var terms []ast.Expr
	todo := []ast.Expr{e}
	for len(todo) > 0 {
		t := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if t.Kind() != ast.CallKind || t.AsCall().FunctionName() != function {
			terms = append(terms, t)
			continue
		}
		args := t.AsCall().Args()
		for i := len(args) - 1; i >= 0; i-- {
			todo = append(todo, args[i])
		}
	}
	x, err := w.exprs(terms)
	return op(name, x...), err
}

// comprehension recognises what the macros expand to; nothing else can be
// written in CEL text.
func (w *writer) comprehension(e ast.Expr) ([]byte, error) {
	c := e.AsComprehension()
	over, err := w.expr(c.IterRange())
	if err != nil {
		return nil, err
	}
	unsupported := w.refuse(e, "this macro is not supported: the macros are has, all, exists, exists_one, filter, map")
	if c.HasIterVar2() || c.LoopStep().Kind() != ast.CallKind {
		return nil, unsupported
	}
	w.scope = append(w.scope, c.IterVar())
	defer func() { w.scope = w.scope[:len(w.scope)-1] }()
	step := c.LoopStep().AsCall()
	name, inner := "", []ast.Expr(nil)
	switch step.FunctionName() {
	case operators.LogicalAnd:
		name, inner = "all", step.Args()[1:2]
	case operators.LogicalOr:
		name, inner = "exists", step.Args()[1:2]
	case operators.Add:
		name, inner = "map()", element(step)
	case operators.Conditional:
		pred, then := step.Args()[0], step.Args()[1]
		if then.Kind() != ast.CallKind {
			return nil, unsupported
		}
		if c.AccuInit().Kind() == ast.LiteralKind {
			name, inner = "exists_one", []ast.Expr{pred}
			break
		}
		to := element(then.AsCall())
		if to == nil {
			return nil, unsupported
		}
		name, inner = "mapif", append([]ast.Expr{pred}, to...)
		if to[0].Kind() == ast.IdentKind && to[0].AsIdent() == c.IterVar() {
			name, inner = "filter", inner[:1]
		}
	}
	if inner == nil {
		return nil, unsupported
	}
	x, err := w.exprs(inner)
	if err != nil {
		return nil, err
	}
	return op(name, append([][]byte{over}, x...)...), nil
}

// element is the T of accu + [T].
func element(c ast.CallExpr) []ast.Expr {
	if len(c.Args()) != 2 || c.Args()[1].Kind() != ast.ListKind {
		return nil
	}
	return c.Args()[1].AsList().Elements()
}
