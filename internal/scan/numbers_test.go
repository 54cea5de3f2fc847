package scan

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

func TestNumbers(t *testing.T) {
	nan := math.NaN()
	var d Document
	for _, c := range []struct {
		text string
		want Numbers
	}{
		{`[]`, Numbers{FirstBad: -1, Min: nan, Max: nan}},
		{`[ ]`, Numbers{FirstBad: -1, Min: nan, Max: nan}},
		{`[1]`, Numbers{Count: 1, Finite: 1, Min: 1, Max: 1, FirstBad: -1}},
		{`[3,-2.5,1e2]`, Numbers{Count: 3, Finite: 3, Min: -2.5, Max: 100, FirstBad: -1}},
		{`[null]`, Numbers{Count: 1, Min: nan, Max: nan, FirstBad: 0, BadKind: Null, BadOffset: 1}},
		{`[0.5, NaN ,null,7]`, Numbers{Count: 4, Finite: 2, Min: 0.5, Max: 7, FirstBad: 1, BadKind: NonFinite, BadOffset: 6}},
		{`[0.5,-Infinity]`, Numbers{Count: 2, Finite: 1, Min: 0.5, Max: 0.5, FirstBad: 1, BadKind: NonFinite, BadOffset: 5}},
		{`[0.5,1e999,Infinity]`, Numbers{Count: 3, Finite: 1, Min: 0.5, Max: 0.5, FirstBad: 1, BadKind: Number, BadOffset: 5}},
		{`[-1.7976931348623157e308,1.7976931348623157e308]`, Numbers{Count: 2, Finite: 2, Min: -math.MaxFloat64, Max: math.MaxFloat64, FirstBad: -1}},
		{`[5e-324,-5e-324]`, Numbers{Count: 2, Finite: 2, Min: -5e-324, Max: 5e-324, FirstBad: -1}},
		{`[-0.0,-0.25,-0.125, -0.5]`, Numbers{Count: 4, Finite: 4, Min: -0.5, Max: 0, FirstBad: -1}},
	} {
		n := parse(t, &d, c.text)
		got, ok := n.Numbers()
		if !ok || n.Len() != c.want.Count || n.Kind() != Array {
			t.Errorf("%s: %v, %v, %v", c.text, got, ok, n.Len())
		}
		if math.IsNaN(got.Min) && math.IsNaN(c.want.Min) && math.IsNaN(got.Max) && math.IsNaN(c.want.Max) {
			got.Min, got.Max, c.want.Min, c.want.Max = 0, 0, 0, 0
		}
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.text, got, c.want)
		}
	}
	for _, text := range []string{`["NaN"]`, `[1,"x"]`, `[1,[2]]`, `[1,{}]`, `[1,true]`, `[1,false]`, `{}`, `1`, `"x"`} {
		if got, ok := parse(t, &d, text).Numbers(); ok {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

// forms write a number as servers do.
var forms = []func(v float64) string{
	func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) },
	func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 32) },
	func(v float64) string { return strconv.FormatFloat(v, 'e', -1, 64) },
	func(v float64) string { return strconv.FormatFloat(v, 'E', 3, 64) },
	func(v float64) string { return strconv.FormatFloat(v, 'f', 20, 64) },
	func(v float64) string { return strconv.FormatFloat(v, 'f', 25, 64) },
	func(v float64) string { return strconv.FormatInt(int64(v), 10) },
	func(v float64) string { return strconv.FormatFloat(v, 'e', 18, 64) },
}

// reference holds what strconv makes of one array.
type reference struct {
	values     []float64
	least      float64
	most       float64
	firstOver  func(lo, hi float64) (int, bool)
	textOfArea string
}

func makeReference(t *testing.T, tokens []string, sep string) reference {
	r := reference{least: math.Inf(1), most: math.Inf(-1), textOfArea: "[" + strings.Join(tokens, sep) + "]"}
	for _, s := range tokens {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		r.values = append(r.values, v)
		r.least, r.most = min(r.least, v), max(r.most, v)
	}
	r.firstOver = func(lo, hi float64) (int, bool) {
		for i, v := range r.values {
			if !(v >= lo && v <= hi) {
				return i, true
			}
		}
		return 0, false
	}
	return r
}

