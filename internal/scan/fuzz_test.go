package scan

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strconv"
	"testing"
	"unicode/utf8"
)

func seed(f *testing.F) {
	for _, text := range required {
		f.Add([]byte(text))
	}
	for _, c := range forbidden {
		f.Add([]byte(c.text))
	}
	f.Add([]byte(`{"outputs":[{"name":"s","datatype":"FP32","shape":[3],"data":[0.10000000149011612, NaN,-Infinity,null]}]}`))
	f.Add([]byte(`[0.10000000149011612,-0.20000000298023224,0.30000001192092896,1.2345678901234567e-05,0.10000000149011612,1]`))
}

// visitAll calls f with every value under n, elements of numeric arrays
// included.
func visitAll(n Node, f func(Node)) {
	f(n)
	for it := n.Children(); it.Next(); {
		visitAll(it.Value(), f)
	}
}

// FuzzParse holds the parser to encoding/json on what is valid, on what it
// holds, and every statistic to a plain reading of the same array.
func FuzzParse(f *testing.F) {
	seed(f)
	var d Document
	f.Fuzz(func(t *testing.T, src []byte) {
		err := d.Parse(src, Limits{})
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(src) || e.Code == 0 {
				t.Fatalf("%q: %#v", src, err)
			}
			limited := e.Code == Depth || e.Code == NumberLength || e.Code == TooManyNodes
			if json.Valid(src) && utf8.Valid(src) && !limited {
				t.Fatalf("%q: %v, but valid", src, err)
			}
			return
		}
		root := d.Root()
		plain := bytes.Clone(src)
		tokens := 0
		visitAll(root, func(n Node) {
			if n.Kind() == NonFinite {
				tokens++
				copy(plain[n.Offset():], "0        "[:len(n.Raw())])
			}
			checkNode(t, n)
		})
		if !json.Valid(plain) || !utf8.Valid(src) {
			t.Fatalf("%q: accepted", src)
		}
		if tokens == 0 {
			sameText(t, src, root)
		}
	})
}

// checkNode compares what the node tells of itself with a plain reading.
func checkNode(t *testing.T, n Node) {
	if got := n.Raw(); len(got) == 0 || !bytes.Equal(got, n.d.src[n.Offset():n.Offset()+len(got)]) {
		t.Fatalf("raw %q at %d", got, n.Offset())
	}
	switch n.Kind() {
	case Number:
		want, _ := strconv.ParseFloat(string(n.Raw()), 64)
		if got, ok := n.Float(); !ok || math.Float64bits(got) != math.Float64bits(want) {
			t.Fatalf("%s: %v", n.Raw(), got)
		}
		i, err := strconv.ParseInt(string(n.Raw()), 10, 64)
		if got, ok := n.Int(); ok != (err == nil) || ok && got != i {
			t.Fatalf("%s: %v", n.Raw(), got)
		}
	case String:
		var want string
		if err := json.Unmarshal(n.Raw(), &want); err != nil {
			t.Fatal(err)
		}
		if got := string(n.Text(nil)); got != want || !n.EqualText(want) {
			t.Fatalf("%s: %q, want %q", n.Raw(), got, want)
		}
	case Object, Array:
		checkContainer(t, n)
	}
}

func checkContainer(t *testing.T, n Node) {
	i := 0
	s, isNumeric := n.Numbers()
	least, most, finite, bad := math.Inf(1), math.Inf(-1), 0, -1
	for it := n.Children(); it.Next(); i++ {
		v := it.Value()
		if n.Kind() == Array {
			if n.At(i).Offset() != v.Offset() {
				t.Fatalf("%q: At(%d)", n.Raw(), i)
			}
		} else if first, dup := n.Get(string(it.Key())); !first.Exists() || first.Offset() != v.Offset() && (!dup || !n.Ambiguous(string(it.Key()))) {
			t.Fatalf("%q: Get(%q)", n.Raw(), it.Key())
		}
		if fl, ok := v.Float(); ok && !math.IsNaN(fl) && !math.IsInf(fl, 0) {
			finite++
			least, most = min(least, fl), max(most, fl)
		} else if bad < 0 {
			bad = i
		}
	}
	if i != n.Len() {
		t.Fatalf("%q: %d of %d", n.Raw(), i, n.Len())
	}
	if !isNumeric {
		return
	}
	if s.Count != i || s.Finite != finite || s.FirstBad != bad {
		t.Fatalf("%q: %+v", n.Raw(), s)
	}
	if bad >= 0 && (s.BadKind != n.At(bad).Kind() || s.BadOffset != n.At(bad).Offset()) {
		t.Fatalf("%q: %+v", n.Raw(), s)
	}
	if finite > 0 && (ulps(s.Min, least) > 2 || ulps(s.Max, most) > 2) {
		t.Fatalf("%q: %+v, want %v to %v", n.Raw(), s, least, most)
	}
	if _, found := n.OutOfRange(least, most); found && bad < 0 {
		t.Fatalf("%q: out of its own range", n.Raw())
	}
	if _, found := n.OutOfRange(math.Nextafter(least, math.Inf(1)), most); !found && finite > 0 {
		t.Fatalf("%q: inside a smaller range", n.Raw())
	}
	if _, found := n.OutOfRange(least, math.Nextafter(most, math.Inf(-1))); !found && finite > 0 {
		t.Fatalf("%q: inside a smaller range", n.Raw())
	}
}

