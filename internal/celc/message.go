package celc

import (
	"fmt"
	"math"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// firstIssue is the first of cel-go's complaints, in one line.
func firstIssue(iss *cel.Issues) error {
	if iss == nil || len(iss.Errors()) == 0 {
		return nil
	}
	e := iss.Errors()[0]
	line, column := 1, 1
	if e.Location != nil {
		line, column = max(e.Location.Line(), 1), max(e.Location.Column(), 0)+1
	}
	return fmt.Errorf("%d:%d: %s", line, column, plain(e.Message))
}

// plain says what cel-go means without its internal names.
func plain(msg string) string {
	msg = strings.Join(strings.Fields(msg), " ")
	if name, ok := strings.CutPrefix(msg, "undeclared reference to "); ok {
		name = strings.TrimSuffix(name, " (in container '')")
		return fmt.Sprintf("unknown name %s: the variables are %s; the functions are %s", name, Variables, functionList)
	}
	return operatorNames.Replace(msg)
}

// operatorNames are the functions that operators stand for.
var operatorNames = strings.NewReplacer(
	"'_&&_'", "&&", "'_||_'", "||", "'!_'", "!", "'_?_:_'", "?:",
	"'_==_'", "==", "'_!=_'", "!=", "'_<_'", "<", "'_<=_'", "<=", "'_>_'", ">", "'_>=_'", ">=",
	"'_+_'", "+", "'_-_'", "-", "'_*_'", "*", "'_/_'", "/", "'_%_'", "%", "'-_'", "unary -",
	"'_[_]'", "[]", "'@in'", "in",
)

// isNaN is the checker's twin of expr's isNaN.
func isNaN(v ref.Val) ref.Val {
	d, ok := v.(types.Double)
	if !ok {
		return types.MaybeNoSuchOverloadErr(v)
	}
	return types.Bool(math.IsNaN(float64(d)))
}
