package celc

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"cel.dev/cel-go/common/types"

	"github.com/safestate/safestate/internal/expr"
	"github.com/safestate/safestate/internal/scan"
)

// agreeing is the number of expressions that have to agree.
const agreeing = 10_000

type headerMap map[string]string

func (h headerMap) Get(name string) (string, bool) {
	v, ok := h[name]
	return v, ok
}

// world is what an expression sees, for both evaluators.
type world struct {
	request, response string // JSON, with bare NaN
	vars              map[string]any
	env               expr.Env
	docs              [2]scan.Document
}

func newWorld(t testing.TB, g *generator) *world {
	w := &world{}
	requestText, requestValue := g.document()
	responseText, responseValue := g.document()
	w.set(t, requestText, requestValue, responseText, responseValue)
	return w
}

func (w *world) set(t testing.TB, requestText string, requestValue any, responseText string, responseValue any) {
	t.Helper()
	w.request, w.response = requestText, responseText
	headers := headerMap{"x-tenant": "a", "content-type": "application/json", "x-number": "17"}
	w.vars = map[string]any{
		"request": requestValue, "response": responseValue, "status": 200,
		"request_headers": map[string]string(headers), "response_headers": map[string]string{},
	}
	for i, s := range []string{requestText, responseText} {
		if err := w.docs[i].Parse([]byte(s), scan.Limits{}); err != nil {
			t.Fatalf("document %s: %v", s, err)
		}
	}
	w.env = expr.Env{
		Request: w.docs[0].Root(), Response: w.docs[1].Root(), Status: 200,
		RequestHeaders: headers, ResponseHeaders: headerMap{},
	}
}

// outcome is a bool or any error.
func outcome(b bool, err error) string {
	if err != nil {
		return "error"
	}
	return fmt.Sprint(b)
}

// reference is cel-go's outcome: a result that is no bool is an error.
func reference(t testing.TB, text string, w *world) (string, error) {
	t.Helper()
	env, err := environment()
	if err != nil {
		t.Fatal(err)
	}
	checked, iss := env.Compile(text)
	if iss.Err() != nil {
		t.Fatalf("%s: %v", text, iss.Err())
	}
	program, err := env.Program(checked)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	out, _, err := program.Eval(w.vars)
	if err != nil {
		return "error", err
	}
	b, ok := out.(types.Bool)
	if !ok {
		return "error", fmt.Errorf("result %v", out)
	}
	return fmt.Sprint(bool(b)), nil
}

// ours is the outcome of the wire form.
func ours(t testing.TB, wire []byte, w *world) (string, error) {
	t.Helper()
	program, err := expr.Decode(wire)
	if err != nil {
		t.Fatalf("%s: %v", wire, err)
	}
	b, err := program.Bool(&w.env)
	return outcome(b, err), err
}

// compiles says whether cel-go takes the text, so that the generator may be
// wrong about types.
func compiles(t testing.TB, text string) bool {
	env, err := environment()
	if err != nil {
		t.Fatal(err)
	}
	checked, iss := env.Compile(text)
	if iss.Err() != nil {
		return false
	}
	ot := checked.OutputType()
	if !ot.IsExactType(types.BoolType) && !ot.IsExactType(types.DynType) {
		return false
	}
	if _, err := env.Program(checked); err != nil {
		return false
	}
	// A literal of a map whose key was computed: refused in text, on purpose.
	_, err = Compile(text)
	return err == nil || !strings.Contains(err.Error(), "a map key of type")
}

// expectation turns an expression of any type into a condition: that it has
// the value, written as a literal, that cel-go finds for it.
func expectation(t testing.TB, text string, w *world) (string, bool) {
	env, err := environment()
	if err != nil {
		t.Fatal(err)
	}
	checked, iss := env.Compile(text)
	if iss.Err() != nil {
		return "", false
	}
	program, err := env.Program(checked)
	if err != nil {
		return "", false
	}
	out, _, err := program.Eval(w.vars)
	if err != nil {
		return "dyn(" + text + ") == 0", true
	}
	literal := types.Format(out)
	if len(literal) > 500 {
		return "", false
	}
	// Equal lists of different number types are equal: look at the text too.
	return fmt.Sprintf("dyn(%s) == dyn(%s)", text, literal), true
}

// sample is the next expression that cel-go takes, with its world.
func sample(t testing.TB, g *generator, w *world) string {
	for {
		text := g.boolean(g.depth())
		if g.Float64() < 0.4 {
			var ok bool
			if text, ok = expectation(t, g.any(g.depth()), w); !ok {
				continue
			}
		}
		if len(text) < 3000 && compiles(t, text) {
			return text
		}
	}
}

func TestAgreesWithCelGo(t *testing.T) {
	g := newGenerator(1)
	disagree := 0
	counts := map[string]int{}
	operators := map[string]int{}
	var w *world
	for i := range agreeing {
		if i%10 == 0 {
			w = newWorld(t, g)
		}
		text := sample(t, g, w)
		wire, err := Compile(text)
		if err != nil {
			t.Fatalf("%s\nrefused: %v", text, err)
		}
		want, wantErr := reference(t, text, w)
		got, gotErr := ours(t, wire, w)
		if got != want {
			disagree++
			t.Errorf("%s\nwire     %s\nrequest  %s\nresponse %s\ngot  %s (%v)\nwant %s (%v)",
				text, wire, w.request, w.response, got, gotErr, want, wantErr)
		}
		counts[want]++
		countOperators(operators, wire)
		if disagree > 5 {
			t.FailNow()
		}
	}
	t.Logf("outcomes %v, operators %v", counts, operators)
	for _, o := range []string{"true", "false", "error"} {
		if counts[o] < agreeing/10 {
			t.Errorf("only %d of %d expressions gave %s: the generator shows little", counts[o], agreeing, o)
		}
	}
	for _, op := range everyOperator {
		if operators[op] < 20 {
			t.Errorf("operator %q was in %d expressions only", op, operators[op])
		}
	}
}