// ulps returns how many float64 values x is from y.
func ulps(x, y float64) int64 {
	a, b := int64(math.Float64bits(x)), int64(math.Float64bits(y))
	if a < 0 {
		a = math.MinInt64 - a
	}
	if b < 0 {
		b = math.MinInt64 - b
	}
	if a < b {
		a, b = b, a
	}
	return a - b
}

func TestStatisticsAgreeWithStrconv(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	draws := []func() float64{
		r.Float64,
		func() float64 { return float64(r.Float32()) },
		func() float64 { return r.NormFloat64() * 100 },
		func() float64 { return math.Exp(r.NormFloat64() * 20) },
		func() float64 { return -r.Float64() * 1e-4 },
	}
	var d Document
	for round := range 4000 {
		draw, sep := draws[round%len(draws)], []string{",", ", ", " ,\n  ", ",  ", ",\t"}[round/3%5]
		tokens := make([]string, 1+r.IntN(12))
		for i := range tokens {
			form := forms[r.IntN(len(forms))]
			if round%2 == 0 {
				form = forms[round/2%len(forms)]
			}
			tokens[i] = form(draw())
		}
		ref := makeReference(t, tokens, sep)
		n := parse(t, &d, ref.textOfArea)
		s, _ := n.Numbers()
		if s.Count != len(tokens) || ulps(s.Min, ref.least) > 2 || ulps(s.Max, ref.most) > 2 {
			t.Fatalf("%s: %+v, want %v to %v", ref.textOfArea, s, ref.least, ref.most)
		}
		n.EachFloat(func(i int, v float64, k Kind) bool {
			if k != Number || v != ref.values[i] {
				t.Fatalf("%s: element %d is %v, want %v", ref.textOfArea, i, v, ref.values[i])
			}
			if at, _ := n.At(i).Float(); at != v {
				t.Fatalf("%s: At(%d) is %v", ref.textOfArea, i, at)
			}
			return true
		})
		// Bounds at, just inside and just outside the extremes.
		for _, lo := range []float64{math.Inf(-1), ref.least, math.Nextafter(ref.least, -9e99), math.Nextafter(ref.least, 9e99)} {
			for _, hi := range []float64{math.Inf(1), ref.most, math.Nextafter(ref.most, -9e99), math.Nextafter(ref.most, 9e99)} {
				i, found := n.OutOfRange(lo, hi)
				if j, want := ref.firstOver(lo, hi); i != j || found != want {
					t.Fatalf("%s in %v to %v: %d %v, want %d %v", ref.textOfArea, lo, hi, i, found, j, want)
				}
			}
		}
	}
}

// The quick ways of reading need bytes to be there behind a number, so each
// form stands in the middle of a long array too, where they are taken.
func TestNumberFormsInLongArrays(t *testing.T) {
	forms := []string{"0", "00", "01", "-", "-0", "-01", "00.5", "1.", "-1.", "1.e5", ".5", "0.5.", "0.5.5", "1e", "1e+", "1e-", "1e5", "1E+05", "1e0005", "1e00005",
		"1e-5x", "0.5x", "0x5", "+1", "0.5e", "0.12345678e", "0.12345678", "0.1234567812345678", "0.123456781234567812345678", "0.1234567812345678.", "0.12345678.1",
		"1234567", "12345678", "1234567.5", "12345678.5", "1234567.12345678", "1234567.1234567890123456", "1234567.12345678901234567890123", "0.0000000000000000000000001",
		"9.300000000000000001", "9.99999999999999999", "9.999999999999999999", "99.99999999999999999", "8.9999999999999999999999", "0.0000000123456789012345678",
		"0.0000000000000000000123", "0.00000000000000000001234", "0.000000000000000000001234", "1e22", "1e23", "1e-22", "1e-23", "1.5e-22", "9007199254740993", "1:2", "1;", "1/2", "0.1234567/", "0.1234567:", "1\x000",
		"1e999", "NaN", "-NaN", "Infinity", "-Infinity", "+Infinity", "null", "nul", "1 1", "0.5 0.5", "--0.5", "0.5-", "0.5\xff", "0.1234567\xb0", "\xb00.5", "0,,0", "0, ,0", "0.5,", "1\u0660"}
	var d Document
	for _, pad := range []string{"0.10000000149011612", "-0.5", "7"} {
		for _, sep := range []string{",", ", ", " , "} {
			around := strings.Repeat(pad+sep, 4)
			for _, form := range forms {
				text := "[" + around + form + sep + around + form + sep + around + pad + "]"
				err := d.Parse([]byte(text), Limits{})
				plain := strings.NewReplacer("NaN", "0", "Infinity", "0").Replace(text)
				if form == "-NaN" || form == "+Infinity" {
					plain = "no"
				}
				if json.Valid([]byte(plain)) != (err == nil) {
					t.Errorf("%q: %v", text, err)
				}
				want, notNumber := strconv.ParseFloat(form, 64)
				if err != nil || notNumber != nil || form == "NaN" || strings.HasSuffix(form, "Infinity") {
					continue
				}
				for _, i := range []int{4, 9} {
					if got, _ := d.Root().At(i).Float(); got != want {
						t.Errorf("%q: element %d is %v", text, i, got)
					}
				}
				padValue, _ := strconv.ParseFloat(pad, 64)
				s, _ := d.Root().Numbers()
				if s.Count != 15 || s.FirstBad >= 0 || ulps(s.Min, min(want, padValue)) > 2 || ulps(s.Max, max(want, padValue)) > 2 {
					t.Errorf("%q: %+v", text, s)
				}
			}
		}
	}
}

