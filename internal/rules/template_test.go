package rules_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/rules"
	"github.com/safestate/safestate/internal/scan"
)

const request = `{"id":"r\u0031","n":1.50,"s":"a \"b\"","o":{"x y":[1,2],"empty":[]},"bad":[1,NaN],"worse":{"a":[{"b":Infinity}]},"nulls":[null,1],
	"twice":1,"twice":2,"items":[
	{"id":"a","at":"2026-01-02T00:00:00Z","rank":2},
	{"id":"b","at":"2026-01-03T00:00:00Z","rank":10},
	{"id":"c","rank":"x"},
	{"id":"d","at":"2026-01-01T00:00:00Z","rank":2,"in":{"x":1}},
	{"id":"e","at":null}]}`

func fill(t testing.TB, text, body string) (string, error) {
	t.Helper()
	template, err := rules.CompileTemplate(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	v := &rules.Values{Score: 0.9, Confidence: 0.4, Reasons: []string{"high_amount", "q\"\\\n\x01é"}}
	if body != "" {
		v.Request = parse(t, body)
	}
	got, err := template.Fill([]byte("kept "), v)
	if err != nil {
		if string(got) != "kept " {
			t.Errorf("%s: an error changed dst to %s", text, got)
		}
		return "", err
	}
	out, _ := strings.CutPrefix(string(got), "kept ")
	if !json.Valid([]byte(out)) {
		t.Errorf("%s: not JSON: %s", text, out)
	}
	return out, nil
}

func TestFill(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{"a": {{score}}, "b": {{ confidence }}, "c": {{reasons}}, "d": {{count reasons}}}`, `{"a": 0.9, "b": 0.4, "c": ["high_amount","q\"\\\u000a\u0001é"], "d": 2}`},
		{`[1]`, `[1]`},
		{`{"n": {{request.n}}, "s": {{request.s}}}`, `{"n": 1.50, "s": "a \"b\""}`},
		{`{{request.o['x y'][1]}}`, `2`},
		{`{{request.nulls}}`, `[null,1]`},
		{`{{request['o']}}`, `{"x y":[1,2],"empty":[]}`},
		{`{"id": {{id}}, "x": 1}`, `{"id": "r\u0031", "x": 1}`},
		{`{"x": {{request.o['x y']}}, "y":{"z":{{score}}}}`, `{"x": [1,2], "y":{"z":0.9}}`},
		{`{{pick id from sort request.items by at asc}}`, `["d","a","b","c","e"]`},
		{`{{pick id from sort request.items by at desc}}`, `["b","a","d","c","e"]`},
		{`{{pick id from sort request.items by rank asc}}`, `["a","d","b","c","e"]`},
		{`{{pick id from sort request.items by rank desc}}`, `["b","a","d","c","e"]`},
		{`{{pick id from sort request.items by in.x asc}}`, `["d","a","b","c","e"]`},
		{`{{pick id from first 2 sort request.items by at asc}}`, `["d","a"]`},
		{`{{pick id from sort first 2 request.items by at desc}}`, `["b","a"]`},
		{`{{first 1 request.items}}`, `[{"id":"a","at":"2026-01-02T00:00:00Z","rank":2}]`},
		{`{{first 9 request.o['x y']}}`, `[1,2]`},
		{`[{{count request.items}},{{count first 2 request.items}},{{count request.o.empty}}]`, `[5,2,0]`},
		{`{{sort request.o.empty by x asc}}`, `[]`},
	} {
		if got, err := fill(t, c.text, request); err != nil || got != c.want {
			t.Errorf("%s\ngot  %s, %v\nwant %s", c.text, got, err, c.want)
		}
	}
}

func TestID(t *testing.T) {
	for _, c := range []struct{ text, body, want string }{
		{`{"id": {{id}}, "x": 1}`, `{}`, `{ "x": 1}`},
		{`{"x": 1, "id" : {{id}}}`, `{}`, `{"x": 1}`},
		{"{\"x\": 1,\n \"id\": {{id}}\n}", `{"id":null}`, "{\"x\": 1\n}"},
		{`{"id": {{id}}}`, `{"id":5}`, `{}`},
		{`{"id":{{id}},"x":{{score}}}`, `[]`, `{"x":0.9}`},
		{`{"a":{"id":{{id}}},"b":{"id":{{id}},"c":1}}`, ``, `{"a":{},"b":{"c":1}}`},
		{`{"id":{{id}},"id2":{{id}},"id3":{{id}}}`, `{}`, `{}`},
		{`{"x":[{{id}}]}`, `{}`, `{"x":[null]}`},
		{`{{id}}`, `{}`, `null`},
		{`{"id":{{id}},"x":1}`, `{"id":""}`, `{"id":"","x":1}`},
	} {
		if got, err := fill(t, c.text, c.body); err != nil || got != c.want {
			t.Errorf("%s of %s\ngot  %s, %v\nwant %s", c.text, c.body, got, err, c.want)
		}
	}
}

func TestCannotFill(t *testing.T) {
	for _, c := range []struct{ text, body, want string }{
		{`{{request.missing}}`, request, "request.missing: the request has no such value"},
		{`{{request.items[9]}}`, request, "the request has no such value"},
		{`{{request.n}}`, ``, "the request has no JSON body"},
		{`{{request}}`, request, "NaN or an infinity"},
		{`{{request.bad}}`, request, "NaN or an infinity"},
		{`{{request.worse}}`, request, "NaN or an infinity"},
		{`{{first 1 request.worse.a}}`, request, "NaN or an infinity"},
		{`{{request.twice}}`, request, "more than once"},
		{`{{first 3 request.n}}`, request, "request.n: not an array"},
		{`{{pick at from request.items}}`, request, "pick at: element 2"},
		{`{"id":{{id}}}`, `{"id":"a","id":"b"}`, "more than one id"},
		{`{"a":[` + strings.Repeat(`{{request.a}},`, 100) + `1]}`, `{"a":"` + strings.Repeat("x", 200_000) + `"}`, "over 8388608 bytes"},
	} {
		if got, err := fill(t, c.text, c.body); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: got %.60s, %v, want %s", c.text, got, err, c.want)
		}
	}
	template, err := rules.CompileTemplate(`{{score}}`)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := template.Fill(nil, &rules.Values{Score: math.NaN()}); err == nil {
		t.Errorf("a score of NaN gave %s", got)
	}
}

func TestTemplateRefused(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{{nope}}`, "{{nope}}: unknown; allowed are {{score}}, {{confidence}}"},
		{`{{ }}`, "empty; allowed are"},
		{`{{score`, "{{score has no }}"},
		{`{{response.a}}`, "unknown"},
		{`{{requesta}}`, "unknown"},
		{`{{request.}}`, "{{request.}}"},
		{`{{request.a[*]}}`, "[*] names many"},
		{`{{request.a[}}`, "{{request.a[}}"},
		{`{{sort request.a}}`, "want sort LIST by FIELD asc"},
		{`{{sort request.a by x up}}`, "want sort LIST by FIELD asc"},
		{`{{sort by x asc}}`, "want sort LIST by FIELD asc"},
		{`{{first request.a}}`, "unknown"},
		{`{{first 0 request.a}}`, "want a number from 1 to 100000"},
		{`{{first x request.a}}`, "want a number from 1"},
		{`{{pick x request.a}}`, "unknown"},
		{`{{count}}`, "unknown"},
		{`{{count score}}`, "unknown"},
		{`{{reverse request.a}}`, "unknown"},
		{`{"a": "{{request.s}}"}`, "{{request.s}} is inside a JSON string"},
		{`{"a": "\"{{score}}"}`, "is inside a JSON string"},
		{`{"a": {{score}}`, "not JSON once it is filled, such as {\"a\": []"},
		{`{"a": {{score}}{{score}}}`, "not JSON"},
		{`{"a": 1{{score}}}`, "not JSON"},
		{`{"a": {{request.n}}e5}`, "not JSON"},
		{`{ {{id}}: 1}`, "not JSON"},
		{`{"id": {{id}}, "a": NaN}`, "JSON has no NaN"},
		{``, "not JSON"},
	} {
		if _, err := rules.CompileTemplate(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.text, err, c.want)
		}
	}
}

