package scan

import "testing"

func TestCollect(t *testing.T) {
	for name, c := range map[string]struct{ text, a, b, duplicate string }{
		"both":                {`{"b":2,"a":1,"c":3}`, "1", "2", ""},
		"one":                 {`{"a":null}`, "null", "", ""},
		"escaped":             {`{"\u0061":1}`, "1", "", ""},
		"twice, the first":    {`{"a":1,"a":2}`, "1", "", "a"},
		"in another case":     {`{"A":1,"a":2}`, "2", "", "a"},
		"only the other case": {`{"A":1}`, "", "", ""},
		"other twins":         {`{"c":1,"C":2,"a":3}`, "3", "", ""},
		"no object":           {`[1]`, "", "", ""},
		"a text":              {`"a"`, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var d Document
			if err := d.Parse([]byte(c.text), Limits{}); err != nil {
				t.Fatal(err)
			}
			fields := [...]Field{{Name: "a"}, {Name: "b"}}
			duplicate := Collect(d.Root(), fields[:])
			if a, b := string(fields[0].Node.Raw()), string(fields[1].Node.Raw()); a != c.a || b != c.b || duplicate != c.duplicate {
				t.Fatalf("a %q, b %q, duplicate %q", a, b, duplicate)
			}
		})
	}
}