func TestOutOfRange(t *testing.T) {
	inf := math.Inf(1)
	var d Document
	for _, c := range []struct {
		text   string
		lo, hi float64
		index  int
		found  bool
	}{
		{`[]`, 0, 1, 0, false},
		{`[0,1,0.5]`, 0, 1, 0, false},
		{`[0,1,1.0000000000000002]`, 0, 1, 2, true},
		{`[0,1,1.0000000000000001]`, 0, 1, 0, false}, // rounds to 1
		{`[0.5,-0.1]`, 0, 1, 1, true},
		{`[-0.0]`, 0, 1, 0, false},
		{`[0.5,null,2]`, 0, 1, 2, true},
		{`[null,null]`, 0, 1, 0, false},
		{`[0.5,NaN]`, -inf, inf, 1, true},
		{`[0.5,Infinity]`, -inf, inf, 0, false},
		{`[0.5,Infinity]`, 0, 1e308, 1, true},
		{`[1e999]`, 0, math.MaxFloat64, 0, true},
		{`[3.4028234663852886e38]`, -math.MaxFloat32, math.MaxFloat32, 0, false},
		{`[3.5e38]`, -math.MaxFloat32, math.MaxFloat32, 0, true},
		{`[0.5]`, math.NaN(), 1, 0, true},
		{`[0.5]`, 1, 0, 0, true},
		{`["x",5]`, 0, 1, 0, false},
		{`5`, 0, 1, 0, false},
	} {
		if i, found := parse(t, &d, c.text).OutOfRange(c.lo, c.hi); i != c.index || found != c.found {
			t.Errorf("%s in %v to %v: %d, %v", c.text, c.lo, c.hi, i, found)
		}
	}
}

func TestEachFloat(t *testing.T) {
	var d Document
	var got []string
	n := parse(t, &d, "[ 1 ,null,NaN\n, Infinity,-Infinity,-0.10000000149011612, 1e999 ]")
	n.EachFloat(func(i int, v float64, k Kind) bool {
		got = append(got, strconv.Itoa(i)+" "+k.String()+" "+strconv.FormatFloat(v, 'g', -1, 64))
		return true
	})
	want := "0 number 1|1 null NaN|2 non-finite NaN|3 non-finite +Inf|4 non-finite -Inf|5 number -0.10000000149011612|6 number +Inf"
	if strings.Join(got, "|") != want {
		t.Errorf("%s", strings.Join(got, "|"))
	}
	calls := 0
	n.EachFloat(func(i int, _ float64, _ Kind) bool { calls++; return i < 2 })
	if calls != 3 {
		t.Errorf("%d calls after an early end", calls)
	}
	parse(t, &d, `[1,"x"]`).EachFloat(func(int, float64, Kind) bool { t.Error("called"); return true })
}