// everyOperator is every array of the wire form.
var everyOperator = strings.Fields(`d u request response status v . [] has hdr hdr? && || ! ?: == != < <= > >= in
	+ - * / % neg size contains startsWith endsWith isNaN int uint double string bool list map
	all exists exists_one filter map() mapif`)

var operatorAt = regexp.MustCompile(`\["([^"]*)"`)

func countOperators(counts map[string]int, wire []byte) {
	seen := map[string]bool{}
	for _, m := range operatorAt.FindAllSubmatch(wire, -1) {
		if name := string(m[1]); !seen[name] {
			seen[name] = true
			counts[name]++
		}
	}
}

// TestAgreementCanFail breaks one operator at a time: the same comparison has
// to notice each.
func TestAgreementCanFail(t *testing.T) {
	for _, broken := range [][2]string{
		{`["&&",`, `["||",`}, {`["<",`, `["<=",`}, {`["==",`, `["!=",`}, {`["+",`, `["-",`}, {`["*",`, `["+",`},
		{`["all",`, `["exists",`}, {`["exists_one",`, `["exists",`}, {`["has",`, `[".",`}, {`["int",`, `["uint",`},
		{`["d",`, `["u",`}, {`["filter",`, `["map()",`}, {`["startsWith",`, `["contains",`},
	} {
		t.Run(broken[0], func(t *testing.T) {
			g := newGenerator(2)
			var w *world
			for i := range 4000 {
				if i%10 == 0 {
					w = newWorld(t, g)
				}
				text := sample(t, g, w)
				wire, err := Compile(text)
				if err != nil {
					t.Fatal(err)
				}
				bad := strings.Replace(string(wire), broken[0], broken[1], 1)
				program, err := expr.Decode([]byte(bad))
				if err != nil {
					continue
				}
				want, _ := reference(t, text, w)
				if got := outcome(program.Bool(&w.env)); got != want {
					return
				}
			}
			t.Error("4000 expressions did not notice")
		})
	}
}

// TestAgreesAtTheEdges are cases that a generator seldom hits.
func TestAgreesAtTheEdges(t *testing.T) {
	request := `{"zero":0,"neg":-0.0,"one":1,"big":9223372036854775807,"huge":18446744073709551616,"inf":1e999,"nan":NaN,"minf":-Infinity,
		"none":null,"empty":"","text":"abc","uni":"漢字é","esc":"a\"\\\u0041","l":[1,2.5,-3],"nulls":[1,null,NaN],"mixed":["a",1,null,true,[1],{"k":1}],
		"el":[],"em":{},"m":{"a":1,"b":{"c":[{"d":5}]}},"t":true,"f":false,"":7,"a.b":8}`
	w := &world{}
	w.set(t, request, decodeJSON(t, request), `[]`, []any{})
	for _, text := range edges(t) {
		wire, err := Compile(text)
		if err != nil {
			t.Errorf("%s\nrefused: %v", text, err)
			continue
		}
		want, wantErr := reference(t, text, w)
		got, gotErr := ours(t, wire, w)
		if got != want {
			t.Errorf("%s\nwire %s\ngot  %s (%v)\nwant %s (%v)", text, wire, got, gotErr, want, wantErr)
		}
	}
}

// edges are the lines of testdata/edges.cel.
func edges(t testing.TB) []string {
	t.Helper()
	text, err := os.ReadFile("testdata/edges.cel")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, line := range strings.Split(string(text), "\n") {
		if line != "" && !strings.HasPrefix(line, "//") {
			out = append(out, line)
		}
	}
	return out
}

func TestTooMuchIsNotAbsorbed(t *testing.T) {
	numbers := "[" + strings.TrimSuffix(strings.Repeat("1,", 3000), ",") + "]"
	w := &world{}
	w.set(t, numbers, nil, "null", nil)
	wire, err := Compile("request.all(x, request.all(y, x == y && y == x)) || true")
	if err != nil {
		t.Fatal(err)
	}
	_, err = ours(t, wire, w)
	var failed *expr.Error
	if !errors.As(err, &failed) || failed.Code != expr.TooMuch {
		t.Errorf("got %v, want %v", err, &expr.Error{Code: expr.TooMuch})
	}
}

// decodeJSON is encoding/json with bare NaN, Infinity and 1e999.
func decodeJSON(t testing.TB, text string) any {
	t.Helper()
	var doc scan.Document
	if err := doc.Parse([]byte(text), scan.Limits{}); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	v, ok := goValue(doc.Root())
	if !ok {
		t.Fatalf("%s: duplicate keys", text)
	}
	return v
}

// goValue is a document for cel-go. It is not ok with duplicate keys.
func goValue(n scan.Node) (any, bool) {
	switch n.Kind() {
	case scan.Null:
		return nil, true
	case scan.True, scan.False:
		return n.Kind() == scan.True, true
	case scan.Number, scan.NonFinite:
		f, ok := n.Float()
		return f, ok
	case scan.String:
		return string(n.Text(nil)), true
	case scan.Array:
		out := []any{}
		for it := n.Children(); it.Next(); {
			v, ok := goValue(it.Value())
			if !ok {
				return nil, false
			}
			out = append(out, v)
		}
		return out, true
	}
	out := map[string]any{}
	for it := n.Children(); it.Next(); {
		v, ok := goValue(it.Value())
		if _, again := out[string(it.Key())]; again || !ok {
			return nil, false
		}
		out[string(it.Key())] = v
	}
	return out, true
}
