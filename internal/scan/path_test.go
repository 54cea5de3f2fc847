package scan

import (
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		text string
		want string // what AppendAt makes of it, "" for an error
		err  string // part of the error
	}{
		{text: "a", want: "a"},
		{text: "outputs[0].data", want: "outputs[0].data"},
		{text: "predictions[*].score", want: "predictions[*].score"},
		{text: "[0]", want: "[0]"},
		{text: "[*][*].x", want: "[*][*].x"},
		{text: "a['b.c']", want: "a['b.c']"},
		{text: `a["b.c"][2]`, want: "a['b.c'][2]"},
		{text: `['it\'s']`, want: `['it\'s']`},
		{text: `["it's"].x`, want: `['it\'s'].x`},
		{text: `['a\\b']`, want: `a\b`},
		{text: `['plain']`, want: "plain"},
		{text: `x['']`, want: "x['']"},
		{text: "a b.é-1", want: "a b.é-1"},
		{text: strings.Repeat("a.", 31) + "a", want: strings.Repeat("a.", 31) + "a"},
		{text: strings.Repeat("[*]", 8), want: strings.Repeat("[*]", 8)},
		{text: "", err: "at 0: empty"},
		{text: ".a", err: "at 0: a name is missing"},
		{text: "a.", err: "at 2: a name is missing"},
		{text: "a..b", err: "at 2: a name is missing"},
		{text: "a.[0]", err: "a name is missing"},
		{text: "a[0]b", err: "at 4: wants . or ["},
		{text: "a]", err: "wants . or ["},
		{text: "a'b'", err: "wants . or ["},
		{text: "a[", err: "wants [0]"},
		{text: "a[]", err: "wants [0]"},
		{text: "a[-1]", err: "wants [0]"},
		{text: "a[x]", err: "wants [0]"},
		{text: "a[* ]", err: "wants [0]"},
		{text: "a[01]", err: "leading zeros"},
		{text: "a[2147483648]", err: "an index"},
		{text: "a['b]", err: "no end"},
		{text: "a['b'", err: "no end"},
		{text: "a['b'x]", err: "no end"},
		{text: `a['b\`, err: "no end"},
		{text: strings.Repeat("a.", 32) + "a", err: "more than 32"},
		{text: strings.Repeat("[*]", 9), err: "more than 8"},
	} {
		p, err := ParsePath(c.text)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v, want %q", c.text, err, c.err)
			}
			continue
		}
		if err != nil || p.String() != c.text {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		got := string(p.AppendAt(nil, nil))
		if got != c.want {
			t.Errorf("%q: %q", c.text, got)
		}
		if again, err := ParsePath(got); err != nil || string(again.AppendAt(nil, nil)) != got {
			t.Errorf("%q is not read back: %v", got, err)
		}
	}
}

func TestWalk(t *testing.T) {
	const text = `{"predictions":[{"score":0.5},{"Score":0.1},{"score":null,"SCORE":1},7,{"score":0.25,"rows":[[1,2],["x"],[]]}],` +
		`"a":{"b.c":"q","d":[10,20,30]},"p":[{"s":1},{"s":2}],"P":0,"a2":1,"twice":{"x":1},"twice":{"x":2}}`
	var d Document
	root := parse(t, &d, text)
	for _, c := range []struct {
		path string
		// Each place: where it is, its text or "-", "!" when ambiguous.
		visit     string
		walk      string
		first     string
		ambiguous bool
	}{
		{"predictions[*].score", "predictions[0].score=0.5 predictions[1].score=- predictions[2].score=null! predictions[3].score=- predictions[4].score=0.25",
			"0.5 null 0.25", "0.5", false},
		{"predictions[2].score", "predictions[2].score=null!", "null", "null", true},
		{"predictions[*].rows[*][*]", "predictions[0].rows[*][*]=- predictions[1].rows[*][*]=- predictions[2].rows[*][*]=- predictions[3].rows[*][*]=- " +
			"predictions[4].rows[0][0]=1 predictions[4].rows[0][1]=2 predictions[4].rows[1][0]=\"x\"", `1 2 "x"`, "1", false},
		{"predictions[4].rows[*][1]", "predictions[4].rows[0][1]=2 predictions[4].rows[1][1]=- predictions[4].rows[2][1]=-", "2", "2", false},
		{"predictions[9].score", "predictions[9].score=-", "", "", false},
		{"a['b.c']", `a['b.c']="q"`, `"q"`, `"q"`, false},
		{"a.d[*]", "a.d[0]=10 a.d[1]=20 a.d[2]=30", "10 20 30", "10", false},
		{"a.d[2]", "a.d[2]=30", "30", "30", false},
		{"a[*]", "a[*]=-", "", "", false},
		{"A", "A=-", "", "", false},
		{"p[*].s", "p[0].s=1! p[1].s=2!", "1 2", "1", true},
		{"twice.x", "twice.x=1!", "1", "1", true},
		{"twice.y", "twice.y=-!", "", "", true},
		{"a.d.x", "a.d.x=-", "", "", false},
		{"missing[*].x", "missing[*].x=-", "", "", false},
	} {
		p, err := ParsePath(c.path)
		if err != nil {
			t.Fatal(err)
		}
		var visits, walks []string
		p.Visit(root, func(h Hit) bool {
			s := string(p.AppendAt(nil, h.Stars)) + "="
			if h.Node.Exists() {
				s += string(h.Node.Raw())
			} else {
				s += "-"
			}
			if h.Ambiguous {
				s += "!"
			}
			visits = append(visits, s)
			return true
		})
		p.Walk(root, func(n Node) bool { walks = append(walks, string(n.Raw())); return true })
		if got := strings.Join(visits, " "); got != c.visit {
			t.Errorf("Visit %s: %s", c.path, got)
		}
		if got := strings.Join(walks, " "); got != c.walk {
			t.Errorf("Walk %s: %s", c.path, got)
		}
		if n, ambiguous := p.First(root); string(n.Raw()) != c.first || ambiguous != c.ambiguous {
			t.Errorf("First %s: %s, %v", c.path, n.Raw(), ambiguous)
		}
	}
}

func TestWalkEnds(t *testing.T) {
	var d Document
	root := parse(t, &d, `[[1,2],[3,4]]`)
	p, err := ParsePath("[*][*]")
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	p.Walk(root, func(Node) bool { calls++; return calls < 3 })
	if calls != 3 {
		t.Errorf("%d calls", calls)
	}
	// A visit inside a visit keeps its own place.
	var got []string
	p.Visit(root, func(h Hit) bool {
		p.Visit(root, func(Hit) bool { return true })
		got = append(got, string(p.AppendAt(nil, h.Stars)))
		return true
	})
	if s := strings.Join(got, " "); s != "[0][0] [0][1] [1][0] [1][1]" {
		t.Error(s)
	}
	if n, _ := (Path{}).First(root); string(n.Raw()) != string(root.Raw()) {
		t.Error("the zero path is not the root")
	}
	if n, ambiguous := p.First(Node{}); n.Exists() || ambiguous {
		t.Error("a place in no value")
	}
}
