package celc

import (
	"errors"
	"fmt"
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
	for _, text := range strings.Split(strings.TrimSpace(edges), "\n") {
		text = strings.TrimSpace(text)
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

const edges = `
	request.empty.all(x, x.y)
	request.empty.exists(x, true)
	request.empty.map(x, x) == []
	request.text.all(x, true)
	request.t.all(x, true)
	request.none.all(x, true)
	has(request.none.x)
	has(request.text.x)
	has(request.one.x)
	has(request.l.x)
	has(request.missing.x)
	has(request.none)
	request.none.x == 1
	request["a.b"] == 8 && request[""] == 7
	request.l[0] == 1 && request.l[1.0] == 2.5 && request.l[2u] == -3
	request.l[3] == 1
	request.l[-1] == 1
	request.l[0.5] == 1
	request.l[request.nan] == 1
	request.l[request.neg] == 1
	request.l[request.one] == 2.5
	request.l["0"] == 1
	request.l[true] == 1
	request.l[request.none] == 1
	request.m[1] == 1
	request.nan == request.nan
	request.nan != request.nan
	[request.nan] == [request.nan]
	request.nan in [request.nan]
	request.nan in request.nulls
	request.nan < 1.0 || request.nan > 1.0
	request.nan < "a"
	"a" < request.nan
	request.none < request.nan
	request.t < request.nan
	isNaN(request.nan) && !isNaN(request.one)
	isNaN(request.text)
	isNaN(1.0 / 0.0 - 1.0 / 0.0)
	request.nulls.all(x, x > 0)
	request.nulls.exists(x, x > 0)
	request.nulls.exists(x, x < 0)
	request.nulls.exists_one(x, x == 1)
	request.nulls.exists_one(x, x > 0)
	request.nulls.filter(x, x == null) == [null]
	dyn(request.nulls.map(x, x > 0))
	request.mixed.exists(x, x.k == 1)
	request.mixed.all(x, x.k == 1)
	request.mixed == ["a", 1, null, true, [1], {"k": 1}]
	request.mixed == ["a", 1u, null, true, [1.0], {"k": 1}]
	request.m == {"b": {"c": [{"d": 5}]}, "a": 1.0}
	{"a": 1} == request.em || request.em == {}
	request.m.b.c[0].d == 5u
	request.m.exists(k, k == "b") && !request.m.all(k, k == "b")
	request.big == 9223372036854775807
	request.big == 9223372036854775807u
	request.big > 9223372036854775806
	request.big >= 9223372036854775807
	request.huge > 18446744073709551615u
	request.huge == 18446744073709551615u
	int(request.big) > 0
	uint(request.huge) > 0u
	uint(request.big) == 9223372036854775808u
	int(-9.3e18) < 0
	int(request.minf) < 0
	int(request.nan) == 0
	uint(-0.5) == 0u
	uint(request.neg) == 0u
	int("9223372036854775807") == 9223372036854775807
	int("9223372036854775808") == 0
	int("+5") == 5
	int(" 5") == 5
	int("0x10") == 16
	int("1_0") == 10
	double("NaN") != double("nan")
	double("inf") == request.inf
	double("1e999") == request.inf
	double("0x1p-2") == 0.25
	double("1_0.5") == 10.5
	bool("T") && bool("1") && !bool("FALSE")
	bool("yes")
	string(1e20) == "1e+20" && string(1e6) == "1e+06" && string(123456789.0) == "1.23456789e+08"
	string(request.inf) == "+Inf" && string(request.nan) == "NaN" && string(request.neg) == "-0"
	string(5) == "5" && string(5u) == "5" && string(true) == "true"
	string(request.none) == "null"
	string(request.l) == ""
	size(request.uni) == 3 && request.uni.size() == 3
	size(request.esc) == 4 && request.esc == "a\"\\A"
	size(request.l) == 3 && size(request.m) == 2 && size(request.em) == 0
	size(request.one) == 1
	size(request.none) == 0
	9223372036854775807 + 1 > 0
	-9223372036854775808 - 1 < 0
	-(-9223372036854775808) > 0
	-9223372036854775808 / -1 > 0
	-9223372036854775808 % -1 == 0
	5 % -1 == 0 && -5 % 3 == -2 && -5 / 3 == -1
	-9223372036854775808 * -1 > 0
	-1 * -9223372036854775808 > 0
	3037000500 * 3037000500 > 0
	3037000499 * 3037000499 > 0
	18446744073709551615u + 1u > 0u
	1u - 2u == 0u
	4294967296u * 4294967296u > 0u
	1 / 0 == 1
	1 % 0 == 1
	1u / 0u == 1u
	1.0 / 0.0 > 1e308
	request.one / request.zero == request.inf
	request.one % request.one == 0.0
	request.one + 1 == 2
	request.one + 1.0 == 2.0
	request.text + "d" == "abcd"
	dyn(request.text + 1) == "abc1"
	request.l + [4] == [1, 2.5, -3, 4]
	(request.l + [4])[3] == 4
	(request.l + [4])[4] == 4
	dyn(request.l + 4) == []
	-request.one == -1
	-request.text == ""
	-request.t == false
	!request.one
	!request.f
	request.one ? true : false
	request.t ? request.one == 1 : request.missing
	request.missing ? true : true
	(request.t ? request.m : request.l).a == 1
	has((request.f ? request.m : request.l).a)
	has((request.t ? request.m : request.l).a)
	request.missing || true
	true || request.missing
	request.missing && false
	false && request.missing
	request.missing && true
	request.missing || false
	request.one || true
	request.one || false
	request.one && false
	(request.missing || request.none) && false
	request.one
	request.t
	request.missing
	request.text < "abd" && request.text >= "abc" && "Z" < "a"
	request.text < 1
	request.t > request.f
	request.l < request.l
	request.none == null && null == request.none && request.none != 0
	request.none in [null] && null in request.mixed
	"a" in request.mixed && !("z" in request.mixed)
	[1] in request.mixed && {"k": 1} in request.mixed
	"k" in request.m || "a" in request.m
	1 in request.m
	1 in request.one
	"b" in request.text
	{1: "a", 1u: "b"}.size() == 2
	{1: "a", 1: "b"} == {1: "b"}
	dyn({1: "a"})[1u] == "a" && dyn({1u: "a"})[1] == "a" && dyn({1: "a"})[1.0] == "a"
	{request.one: "a"}[1] == "a"
	{request.one: "a"}[1.0] == "a"
	{request.one: "a"}[request.one] == "a"
	1 in {request.one: "a"}
	{request.nan: 1} == {request.nan: 1}
	size({request.nan: 1, request.nan: 2}) == 2
	{request.none: 1}[request.none] == 1
	request.none in {request.none: 1}
	size({request.l: 1, request.l: 2}) == 2
	request.l in {request.l: 1}
	{true: 1}[true] == 1 && true in {true: 1}
	{"a": 1}.a == 1 && has({"a": 1}.a) && !has({"a": 1}.b)
	[1].all(request, request == 1)
	[1].all(request, .request.one == request)
	[[1, 2], [3]].all(x, x.all(x, x > 0))
	[[1, 2], [3]].map(x, x.map(y, y + size(x))) == [[3, 4], [4]]
	[1, 2, 3, 4].map(x, x % 2 == 0, x * 2) == [4, 8]
	[1, 2, 3].filter(x, x > 1).map(x, x + 1).exists(x, x == 4)
	[1, 2].map(x, [1, 2].filter(y, y != x)[0]) == [2, 1]
	request.l.filter(x, x > 0).size() == 2
	request.l.map(x, x * 2.0) == [2.0, 5.0, -6.0]
	dyn(request.l.filter(x, x))
	request.l.map(x, x > 0, x) == [1, 2.5]
	request.l.exists(x, x)
	request.l.all(x, x)
	[true, 1].all(x, x)
	[false, 1].all(x, x)
	[1, false].all(x, x)
	[1, true].exists(x, x)
	[].all(x, false) && ![].exists(x, true)
	[1, 2, 3].exists_one(x, x > 2) && ![1, 2, 3].exists_one(x, x > 1)
	request_headers["x-tenant"] == "a" && request_headers.missing == ""
	has(request_headers.missing) || "x-tenant" in request_headers
	request_headers[request.text] == ""
	request_headers[request.one] == ""
	request.one in request_headers
	has(response_headers.x) || response.size() == 0
	response.all(x, false)
	response.x == 1
	status == 200 && status > 199.5 && status < 201u
	int(request_headers["x-number"]) == 17
	double(request.text) == 1.0
	int(request.f ? 1 : request.one) == 1
	int(request.t ? 1 : request.one) == 1
	dyn(1) == 1.0 && dyn(1u) == 1
	dyn(1) < 1.5 && dyn(2u) > 1
	request.text.contains("b") && request.text.startsWith("") && request.text.endsWith("c")
	request.one.contains("b")
	request.text.contains(request.one)
`

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