// sameText holds the canonical form to mean to encoding/json what src means.
// It takes the last of duplicates, and so does the form.
func sameText(t *testing.T, src []byte, root Node) {
	read := func(b []byte) (v any) {
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.UseNumber()
		if err := dec.Decode(&v); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		return v
	}
	form := AppendCanonical(nil, root)
	if !reflect.DeepEqual(read(src), read(form)) {
		t.Fatalf("%q: canonical %q", src, form)
	}
}

// FuzzCanonical holds the canonical form to be stable, and to be the same for
// members in reverse order.
func FuzzCanonical(f *testing.F) {
	seed(f)
	var d, again Document
	f.Fuzz(func(t *testing.T, src []byte) {
		if d.Parse(src, Limits{}) != nil {
			return
		}
		form := AppendCanonical(nil, d.Root())
		if err := again.Parse(form, Limits{}); err != nil {
			t.Fatalf("%q: %q: %v", src, form, err)
		}
		if twice := AppendCanonical(nil, again.Root()); !bytes.Equal(twice, form) {
			t.Fatalf("%q: %q then %q", src, form, twice)
		}
		duplicates := false
		visitAll(d.Root(), func(n Node) {
			for it := n.Children(); n.Kind() == Object && it.Next(); {
				_, dup := n.Get(string(it.Key()))
				duplicates = duplicates || dup
			}
		})
		if duplicates {
			return // whose order is kept on purpose
		}
		turned := reversed(nil, d.Root())
		if err := again.Parse(turned, Limits{}); err != nil {
			t.Fatalf("%q: %q: %v", src, turned, err)
		}
		if other := AppendCanonical(nil, again.Root()); !bytes.Equal(other, form) {
			t.Fatalf("%q: %q, reversed %q", src, form, other)
		}
	})
}

// reversed writes n with blanks and with the members of objects turned round.
func reversed(dst []byte, n Node) []byte {
	switch n.Kind() {
	case Array:
		dst = append(dst, "[ "...)
		for it := n.Children(); it.Next(); {
			if it.Index() > 0 {
				dst = append(dst, "\t, "...)
			}
			dst = reversed(dst, it.Value())
		}
		return append(dst, "\n]"...)
	case Object:
		var members [][]byte
		for it := n.Children(); it.Next(); {
			r := it.Value().record()
			m := append([]byte(`"`), n.d.src[r.keyStart:r.keyEnd]...)
			members = append(members, reversed(append(m, "\" :\r"...), it.Value()))
		}
		dst = append(dst, '{')
		for i := len(members) - 1; i >= 0; i-- {
			dst = append(dst, members[i]...)
			if i > 0 {
				dst = append(dst, ',')
			}
		}
		return append(dst, " }"...)
	}
	return append(dst, n.Raw()...)
}

// FuzzFloat holds every way to read a number to strconv's value: alone, as the
// last element, and in the middle of an array, where the quick reading is.
func FuzzFloat(f *testing.F) {
	for _, s := range []string{"0", "-0.0", "1", "0.10000000149011612", "1e-5", "9007199254740993", "1.7976931348623157e308", "5e-324",
		"2.2250738585072014e-308", "8.41e21", "123456789012345678901234567890", "9.300000000000000001", "0.00001234567890123456789", "1e999",
		"7.2057594037927933e16", "1448997445238699", "0.000000000000000000000001", "1234567.5", "12345678.5", "0.1234567890123456789012345678901234567890", "1e0000000000000000000000005", "9007199254740992.99999999999999999999999", "9007199254740993.0000000000000000000000000000001", "179769313486231580793728971405301e276",
		"1.00000000000000011102230246251565404236316680908203126", "4503599627370497.5"} {
		f.Add(s)
	}
	var d Document
	f.Fuzz(func(t *testing.T, s string) {
		pad := ",0.10000000149011612,0.20000000298023224,0.30000001192092896,"
		text := "[" + s + pad + s + pad + s + "]"
		if d.Parse([]byte(text), Limits{}) != nil {
			return
		}
		n := d.Root()
		if n.Len() != 9 {
			return // more than a number
		}
		stats, ok := n.Numbers()
		want, err := strconv.ParseFloat(string(bytes.Trim([]byte(s), " \t\r\n")), 64)
		if !ok || err != nil && !math.IsInf(want, 0) || n.At(0).Kind() != Number {
			return // another kind of value
		}
		n.EachFloat(func(i int, v float64, _ Kind) bool {
			if i%4 == 0 && math.Float64bits(v) != math.Float64bits(want) {
				t.Fatalf("%q: element %d is %v, want %v", s, i, v, want)
			}
			return true
		})
		if math.IsInf(want, 0) {
			if stats.FirstBad != 0 || stats.BadKind != Number {
				t.Fatalf("%q: %+v", s, stats)
			}
			return
		}
		if stats.FirstBad != -1 || ulps(stats.Min, min(want, 0.10000000149011612)) > 2 || ulps(stats.Max, max(want, 0.30000001192092896)) > 2 {
			t.Fatalf("%q: %+v", s, stats)
		}
	})
}
