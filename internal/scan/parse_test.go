package scan

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// required are texts that JSON requires a reader to accept, in the manner of
// the public suites' y_ cases.
var required = []string{
	`[]`, `{}`, `[ ]`, `{ }`, ` [] `, "\n\t\r []\n", `""`, `" "`, `null`, `true`, `false`, `0`, `-0`, `1`, `-1`, `42`,
	`[[]   ]`, `[""]`, `["a"]`, `[false]`, `[null, 1, "1", {}]`, `[null]`, "[1\n]", ` [1]`, `[1,null,null,null,2]`, `[2] `,
	`[123e65]`, `[0e+1]`, `[0e1]`, `[ 4]`, `[-0]`, `[-123]`, `[-1]`, `[1E22]`, `[1E-2]`, `[1E+2]`, `[123e45]`, `[123.456e78]`,
	`[1e-2]`, `[1e+2]`, `[123]`, `[123.456789]`, `[1e308]`, `[-1e308]`, `[1e999]`, `[1e-999]`, `[20e1]`, `[0.1]`, `[0.0]`,
	`[-0.000000000000000000000000000000000000000000000000000000001]`,
	`{"asd":"sdf","dfg":"fgh"}`, `{"asd":"sdf"}`, `{"a":"b","a":"c"}`, `{"a":"b","a":"b"}`, `{"":0}`, `{"foo\u0000bar": 42}`,
	`{"min": -1.0e+28, "max": 1.0e+28}`, `{"x":[{"id":"xxxxxxxx"}], "id": "xxxxxxxx"}`, `{"a":[]}`, "{\"a\":\n\"b\"}", `{"title":"\u041f"}`,
	`["\u0060\u012a\u12AB"]`, `["\uD801\udc37"]`, `["\ud83d\ude39\ud83d\udc8d"]`, `["\"\\\/\b\f\n\r\t"]`, `["\\u0000"]`, `["\""]`,
	`["a/*b*/c/*d//e"]`, `["\\a"]`, `["\\n"]`, `["\u0012"]`, `["\uFFFF"]`, `["asd"]`, `[ "asd"]`, "[\"\U0010ffff\"]", "[\"\uffff\"]",
	`["\u0000"]`, `["\u002c"]`, "[\"π\"]", "[\"\U0001bfff\"]", `["asd "]`, "\" \"", `["\uD834\uDd1e"]`, `["\u0821"]`, `["\u0123"]`,
	"[\"\u2028\"]", "[\"\u2029\"]", `["\u0061\u30af\u30EA\u30b9"]`, "[\"new\u00A0line\"]", "[\"\x7f\"]", "[\"\ufdd0\"]", "[\"\u200b\"]", `["\u2064"]`,
	`["\u005C"]`, `["\u0022"]`, "[\"aa\x7faaaaaaaaaa\"]", "[\"⍂㈴⍂\"]", `{"a":{"b":[1,{"c":[[],[1],["x",1]]}]}}`,
	`["NaN","Infinity"]`, `{"NaN":"nan"}`, `[[1,2],[3,4]]`, `[1,[2,[3,[4,"x"]]]]`, "[1.5 , 2.5\t,\r\n3.5]", `[0.123456789012345678901234567890]`,
	`[0.1,0.10000000149011612,0.5, 0.25,1,22,333,-0.75,1.0e-5,1e5,12345678,123456789.125,99999999999999999999]`,
	// What readers may refuse and this one takes: lone and inverted surrogates.
	`["\uDADA"]`, `["\uD888\u1234"]`, `["\uD800\n"]`, `["\uDd1ea"]`, `["\uD800\uD800\n"]`, `["\ud800"]`, `["\ud800abc"]`, `["\uDd1e\uD834"]`, `["\uDFAA"]`,
}

