package expr_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/safestate/safestate/internal/expr"
	"github.com/safestate/safestate/internal/scan"
)

type headers map[string]string

func (h headers) Get(name string) (string, bool) {
	v, ok := h[name]
	return v, ok
}

func decode(t testing.TB, wire string) *expr.Program {
	t.Helper()
	p, err := expr.Decode([]byte(wire))
	if err != nil {
		t.Fatalf("%s: %v", wire, err)
	}
	return p
}

func parse(t testing.TB, body string) scan.Node {
	t.Helper()
	doc := new(scan.Document)
	if err := doc.Parse([]byte(body), scan.Limits{}); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return doc.Root()
}

// codeOf is the code of an evaluation's error.
func codeOf(err error) string {
	var e *expr.Error
	if !errors.As(err, &e) {
		return fmt.Sprint(err)
	}
	return (&expr.Error{Code: e.Code}).Error()
}

// The agreement with cel-go is tested in package celc; here are the forms and
// what is ours alone.
func TestBool(t *testing.T) {
	request := `{"n":6000,"s":"crypto","dup":1,"dup":2,"nan":NaN,"l":[1,2,3],"none":null,"Big":1}`
	for _, c := range []struct{ wire, want string }{
		{`true`, "true"},
		{`["==",1,["d",1.0]]`, "true"},
		{`["==",["u",18446744073709551615],["d",18446744073709551616]]`, "true"},
		{`[">",[".",["request"],"n"],["d",5000]]`, "true"},
		{`["has",["request"],"n"]`, "true"},
		{`["has",["request"],"N"]`, "false"},
		{`["has",["request"],"none"]`, "true"},
		{`["&&",["has",["request"],"m"],[">",[".",["request"],"m","x"],1]]`, "false"},
		{`["isNaN",[".",["request"],"nan"]]`, "true"},
		{`["in",[".",["request"],"s"],["list","gambling","crypto"]]`, "true"},
		{`["exists",[".",["request"],"l"],["==",["v",0],2]]`, "true"},
		{`["all",[".",["request"],"l"],["exists",[".",["request"],"l"],["<=",["v",0],["v",1]]]]`, "true"},
		{`["==",["map()",["list",1,2],["+",["v",0],1]],["list",2,3]]`, "true"},
		{`["==",["status"],502]`, "true"},
		{`["==",["hdr","request","x-tenant"],"a"]`, "true"},
		{`["hdr?","request","X-Tenant"]`, "false"},
		{`["hdr","response","x-tenant"]`, "no such key"},
		{`[".",["request"],"dup"]`, "the key occurs more than once"},
		{`["has",["request"],"dup"]`, "the key occurs more than once"},
		{`["in","dup",["request"]]`, "the key occurs more than once"},
		{`["||",["==",["request"],["request"]],false]`, "the key occurs more than once"},
		{`["==",[".",["response"],"x"],1]`, "not available as JSON"},
		{`[".",["request"],"missing"]`, "no such key"},
		{`["[]",[".",["request"],"l"],3]`, "no such index"},
		{`["+",1,["d",1]]`, "no such overload"},
		{`["+",9223372036854775807,1]`, "integer overflow"},
		{`["/",1,0]`, "division by zero"},
		{`["int","x"]`, "cannot convert"},
		{`["int",["d",1],"string"]`, "no such overload"},
		{`["all",1,true]`, "not a list or map"},
		{`5`, "the result is not a bool"},
	} {
		t.Run(c.wire, func(t *testing.T) {
			env := &expr.Env{Request: parse(t, request), Status: 502, RequestHeaders: headers{"x-tenant": "a"}}
			got, err := decode(t, c.wire).Bool(env)
			if err != nil {
				if codeOf(err) != c.want {
					t.Errorf("got %v, want %s", err, c.want)
				}
			} else if fmt.Sprint(got) != c.want {
				t.Errorf("got %v, want %s", got, c.want)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	deep := func(n int) string { return strings.Repeat(`["!",`, n) + "true" + strings.Repeat("]", n) }
	nested := func(n int) string {
		return strings.Repeat(`["all",["list"],`, n) + "true" + strings.Repeat("]", n)
	}
	if _, err := expr.Decode([]byte(deep(expr.MaxDepth - 1))); err != nil {
		t.Errorf("the deepest expression: %v", err)
	}
	if _, err := expr.Decode([]byte(nested(expr.MaxVars))); err != nil {
		t.Errorf("the most variables: %v", err)
	}
	for _, wire := range []string{
		``, `[]`, `[1]`, `{}`, `["d"]`, `["d","1"]`, `["d",1,2]`, `["u",-1]`, `["u",1.5]`, `["u",18446744073709551616]`, `1.5`, `NaN`, `["d",NaN]`,
		`9223372036854775808`, `["request",1]`, `["v",0]`, `["v","0"]`, `["v",-1]`, `["all",["list"],["v",1]]`, `["all",["v",0],true]`,
		`["&&",["all",["list"],true],["v",0]]`, `[".",["request"]]`, `[".",["request"],1]`, `["has",["request"],"a","b"]`, `["[]",["request"]]`,
		`["hdr","cookie","a"]`, `["hdr","request"]`, `["hdr","request","a","b"]`, `["&&",true]`, `["!",true,true]`, `["?:",true,1]`,
		`["<",1]`, `["matches","a","b"]`, `["map",1]`, `["all",["list"]]`, `["mapif",["list"],true]`, `["int"]`, `["int",1,"list"]`, `["int",1,2]`,
		`["int",1,"int",1]`, `true true`, `["list",`, deep(expr.MaxDepth), nested(expr.MaxVars + 1),
		`["list"` + strings.Repeat(",1", expr.MaxNodes) + `]`, `"` + strings.Repeat("a", expr.MaxWire) + `"`,
	} {
		if p, err := expr.Decode([]byte(wire)); !errors.Is(err, expr.ErrWire) {
			t.Errorf("%.80s: got %v, %v, want %v", wire, p, err, expr.ErrWire)
		}
	}
}

// TestBounded: work that is quadratic and more in the body ends early, and
// nothing absorbs that.
func TestBounded(t *testing.T) {
	numbers := "[" + strings.TrimSuffix(strings.Repeat("1,", 50_000), ",") + "]"
	texts := "[" + strings.TrimSuffix(strings.Repeat(`"`+strings.Repeat("a", 1000)+`",`, 900), ",") + "]"
	for name, c := range map[string]struct{ wire, body string }{
		"nested":        {`["||",["all",["request"],["all",["request"],["all",["request"],["==",["v",0],["v",2]]]]],true]`, numbers},
		"equality":      {`["||",["all",["request"],["==",["request"],["request"]]],true]`, numbers},
		"concat":        {`["||",["all",["request"],["!=",["+",["request"],["request"]],["list"]]],true]`, numbers},
		"index":         {`["||",["all",["request"],["==",["[]",["request"],49999],["[]",["request"],0]]],true]`, numbers},
		"texts":         {`["||",["all",["request"],["all",["request"],["==",["+",["v",0],["v",1]],["+",["v",1],["v",0]]]]],true]`, texts},
		"lists of text": {`["||",["==",["size",["map()",["request"],["map()",["request"],["+",["v",0],["v",1]]]]],1],true]`, texts},
		"membership":    {`["||",["all",["request"],["!",["in",["+",["v",0],"b"],["request"]]]],true]`, texts},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decode(t, c.wire).Bool(&expr.Env{Request: parse(t, c.body)})
			if codeOf(err) != (&expr.Error{Code: expr.TooMuch}).Error() {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestWholeBody: a simple condition on every number of a body of the default
// limit is within the bound, close to the limit too, where the bounds of the
// array decide nothing.
func TestWholeBody(t *testing.T) {
	body := "[" + strings.TrimSuffix(strings.Repeat("1,", 1<<19-1), ",") + "]"
	for wire, want := range map[string]bool{
		`["exists",["request"],["<",["v",0],["d",0]]]`:                             false,
		`["all",["request"],["<=",["v",0],1]]`:                                     true,
		`["exists",["request"],["<",["*",["v",0],["v",0]],["d",0]]]`:               false,
		`["all",["request"],["&&",[">=",["v",0],["d",0]],["<=",["v",0],["u",1]]]]`: true,
	} {
		got, err := decode(t, wire).Bool(&expr.Env{Request: parse(t, body)})
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", wire, got, err, want)
		}
	}
}

// TestBounds compares what a numeric array's minimum and maximum decide with
// the same condition element by element (over a list that the expression
// built), around the limits.
func TestBounds(t *testing.T) {
	values := []float64{-1, math.Nextafter(-1, 0), -0.1, 0, 5e-324, 0.1, math.Nextafter(0.1, 1), 0.30000000000000004, 1, math.Nextafter(1, 2), 9007199254740993, 1e308}
	literals := []string{"0", "1", "-1", `["d",0.1]`, `["d",0.3]`, `["u",1]`, `["d",1e308]`, `["d",-0.0]`, `["d",5e-324]`, "9007199254740993", "9007199254740992"}
	n := 0
	for _, a := range values {
		for _, b := range values {
			body := fmt.Sprintf("[%v,%v]", a, b)
			env := &expr.Env{Request: parse(t, body)}
			for i, l := range literals {
				for _, op := range []string{"<", "<=", ">", ">="} {
					other := literals[(i+3)%len(literals)]
					for _, fold := range []string{"all", "exists"} {
						join := map[string]string{"all": "&&", "exists": "||"}[fold]
						for _, pred := range []string{
							fmt.Sprintf(`["%s",["v",0],%s]`, op, l),
							fmt.Sprintf(`["%s",%s,["v",0]]`, op, l),
							fmt.Sprintf(`["%s",["%s",["v",0],%s],[">",["v",0],%s]]`, join, op, l, other),
						} {
							got, err := decode(t, fmt.Sprintf(`["%s",["request"],%s]`, fold, pred)).Bool(env)
							want, wantErr := decode(t, fmt.Sprintf(`["%s",["map()",["request"],["v",0]],%s]`, fold, pred)).Bool(env)
							if err != nil || wantErr != nil || got != want {
								t.Fatalf("%s of %s: %s: got %v, %v, want %v, %v", fold, body, pred, got, err, want, wantErr)
							}
							n++
						}
					}
				}
			}
		}
	}
	t.Logf("%d cases", n)
}

func TestNullsAndNaNAreNotDecidedByBounds(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{`[1,null]`, "no such overload"},
		{`[-1,null]`, "true"},
		{`[1,NaN]`, "false"},
		{`[1,-Infinity]`, "true"},
		{`[1,-1e999]`, "true"},
		{`[]`, "false"},
	} {
		got, err := decode(t, `["exists",["request"],["<",["v",0],0]]`).Bool(&expr.Env{Request: parse(t, c.body)})
		if err != nil && codeOf(err) != c.want || err == nil && fmt.Sprint(got) != c.want {
			t.Errorf("%s: got %v, %v, want %s", c.body, got, err, c.want)
		}
	}
}

// TestConcurrent: one program, many requests.
func TestConcurrent(t *testing.T) {
	p := decode(t, `["exists",[".",["request"],"l"],["==",["*",["v",0],2],[".",["request"],"n"]]]`)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				n := (i*200 + j) % 7
				env := &expr.Env{Request: parse(t, fmt.Sprintf(`{"l":["a",%d,3],"n":"x"}`, n))}
				if got, err := p.Bool(env); err == nil {
					t.Errorf("got %v, want an error: 2 is an int", got)
				}
			}
		})
	}
	wg.Wait()
}

func TestNoAllocation(t *testing.T) {
	env := &expr.Env{Request: parse(t, `{"parameters":{"amount":6000,"l":[1,2,3]}}`)}
	p := decode(t, `["&&",["has",["request"],"parameters"],[">",[".",["request"],"parameters","amount"],["d",5000]],["all",[".",["request"],"parameters","l"],[">",["v",0],0]]]`)
	if n := testing.AllocsPerRun(100, func() { _, _ = p.Bool(env) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, wire := range []string{
		`true`, `["&&",["has",["request"],"a"],[">",[".",["request"],"a","b"],["d",5.5]]]`, `["all",["request"],["<",["v",0],["u",3]]]`,
		`["mapif",["list",1,2],["==",["v",0],1],["map","a",["v",0]]]`, `["int",["hdr","request","x"],"string"]`, `["?:",["in","a",["response"]],["size","a"],["neg",1]]`,
		`["exists_one",["filter",["request"],["isNaN",["v",0]]],["[]",["v",0],0]]`, `["startsWith",["string",["status"]],"2"]`,
	} {
		f.Add([]byte(wire), []byte(`{"a":{"b":6},"l":[1,null,NaN]}`))
	}
	f.Fuzz(func(t *testing.T, wire, body []byte) {
		p, err := expr.Decode(wire)
		if err != nil {
			return
		}
		var doc scan.Document
		env := &expr.Env{RequestHeaders: headers{"x": "1"}}
		if doc.Parse(body, scan.Limits{}) == nil {
			env.Request, env.Response = doc.Root(), doc.Root()
		}
		a, errA := p.Bool(env)
		b, errB := p.Bool(env)
		if a != b || fmt.Sprint(errA) != fmt.Sprint(errB) {
			t.Errorf("%s: %v, %v then %v, %v", wire, a, errA, b, errB)
		}
	})
}