func TestNeeds(t *testing.T) {
	for text, want := range map[string][2]bool{
		`1`: {}, `{{score}}`: {false, true}, `{{count reasons}}`: {false, true}, `{"id":{{id}}}`: {true, false},
		`[{{first 1 request.a}},{{confidence}}]`: {true, true},
	} {
		template, err := rules.CompileTemplate(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]bool{template.NeedsRequest(), template.NeedsScore()}; got != want {
			t.Errorf("%s: needs request, score %v, want %v", text, got, want)
		}
	}
}

// FuzzTemplate: whatever compiles gives JSON or an error.
func FuzzTemplate(f *testing.F) {
	f.Add(`{"id": {{id}}, "a": {{request.n}}, "b": [{{score}},{{confidence}}], "c": {{reasons}}}`, request)
	f.Add(`{"x": {{first 2 sort request.items by at desc}}, "id": {{id}}}`, request)
	f.Add(`[{{pick id from request.items}},{{count request.items}}]`, request)
	f.Fuzz(func(t *testing.T, text, body string) {
		template, err := rules.CompileTemplate(text)
		if err != nil {
			return
		}
		var doc scan.Document
		v := &rules.Values{Score: 0.5, Reasons: []string{body}}
		if doc.Parse([]byte(body), scan.Limits{}) == nil {
			v.Request = doc.Root()
		}
		if got, err := template.Fill(nil, v); err == nil && !json.Valid(got) {
			t.Errorf("%q over %q: not JSON: %q", text, body, got)
		}
	})
}
