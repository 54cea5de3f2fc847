package scan

import (
	"math"
	"strconv"
	"strings"
	"testing"
)

// parse reads a text that the test knows to be good.
func parse(t testing.TB, d *Document, text string) Node {
	t.Helper()
	if err := d.Parse([]byte(text), Limits{}); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return d.Root()
}

func TestGet(t *testing.T) {
	const text = `{"a":1,"b":{"a":2,"x":[{"a":9}]},"A":3,"\u0062\u00e9":4,"b":5,"":6,"a\"b":7,"\ud83d\ude39":8,"\ud800":9,"n":[1,2],"z":10}`
	var d Document
	root := parse(t, &d, text)
	for _, c := range []struct {
		key       string
		raw       string
		dup       bool
		ambiguous bool
	}{
		{"a", "1", false, true},
		{"A", "3", false, true},
		{"b", `{"a":2,"x":[{"a":9}]}`, true, true},
		{"B", "", false, true},
		{"bé", "4", false, false},
		{"BÉ", "", false, false},
		{"", "6", false, false},
		{`a"b`, "7", false, false},
		{"😹", "8", false, false},
		{"\ufffd", "9", false, false},
		{"n", "[1,2]", false, false},
		{"z", "10", false, false},
		{"x", "", false, false},
	} {
		v, dup := root.Get(c.key)
		if string(v.Raw()) != c.raw || v.Exists() != (c.raw != "") || dup != c.dup {
			t.Errorf("Get(%q) = %q, %v", c.key, v.Raw(), dup)
		}
		if got := root.Ambiguous(c.key); got != c.ambiguous {
			t.Errorf("Ambiguous(%q) = %v", c.key, got)
		}
	}
	if root.Len() != 11 {
		t.Errorf("Len = %d", root.Len())
	}
}

func TestAmbiguous(t *testing.T) {
	var d Document
	for _, c := range []struct {
		text, key string
		want      bool
	}{
		{`{"confidence":0.99,"CONFIDENCE":0.01}`, "confidence", true},
		{`{"CONFIDENCE":0.01,"confidence":0.99}`, "confidence", true},
		{`{"confidence":0.99,"\u0043onfidence":0.01}`, "confidence", true},
		{`{"confidence":0.99,"confidence":0.99}`, "confidence", true},
		{`{"Confidence":0.99}`, "confidence", false},
		{`{"confidence":0.99,"confidences":0.01,"confidenc":1}`, "confidence", false},
		{`{"x":{"confidence":1},"confidence":0.99}`, "confidence", false},
		{`{"key":1,"` + "\u212A" + `ey":2}`, "key", true}, // the Kelvin sign folds to k
		{`{"straße":1,"STRAßE":2}`, "straße", true},
		{`{"ab":1,"@b":2}`, "ab", false},
		{`{"[":1,"{":2}`, "[", false},
		{`["a","A"]`, "a", false},
	} {
		if got := parse(t, &d, c.text).Ambiguous(c.key); got != c.want {
			t.Errorf("%s: Ambiguous(%q) = %v", c.text, c.key, got)
		}
	}
}

