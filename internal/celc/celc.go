// Package celc compiles a policy's CEL text: cel-go parses and type-checks it
// at load time, and the checked tree is written in package expr's wire form,
// which is all that the data path ever sees. An expression outside of the
// subset that expr evaluates is refused here, by the name and the position of
// the construct.
package celc

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"github.com/safestate/safestate/internal/expr"
)

// Variables are the names that an expression may use.
const Variables = "request, response, status, request_headers, response_headers"

// Compile type-checks a condition and returns its wire form. The variables are
// request and response (dyn: the bodies as JSON), status (int), request_headers
// and response_headers (map(string, string), lower-case names, read by name
// only). The result has to be bool, or dyn and then bool when it runs.
//
// The error is one line that starts with line:column, both from 1. Compile is
// safe for concurrent use.
func Compile(text string) (json.RawMessage, error) {
	if len(text) > expr.MaxWire {
		return nil, fmt.Errorf("1:1: the expression has %d bytes, at most %d", len(text), expr.MaxWire)
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	checked, iss := env.Compile(text)
	if err := firstIssue(iss); err != nil {
		return nil, err
	}
	if t := checked.OutputType(); !t.IsExactType(types.BoolType) && !t.IsExactType(types.DynType) {
		return nil, fmt.Errorf("1:1: the expression gives %s, want bool: compare it with something, for example with == or >", t)
	}
	native := checked.NativeRep()
	w := writer{ast: native}
	wire, err := w.expr(native.Expr())
	if err != nil {
		return nil, err
	}
	// cel-go refuses some constants only here, such as x[null].
	if _, err := env.Program(checked); err != nil {
		return nil, fmt.Errorf("1:1: %w", err)
	}
	if _, err := expr.Decode(wire); err != nil {
		reason := strings.TrimPrefix(err.Error(), expr.ErrWire.Error()+": ")
		return nil, fmt.Errorf("1:1: the expression is too large: %s", reason)
	}
	return wire, nil
}

// environment is built once: it is immutable.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.CrossTypeNumericComparisons(true),
		cel.Variable("request", cel.DynType),
		cel.Variable("response", cel.DynType),
		cel.Variable("status", cel.IntType),
		cel.Variable("request_headers", cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable("response_headers", cel.MapType(cel.StringType, cel.StringType)),
		cel.Function("isNaN",
			cel.Overload("isnan_double", []*cel.Type{cel.DoubleType}, cel.BoolType,
				cel.UnaryBinding(isNaN))),
	)
})

// position is where a node starts, for an error.
func position(a *ast.AST, id int64) string {
	at := a.SourceInfo().GetStartLocation(id)
	return fmt.Sprintf("%d:%d", max(at.Line(), 1), max(at.Column(), 0)+1)
}
