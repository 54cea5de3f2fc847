package celc

import (
	"errors"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/expr"
	"github.com/safestate/safestate/internal/scan"
)

// TestWire holds the wire form: a host of the next build reads policies of
// this one.
func TestWire(t *testing.T) {
	for text, want := range map[string]string{
		`true`:                               `true`,
		`request.parameters.amount > 5000.0`: `[">",[".",["request"],"parameters","amount"],["d",5000]]`,
		`has(request.a) && has(request.a.b) && status == 200`:    `["&&",["has",["request"],"a"],["has",[".",["request"],"a"],"b"],["==",["status"],200]]`,
		`(status == 1 || status == 2) || !(status == 3)`:         `["||",["==",["status"],1],["==",["status"],2],["!",["==",["status"],3]]]`,
		`response.outputs[0].data.exists(x, x < 0.0)`:            `["exists",[".",["[]",[".",["response"],"outputs"],0],"data"],["<",["v",0],["d",0]]]`,
		`request.c in ["gambling", "crypto"]`:                    `["in",[".",["request"],"c"],["list","gambling","crypto"]]`,
		`request_headers["x-a"] == request_headers.accept`:       `["==",["hdr","request","x-a"],["hdr","request","accept"]]`,
		`"x-a" in response_headers || has(response_headers.b)`:   `["||",["hdr?","response","x-a"],["hdr?","response","b"]]`,
		`request.l.all(x, x.all(y, y == x))`:                     `["all",[".",["request"],"l"],["all",["v",0],["==",["v",1],["v",0]]]]`,
		`request.l.filter(x, x > 1u).size() == 1`:                `["==",["size",["filter",[".",["request"],"l"],[">",["v",0],["u",1]]]],1]`,
		`request.l.map(x, x > 1, x) == request.l.map(x, -x)`:     `["==",["filter",[".",["request"],"l"],[">",["v",0],1]],["map()",[".",["request"],"l"],["neg",["v",0]]]]`,
		`request.l.exists_one(x, x == 'é<"')`:                    `["exists_one",[".",["request"],"l"],["==",["v",0],"é<\""]]`,
		`int(request.a) == int("5") && dyn(string(1.5)) != null`: `["&&",["==",["int",[".",["request"],"a"]],["int","5","string"]],["!=",["string",["d",1.5],"double"],null]]`,
		`{"a": 1}.a == 1 ? request.t : isNaN(request.n)`:         `["?:",["==",[".",["map","a",1],"a"],1],[".",["request"],"t"],["isNaN",[".",["request"],"n"]]]`,
		`request.l.map(x, x > 1, x * 2) == []`:                   `["==",["mapif",[".",["request"],"l"],[">",["v",0],1],["*",["v",0],2]],["list"]]`,
		`request`:                                                `["request"]`,
	} {
		got, err := Compile(text)
		if err != nil || string(got) != want {
			t.Errorf("%s\ngot  %s, %v\nwant %s", text, got, err, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`request.a.matches("^x")`, `1:18: matches() is not supported: regular expressions are not evaluated on the data path: use contains, startsWith, endsWith or ==`},
		{`matches(request.a, "x")`, `1:8: matches() is not supported`},
		{`timestamp(request.a) > timestamp("2026-01-01T00:00:00Z")`, `1:10: timestamp() is not supported: there is no time type`},
		{`duration("1s") == duration("2s")`, `1:9: duration() is not supported`},
		{`type(request.a) == int`, `1:5: type() is not supported: compare values, not types`},
		{`request.a == int`, `1:14: int is a type or a named constant, which are not supported: compare plain values`},
		{`request.a == b"x"`, `1:14: bytes literals are not supported: JSON has texts`},
		{`bytes(request.a) == bytes("a")`, `1:6: bytes() is not supported`},
		{`google.protobuf.Int32Value{value: 1} == 1`, `1:27: messages such as google.protobuf.Int32Value{} are not supported`},
		{`google.protobuf.NullValue.NULL_VALUE == 0`, `1:26: google.protobuf.NullValue.NULL_VALUE is a type or a named constant, which are not supported`},
		{`{1.5: 1} == request`, `1:2: a map key of type double is not supported: keys are string, int, uint or bool`},
		{`size(request_headers) > 1`, `1:6: request_headers can only be read by name: request_headers["x-name"], has(request_headers.name) or "x-name" in request_headers`},
		{`response_headers.all(k, k != "")`, `1:1: response_headers can only be read by name`},
		{`request_headers["X-Tenant"] == "a"`, `1:17: header names are lower case: write "x-tenant" instead of "X-Tenant"`},
		{`"X-Tenant" in request_headers`, `1:1: header names are lower case`},
		{`has(request_headers.Accept)`, `header names are lower case: write "accept"`},
		{`has(request_headers.accept) && has(request_headers.accept.x)`, `type 'string' does not support field selection`},
		{`foo == 1`, `1:1: unknown name 'foo': the variables are request, response, status, request_headers, response_headers; the functions are size`},
		{`foo(1)`, `1:4: unknown name 'foo'`},
		{`status > "a"`, `1:8: found no matching overload for > applied to '(int, string)'`},
		{`status`, `1:1: the expression gives int, want bool: compare it with something, for example with == or >`},
		{`"a"`, `1:1: the expression gives string, want bool`},
		{`request.a >`, `1:12: Syntax error`},
		{"status == 200 &&\n  request.a.matches('x')", `2:20: matches() is not supported`},
		{``, `Syntax error`},
		{`request[null] == 1`, `1:1: invalid qualifier type`},
		{`status == ` + strings.Repeat("(", 300) + `1` + strings.Repeat(")", 300), `recursion`},
		{`request.a == ` + strings.Repeat("-(", 70) + `request.b` + strings.Repeat(")", 70), `more than 64 operators inside each other`},
		{`request.a in [` + strings.Repeat("1,", 1100) + `1]`, `1:1: the expression is too large: "list": more than 1024 operators and literals`},
		{strings.Repeat(" ", expr.MaxWire+1), `1:1: the expression has 8193 bytes, at most 8192`},
		{`[[1]].all(a,a.all(b,[b].all(c,[c].all(d,[d].all(e,[e].all(f,[f].all(g,[g].all(h,[h].all(i,i>0)))))))))`, `1:1: the expression is too large: "all": more than 8 comprehensions inside each other`},
	} {
		got, err := Compile(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.80s\ngot  %s, %v\nwant %s", c.text, got, err, c.want)
		}
	}
}

// FuzzCompileEval: whatever compiles agrees with cel-go on any document.
func FuzzCompileEval(f *testing.F) {
	document := `{"a":1,"l":[1,2.5,null,NaN],"s":"abc","m":{"k":[true]}}`
	for _, text := range edges(f) {
		f.Add(text, document)
	}
	f.Fuzz(func(t *testing.T, text, document string) {
		if len(text) > 300 || len(document) > 300 || strings.Contains(text, "map") || strings.Contains(text, "filter") {
			return // cel-go has no bound on work; and the order of a map's keys is random there
		}
		wire, err := Compile(text)
		if err != nil {
			return
		}
		var doc scan.Document
		if doc.Parse([]byte(document), scan.Limits{}) != nil {
			return
		}
		value, ok := goValue(doc.Root())
		if !ok {
			return
		}
		w := &world{}
		w.set(t, document, value, "null", nil)
		got, gotErr := ours(t, wire, w)
		var failed *expr.Error
		if errors.As(gotErr, &failed) && failed.Code == expr.TooMuch {
			return
		}
		want, wantErr := reference(t, text, w)
		if got != want {
			t.Errorf("%s\nwire %s\ndocument %s\ngot  %s (%v)\nwant %s (%v)", text, wire, document, got, gotErr, want, wantErr)
		}
	})
}

// TestFunctionListIsWhole: what an error offers compiles.
func TestFunctionListIsWhole(t *testing.T) {
	examples := map[string]string{
		"size": `size("a") == 1`, "contains": `"a".contains("a")`, "startsWith": `"a".startsWith("a")`, "endsWith": `"a".endsWith("a")`,
		"int": `int("1") == 1`, "uint": `uint("1") == 1u`, "double": `double("1") == 1.0`, "string": `string(1) == "1"`, "bool": `bool("true")`,
		"dyn": `dyn(1) == 1.0`, "isNaN": `!isNaN(1.0)`, "has": `!has({}.a)`, "all": `[1].all(x, x == 1)`, "exists": `[1].exists(x, x == 1)`,
		"exists_one": `[1].exists_one(x, x == 1)`, "filter": `[1].filter(x, x == 1) == [1]`, "map": `[1].map(x, x) == [1]`,
	}
	for _, name := range strings.Split(functionList, ", ") {
		wire, err := Compile(examples[name])
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		p, err := expr.Decode(wire)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := p.Bool(&expr.Env{}); !ok || err != nil {
			t.Errorf("%s: got %v, %v, want true", name, ok, err)
		}
	}
}