func TestChildrenAndAt(t *testing.T) {
	var d Document
	for _, c := range []struct {
		text string
		want []string
	}{
		{`[]`, nil},
		{`{}`, nil},
		{`"x"`, nil},
		{`[ 1 , null,-Infinity,NaN ,2e5,"x" ]`, []string{"1", "null", "-Infinity", "NaN", "2e5", `"x"`}},
		{"[ 1 , null,\n-Infinity,NaN ,2e5 ]", []string{"1", "null", "-Infinity", "NaN", "2e5"}},
		{`[[1,2],[[3],{"a":[4]}],[],{},5]`, []string{"[1,2]", `[[3],{"a":[4]}]`, "[]", "{}", "5"}},
		{`{"a":1,"b":[1,2],"c":{"d":[["x"]]},"e":[]}`, []string{"1", "[1,2]", `{"d":[["x"]]}`, "[]"}},
	} {
		root := parse(t, &d, c.text)
		var got []string
		for it := root.Children(); it.Next(); {
			if it.Index() != len(got) {
				t.Errorf("%s: index %d", c.text, it.Index())
			}
			if off := it.Value().Offset(); string(c.text[off:off+len(it.Value().Raw())]) != string(it.Value().Raw()) {
				t.Errorf("%s: offset %d", c.text, off)
			}
			got = append(got, string(it.Value().Raw()))
		}
		if strings.Join(got, "|") != strings.Join(c.want, "|") || root.Len() != len(c.want) {
			t.Errorf("%s: %q", c.text, got)
		}
		if root.Kind() != Array {
			if root.At(0).Exists() {
				t.Errorf("%s: At(0) exists", c.text)
			}
			continue
		}
		// Forwards, backwards, and jumping.
		for _, step := range []int{1, -1, 3} {
			for k := range c.want {
				i := ((k*step)%len(c.want) + len(c.want)) % len(c.want)
				if got := string(root.At(i).Raw()); got != c.want[i] {
					t.Errorf("%s: At(%d) = %q", c.text, i, got)
				}
			}
		}
		if root.At(-1).Exists() || root.At(len(c.want)).Exists() {
			t.Errorf("%s: an element out of bounds", c.text)
		}
	}
}

func TestIterKey(t *testing.T) {
	var d Document
	root := parse(t, &d, `{"a":1,"\n\u00e9":[2],"":{"x":3}}`)
	escaped := root.Children()
	escaped.Next()
	escaped.Next()
	key := escaped.Key()
	root.Ambiguous("x")
	AppendCanonical(nil, parse(t, new(Document), `{"\u0041bcd":1,"\u0042bcd":2}`))
	AppendCanonical(nil, root)
	if string(key) != "\né" {
		t.Errorf("the key became %q", key)
	}
	var keys []string
	it := root.Children()
	if it.Key() != nil {
		t.Error("a key before the first")
	}
	for it.Next() {
		keys = append(keys, string(it.Key()))
	}
	if got := strings.Join(keys, "|"); got != "a|\né|" {
		t.Errorf("%q", got)
	}
	if it.Value().Exists() || it.Key() != nil {
		t.Error("a value behind the last")
	}
	inner := parse(t, &d, `[1,"x"]`).Children()
	if inner.Next(); inner.Key() != nil {
		t.Error("an element with a key")
	}
}

// A loop over At must not walk the array from its beginning each time: the
// million elements of this one would take minutes.
func TestAtIsNotQuadratic(t *testing.T) {
	const n = 1 << 20
	var d Document
	for _, text := range []string{"[" + strings.Repeat("1,", n-1) + "1]", "[" + strings.Repeat(`"",`, n-1) + `""]`} {
		if err := d.Parse([]byte(text), Limits{Nodes: 2 * n}); err != nil {
			t.Fatal(err)
		}
		root, steps := d.Root(), 0
		for i := range root.Len() {
			if root.At(i).Offset() <= 0 {
				t.Fatal(i)
			}
			steps++
		}
		if steps != n {
			t.Fatal(steps)
		}
	}
}

// Walks of several arrays at a time do not get into each other's way.
func TestAtInterleaved(t *testing.T) {
	var d Document
	root := parse(t, &d, "["+strings.Repeat(`[1,2,3,4],["a","b","c","d"],`, 40)+`[5,6,7,8]]`)
	for i := range 4 {
		for k := range root.Len() {
			want := string("abcd"[i])
			switch {
			case k == 80:
				want = strconv.Itoa(i + 5)
			case k%2 == 0:
				want = strconv.Itoa(i + 1)
			}
			if got := strings.Trim(string(root.At(k).At(i).Raw()), `"`); got != want {
				t.Fatalf("[%d][%d] = %q, want %q", k, i, got, want)
			}
		}
	}
}