// forbidden are texts that JSON forbids, in the manner of the suites' n_
// cases, with the code and offset they are refused with.
var forbidden = []struct {
	text   string
	code   Code
	offset int
}{
	{"", Empty, 0}, {" \n", Empty, 2}, {"\ufeff{}", BOM, 0}, {"\ufeff", BOM, 0}, {"\xff\xfe[\x00]\x00", Syntax, 0},
	{`[1 true]`, Syntax, 3}, {`[a]`, Syntax, 1}, {`["": 1]`, Syntax, 3}, {`[""],`, Trailing, 4}, {`[,1]`, Syntax, 1}, {`[1,,2]`, Syntax, 3},
	{`["x",,]`, Syntax, 5}, {`["x"]]`, Trailing, 5}, {`["",]`, Syntax, 4}, {`["x"`, Truncated, 4}, {`[x`, Syntax, 1}, {`[3[4]]`, Syntax, 2},
	{`[1:2]`, Syntax, 2}, {`[,]`, Syntax, 1}, {`[-]`, Syntax, 2}, {`[   , ""]`, Syntax, 4}, {"[\"a\",\n4\n,1,", Truncated, 11}, {`[1,]`, Syntax, 3},
	{`[1,,]`, Syntax, 3}, {`[*]`, Syntax, 1}, {`[""`, Truncated, 3}, {`[1,`, Truncated, 3}, {`[1`, Truncated, 2}, {`[{}`, Truncated, 3},
	{`[`, Truncated, 1}, {`{`, Truncated, 1}, {`[fals]`, Syntax, 5}, {`[nul]`, Syntax, 4}, {`[tru]`, Syntax, 4}, {`nul`, Truncated, 3}, {`[Null]`, Syntax, 2},
	{`[-01]`, Syntax, 3}, {`[01]`, Syntax, 2}, {`[012]`, Syntax, 2}, {`[-012]`, Syntax, 3}, {`[0.e1]`, Syntax, 3}, {`[2.]`, Syntax, 3}, {`[2.e3]`, Syntax, 3},
	{`[.123]`, Syntax, 1}, {`[.-1]`, Syntax, 1}, {`[-.5]`, Syntax, 2}, {`[0e]`, Syntax, 3}, {`[0e+]`, Syntax, 4}, {`[0E+]`, Syntax, 4}, {`[1.0e]`, Syntax, 5},
	{`[1.0e-]`, Syntax, 6}, {`[1eE2]`, Syntax, 3}, {`[1+2]`, Syntax, 2}, {`[+1]`, Syntax, 1}, {`[++1]`, Syntax, 1}, {`[--1]`, Syntax, 2}, {`[0x1]`, Syntax, 2},
	{`[1 000]`, Syntax, 3}, {`[1.2.3]`, Syntax, 4}, {`[1ea]`, Syntax, 3}, {`[1a]`, Syntax, 2}, {"[0\xef\xbc\x91]", Syntax, 2}, {`[- 1]`, Syntax, 2},
	{`-`, Truncated, 1}, {`1.`, Truncated, 2}, {`1e`, Truncated, 2}, {`1e+`, Truncated, 3}, {`01`, Trailing, 1}, {`2 3`, Trailing, 2}, {`1]`, Trailing, 1},
	{`[nan]`, Syntax, 2}, {`[NAN]`, Syntax, 2}, {`[-NaN]`, Syntax, 2}, {`[inf]`, Syntax, 1}, {`[+Infinity]`, Syntax, 1}, {`[Infinit]`, Syntax, 8},
	{`[-Inf]`, Syntax, 5}, {`Na`, Truncated, 2}, {`[NaN1]`, Syntax, 4}, {`{NaN:1}`, Syntax, 1},
	{`["x", truth]`, Syntax, 9}, {`{[: "x"}`, Syntax, 1}, {`{"x", null}`, Syntax, 4}, {`{"x"::"b"}`, Syntax, 5}, {`{"a":"a" 123}`, Syntax, 9}, {`{key: 'value'}`, Syntax, 1},
	{`{"a" b}`, Syntax, 5}, {`{:"b"}`, Syntax, 1}, {`{"a" "b"}`, Syntax, 5}, {`{"a":`, Truncated, 5}, {`{"a"`, Truncated, 4}, {`{"a`, Truncated, 3}, {`{1:1}`, Syntax, 1},
	{`{"id":0,}`, Syntax, 8}, {`{"id":0,,}`, Syntax, 8}, {`{'a':0}`, Syntax, 1}, {`{"a":"b"}/**/`, Trailing, 9}, {`{"a":"b"}#`, Trailing, 9}, {`{"a":/*x*/"b"}`, Syntax, 5},
	{`{a: "b"}`, Syntax, 1}, {`{"a":"a`, Truncated, 7}, {`{"a":1`, Truncated, 6}, {`{"a":1,`, Truncated, 7}, {`{"a":1]`, Syntax, 6}, {`[1}`, Syntax, 2}, {`["x"}`, Syntax, 4},
	{`["\x"]`, Syntax, 3}, {`["\u00A"]`, Syntax, 7}, {`["\u"]`, Syntax, 4}, {`["\`, Truncated, 3}, {`["\u12`, Truncated, 6}, {`["\uqqqq"]`, Syntax, 4}, {`["\` + "\u00e9" + `"]`, Syntax, 3},
	{"[\"\t\"]", Syntax, 2}, {"[\"new\nline\"]", Syntax, 5}, {"[\"a\x00a\"]", Syntax, 3}, {"[\"12345678\x1f\"]", Syntax, 10}, {`['x']`, Syntax, 1}, {`"`, Truncated, 1},
	{`"x`, Truncated, 2}, {`"x"y`, Trailing, 3}, {"[\x0c]", Syntax, 1}, {"[\v]", Syntax, 1}, {"[\u2060]", Syntax, 1}, {`<.>`, Syntax, 0}, {`[<null>]`, Syntax, 1}, {`]`, Syntax, 0},
	{`}`, Syntax, 0}, {`,`, Syntax, 0}, {`[][]`, Trailing, 2}, {`{}}`, Trailing, 2}, {"1\x00", Trailing, 1}, {"\u00e5", Syntax, 0}, {`[True]`, Syntax, 1}, {`*`, Syntax, 0}, {"[\u00a01]", Syntax, 1},
	{"[\"\xff\"]", UTF8, 2}, {"[\"a\xc0\xaf\"]", UTF8, 3}, {"[\"\xe0\x80\xaf\"]", UTF8, 2}, {"[\"\xed\xa0\x80\"]", UTF8, 2}, {"[\"\xf4\x90\x80\x80\"]", UTF8, 2},
	{"[\"\xf0\x80\x80\xaf\"]", UTF8, 2}, {"[\"\x81\"]", UTF8, 2}, {"[\"\xe6\x97\"]", UTF8, 2}, {"[\"ok\u00e9 \xe9\"]", UTF8, 7}, {"{\"\xb9\":\"0\"}", UTF8, 2},
	{"[\"\xf0\x9f\x98\", 1]", UTF8, 2}, {"\"\xc3", Truncated, 2}, {"\xe9", Syntax, 0}, {"[0.123456789012345678901234567890123456789012345678\xff]", Syntax, 51},
}

func TestParseAcceptsWhatJSONRequires(t *testing.T) {
	var d Document
	for _, text := range required {
		if !json.Valid([]byte(text)) {
			t.Errorf("the table is wrong: %q", text)
		}
		if err := d.Parse([]byte(text), Limits{}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if got := string(d.Root().Raw()); got != strings.Trim(text, " \t\r\n") {
			t.Errorf("%q: root is %q", text, got)
		}
	}
}

func TestParseRefusesWhatJSONForbids(t *testing.T) {
	var d Document
	for _, c := range forbidden {
		if c.code != UTF8 && json.Valid([]byte(c.text)) {
			t.Errorf("the table is wrong: %q", c.text)
		}
		err := d.Parse([]byte(c.text), Limits{})
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%q: accepted", c.text)
			continue
		}
		if e.Code != c.code || e.Offset != c.offset {
			t.Errorf("%q: %v at %d, want %v at %d", c.text, e.Code, e.Offset, c.code, c.offset)
		}
		if d.Root().Exists() {
			t.Errorf("%q: a root after an error", c.text)
		}
	}
}

func TestParseEveryPrefixIsTruncated(t *testing.T) {
	text := `{"a":[1.5,-2,3e5,null,NaN,-Infinity],"b\u00e9":["x\n",true,false,{"c":[]}],"d":0.10000000149011612,"e":[0.10000000149011612,0.10000000149011612,0.1]}`
	var d Document
	for n := 1; n < len(text); n++ {
		err := d.Parse([]byte(text[:n]), Limits{})
		var e *Error
		if !errors.As(err, &e) || e.Code != Truncated || e.Offset != n {
			t.Errorf("%q: %v", text[:n], err)
		}
	}
	if err := d.Parse([]byte(text), Limits{}); err != nil {
		t.Error(err)
	}
}

func TestParseBareNonFinite(t *testing.T) {
	var d Document
	for _, text := range []string{`NaN`, `Infinity`, `-Infinity`, ` NaN `, `[NaN]`, `["x",NaN,-Infinity]`, `{"a":Infinity}`} {
		if err := d.Parse([]byte(text), Limits{}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestLimits(t *testing.T) {
	nest := func(n int, open, in, end string) string {
		return strings.Repeat(open, n) + in + strings.Repeat(end, n)
	}
	long := func(n int) string { return strings.Repeat("1", n) }
	for _, c := range []struct {
		name string
		text string
		lim  Limits
		code Code
	}{
		{"64 arrays", nest(64, "[", "", "]"), Limits{}, 0},
		{"65 arrays", nest(65, "[", "", "]"), Limits{}, Depth},
		{"64 deep numbers", nest(64, "[", "1,2", "]"), Limits{}, 0},
		{"65 deep numbers", nest(65, "[", "1,2", "]"), Limits{}, Depth},
		{"64 objects", nest(64, `{"a":`, "1", "}"), Limits{}, 0},
		{"65 objects", nest(65, `{"a":`, "1", "}"), Limits{}, Depth},
		{"64 objects and an array", nest(64, `{"a":`, "[]", "}"), Limits{}, Depth},
		{"100,000 arrays", strings.Repeat("[", 100000), Limits{}, Depth},
		{"100,000 arrays after a number", strings.Repeat("[1,", 100000), Limits{}, Depth},
		{"depth 2", `[[1]]`, Limits{Depth: 2}, 0},
		{"depth 3 of 2", `[[[1]]]`, Limits{Depth: 2}, Depth},
		{"depth 1000", nest(1000, "[", "", "]"), Limits{Depth: 1000}, 0},
		{"number of 64", long(64), Limits{}, 0},
		{"number of 65", long(65), Limits{}, NumberLength},
		{"number of 64 in an array", "[0.5," + long(64) + "]", Limits{}, 0},
		{"number of 65 in an array", "[0.5," + long(65) + "]", Limits{}, NumberLength},
		{"fraction of 65", "[0." + long(63) + "]", Limits{}, NumberLength},
		{"exponent of 65", "[1e" + long(63) + "]", Limits{}, NumberLength},
		{"exponent of 64", "[1e" + long(62) + "]", Limits{}, 0},
		{"10,000 digits", "[" + long(10000) + "]", Limits{}, NumberLength},
		{"400 digits allowed", "[" + long(400) + "]", Limits{NumberChars: 400}, 0},
		{"401 digits of 400", "[" + long(401) + "]", Limits{NumberChars: 400}, NumberLength},
		{"short limit", "[0.10000000149011612,0.10000000149011612,0.10000000149011612]", Limits{NumberChars: 18}, NumberLength},
		{"short limit held", "[0.10000000149011612,0.10000000149011612,0.10000000149011612]", Limits{NumberChars: 19}, 0},
		{"4 nodes", `{"a":1,"b":[1,2,3],"c":""}`, Limits{Nodes: 4}, 0},
		{"5 nodes of 4", `{"a":1,"b":["x",3],"c":""}`, Limits{Nodes: 4}, TooManyNodes},
		{"a million numbers", "[" + strings.Repeat("1,", 1000000) + "1]", Limits{}, 0},
		{"65,536 strings", "[" + strings.Repeat(`"",`, 65534) + `""]`, Limits{}, 0},
		{"65,537 strings", "[" + strings.Repeat(`"",`, 65535) + `""]`, Limits{}, TooManyNodes},
	} {
		var d Document
		err := d.Parse([]byte(c.text), c.lim)
		var e *Error
		if c.code == 0 && err != nil || c.code != 0 && (!errors.As(err, &e) || e.Code != c.code) {
			t.Errorf("%s: %v, want %v", c.name, err, c.code)
		}
	}
}

func TestErrorText(t *testing.T) {
	for c := Syntax; c <= TooLarge; c++ {
		if s := c.String(); s == "" || s == "unknown" {
			t.Errorf("code %d has no text", c)
		}
	}
	if got := (&Error{Offset: 17, Code: Trailing}).Error(); got != "more after the value at byte 17" {
		t.Error(got)
	}
	if Code(0).String() != "unknown" || Code(200).String() != "unknown" {
		t.Error("an unknown code has a text")
	}
}
