package scan

import (
	"strings"
	"testing"
)

func TestAppendCanonical(t *testing.T) {
	var d Document
	for _, c := range []struct{ text, want string }{
		{` { } `, `{}`},
		{`[ ]`, `[]`},
		{` 1.0e+5 `, `1.0e+5`},
		{`-0`, `-0`},
		{"[ 1.10 ,\n2e5,\tNaN , null ]", `[1.10,2e5,NaN,null]`},
		{`{"b":1,"a":[ {"d" : 2 , "c":[ ] } , "x" ]}`, `{"a":[{"c":[],"d":2},"x"],"b":1}`},
		{`{"b":1,"a":2,"b":0,"a":1}`, `{"a":2,"a":1,"b":1,"b":0}`},
		{`{"\u0061":1,"a":0,"A":2}`, `{"A":2,"a":1,"a":0}`},
		{`{"\u00e9":1,"z":2,"é!":3}`, `{"z":2,"é":1,"é!":3}`},
		{`"\u0041\/\"\\\b\f\n\r\t\u001F\u007f\u2028"`, "\"A/\\\"\\\\\\b\\f\\n\\r\\t\\u001f\x7f\u2028\""},
		{`"\uD83D\uDE39 \uD83D \ude39"`, `"😹 \ud83d \ude39"`},
		{`["a b",true,false,null,"x y"]`, `["a b",true,false,null,"x y"]`},
		{`[[ 1 ],[ [ 2 , 3 ] , {} ]]`, `[[1],[[2,3],{}]]`},
	} {
		got := string(AppendCanonical([]byte("x"), parse(t, &d, c.text)))
		if got != "x"+c.want {
			t.Errorf("%s: %s", c.text, got)
		}
	}
	root := parse(t, &d, `{"z":[ {"b":1,"a":[ 1 , NaN ]},5]}`)
	z, _ := root.Get("z")
	if got := string(AppendCanonical(nil, z.At(0))); got != `{"a":[1,NaN],"b":1}` {
		t.Errorf("inside: %s", got)
	}
	a, _ := z.At(0).Get("a")
	if got := string(AppendCanonical(nil, a.At(1))); got != `NaN` {
		t.Errorf("an element: %s", got)
	}
	if AppendCanonical(nil, Node{}) != nil {
		t.Error("no value has a form")
	}
}

// 50,000 members in reverse order with long common beginnings, some escaped.
func TestAppendCanonicalLarge(t *testing.T) {
	var b strings.Builder
	b.WriteString("{")
	for i := 50000; i > 0; i-- {
		if b.Len() > 1 {
			b.WriteString(",")
		}
		b.WriteString(`"`)
		if i%2 == 0 {
			b.WriteString(`\u006b`)
		} else {
			b.WriteString("k")
		}
		b.WriteString("ey")
		for x := 10000; x > 0; x /= 10 {
			b.WriteByte('0' + byte(i/x%10))
		}
		b.WriteString(`":[]`)
	}
	b.WriteString("}")
	var d, again Document
	form := AppendCanonical(nil, parse(t, &d, b.String()))
	if !strings.HasPrefix(string(form), `{"key00001":[],"key00002":[],`) || !strings.HasSuffix(string(form), `"key50000":[]}`) {
		t.Errorf("%.60s", form)
	}
	if twice := AppendCanonical(nil, parse(t, &again, string(form))); string(twice) != string(form) {
		t.Error("not stable")
	}
}