func TestFloatAndInt(t *testing.T) {
	var d Document
	for _, c := range []struct {
		text    string
		f       float64
		isFloat bool
		i       int64
		isInt   bool
	}{
		{"0", 0, true, 0, true},
		{"-0", math.Copysign(0, -1), true, 0, true},
		{"12", 12, true, 12, true},
		{"9223372036854775807", 9223372036854775807, true, math.MaxInt64, true},
		{"-9223372036854775808", -9223372036854775808, true, math.MinInt64, true},
		{"9223372036854775808", 9223372036854775808, true, 0, false},
		{"99999999999999999999999999", 99999999999999999999999999, true, 0, false},
		{"1.0", 1, true, 0, false},
		{"1e2", 100, true, 0, false},
		{"0.10000000149011612", 0.10000000149011612, true, 0, false},
		{"5e-324", 5e-324, true, 0, false},
		{"2.4703282292062328e-324", 5e-324, true, 0, false},
		{"2.4703282292062327e-324", 0, true, 0, false},
		{"1.7976931348623157e308", math.MaxFloat64, true, 0, false},
		{"1.7976931348623159e308", math.Inf(1), true, 0, false},
		{"-1e999", math.Inf(-1), true, 0, false},
		{"9007199254740993.00000000000000000000000000000000000000", 9007199254740992, true, 0, false},
		{"9007199254740993.00000000000000000000000000000000000001", 9007199254740994, true, 0, false},
		{"1.00000000000000011102230246251565404236316680908203124", 1, true, 0, false},
		{"1.00000000000000011102230246251565404236316680908203125", 1, true, 0, false},
		{"1.00000000000000011102230246251565404236316680908203126", 1 + 0x1p-52, true, 0, false},
		// Just above the middle of two floats, in digits that do not fit.
		{"1.340285978660623489311376488331006839871406555175781251", 1.3402859786606236, true, 0, false},
		{"1.340285978660623489311376488331006839871406555175781249", 1.3402859786606234, true, 0, false},
		{"1e-999999999999999999999", 0, true, 0, false},
		{"NaN", math.NaN(), true, 0, false},
		{"Infinity", math.Inf(1), true, 0, false},
		{"-Infinity", math.Inf(-1), true, 0, false},
		{`"NaN"`, 0, false, 0, false},
		{`"1"`, 0, false, 0, false},
		{"null", 0, false, 0, false},
		{"true", 0, false, 0, false},
		{"[1]", 0, false, 0, false},
	} {
		// The value alone, and as an element of either kind of array.
		for _, text := range []string{c.text, "[" + c.text + "]", "[" + c.text + `,""]`} {
			n := parse(t, &d, text)
			if text != c.text {
				n = n.At(0)
			}
			f, ok := n.Float()
			if ok != c.isFloat || math.Float64bits(f) != math.Float64bits(c.f) && !(math.IsNaN(f) && math.IsNaN(c.f)) {
				t.Errorf("%s: Float = %v, %v", text, f, ok)
			}
			if i, ok := n.Int(); i != c.i && ok || ok != c.isInt {
				t.Errorf("%s: Int = %v, %v", text, i, ok)
			}
		}
	}
}

func TestText(t *testing.T) {
	var d Document
	for _, c := range []struct{ text, want string }{
		{`""`, ""},
		{`"plain"`, "plain"},
		{`"\"\\\/\b\f\n\r\t"`, "\"\\/\b\f\n\r\t"},
		{`"\u0000\u00E9\uFFFF"`, "\x00é\uffff"},
		{`"a\ud83d\ude39b"`, "a😹b"},
		{`"\ud83d"`, "\ufffd"},
		{`"\ud83d\ud83d\ude39"`, "\ufffd😹"},
		{`"\ude39\ud83d"`, "\ufffd\ufffd"},
		{`"\ud83d\u0041"`, "\ufffdA"},
		{`"\ud83dA"`, "\ufffdA"},
		{`"π😹"`, "π😹"},
	} {
		n := parse(t, &d, c.text)
		if got := string(n.Text([]byte("x"))); got != "x"+c.want {
			t.Errorf("%s: %q", c.text, got)
		}
		if !n.EqualText(c.want) || n.EqualText(c.want+"x") || n.EqualText("x"+c.want) {
			t.Errorf("%s: EqualText(%q)", c.text, c.want)
		}
	}
	if n := parse(t, &d, `1`); len(n.Text(nil)) != 0 || n.EqualText("1") {
		t.Error("a number has text")
	}
}

func TestNoValue(t *testing.T) {
	var d Document
	if d.Root().Exists() {
		t.Error("a root without a text")
	}
	root := parse(t, &d, `{"a":["x",{"b":1}],"n":[1,2,3]}`)
	a, _ := root.Get("a")
	list, _ := root.Get("n")
	stale := []Node{{}, a.At(1), list.At(2), list, root}
	it, general := list.Children(), a.Children()
	it.Next()
	general.Next()
	d.Reset()
	if d.Root().Exists() {
		t.Error("a root after Reset")
	}
	for i, n := range stale {
		if n.Exists() || n.Kind() != Invalid || n.Len() != 0 || n.Raw() != nil || n.Offset() != -1 || n.At(0).Exists() {
			t.Errorf("%d: a value that outlived its text", i)
		}
		if v, dup := n.Get("a"); v.Exists() || dup || n.Ambiguous("a") || n.EqualText("") || len(n.Text(nil)) != 0 {
			t.Errorf("%d: a value that outlived its text", i)
		}
		if _, ok := n.Float(); ok {
			t.Errorf("%d: a float", i)
		}
		if _, ok := n.Numbers(); ok {
			t.Errorf("%d: numbers", i)
		}
		if _, found := n.OutOfRange(0, 0); found || len(AppendCanonical(nil, n)) != 0 {
			t.Errorf("%d: a value that outlived its text", i)
		}
		for c := n.Children(); c.Next(); {
			t.Errorf("%d: a child", i)
		}
	}
	for it.Next() || general.Next() {
		if it.Value().Exists() || general.Value().Exists() {
			t.Error("an iterator that outlived its text")
		}
	}
}

func TestReuseAllocatesNothing(t *testing.T) {
	texts := [][]byte{
		answer(1000),
		[]byte(`{"a":{"b\n":["x","\u0041",{"c":[1,null,NaN]}]},"d":[1e5,-2.5,99999999999999999999]}`),
		[]byte(`[[1,2],[3,4],["x"]]`),
		[]byte(`[0.1234567890123456789012345678901234567890,"x",-1234567890123456789012345678901234567890]`),
	}
	score, err := ParsePath("outputs[*].data")
	if err != nil {
		t.Fatal(err)
	}
	var d Document
	buf := make([]byte, 0, 1<<16)
	work := func() {
		for _, text := range texts {
			if d.Parse(text, Limits{}) != nil {
				t.Fatal("not parsed")
			}
			root := d.Root()
			root.Get("b\n")
			root.Ambiguous("MODEL_NAME")
			for it := root.Children(); it.Next(); {
				it.Key()
				it.Value().Float()
				it.Value().At(1).Float()
			}
			score.Walk(root, func(n Node) bool {
				n.OutOfRange(0.5, 1)
				n.EachFloat(func(int, float64, Kind) bool { return true })
				return true
			})
			buf = AppendCanonical(buf[:0], root)
		}
	}
	work()
	if n := testing.AllocsPerRun(20, work); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestResetLetsGoOfLargeMemory(t *testing.T) {
	var d Document
	if err := d.Parse([]byte("["+strings.Repeat(`"",`, 60000)+`""]`), Limits{}); err != nil {
		t.Fatal(err)
	}
	d.Reset()
	if cap(d.tape) > keepRecords {
		t.Errorf("%d records kept", cap(d.tape))
	}
	parse(t, &d, `["x"]`)
	d.Reset()
	if cap(d.tape) == 0 {
		t.Error("a small tape was not kept")
	}
}

func TestKindText(t *testing.T) {
	seen := map[string]bool{}
	for k := Invalid; k <= Array; k++ {
		if seen[k.String()] {
			t.Errorf("%v twice", k)
		}
		seen[k.String()] = true
	}
	if Kind(99).String() != "invalid" {
		t.Error(strconv.Itoa(99))
	}
}
