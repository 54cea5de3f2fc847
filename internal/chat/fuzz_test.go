package chat

import (
	"bytes"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/scan"
)

// FuzzReshape puts bodies in every form. Nothing panics; what a completion
// becomes is a completion of that form, or a stream that the splitter and the
// reader of chunks take whole, in which every choice says the same as before.
func FuzzReshape(f *testing.F) {
	f.Add([]byte(wholeChat))
	f.Add([]byte(wholeLegacy))
	f.Add([]byte(`{"choices":[{"message":{"content":[{"text":"a"}],"refusal":"b","tool_calls":[{"id":"c"}],"audio":{"id":1},"reasoning":"r"}}]}`))
	f.Add([]byte(`{"choices":[{"message":{"content":"","role":null},"finish_reason":"content_filter","index":null},{"message":{"content":"\ud83d\ude00"},"index":1}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for i := range 8 {
			to := Shape{Stream: i&1 != 0, IncludeUsage: i&2 != 0, Legacy: i&4 != 0}
			out, kind, err := Reshape(nil, body, to)
			switch {
			case err != nil && (out != nil || kind != ""):
				t.Fatalf("an error with %q", out)
			case err != nil:
			case to.Stream:
				checkStream(t, body, out, to)
			default:
				checkWhole(t, out, to)
			}
		}
	})
}

func checkWhole(t *testing.T, out []byte, to Shape) {
	var d scan.Document
	if err := d.Parse(out, bodyLimits); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	var c Completion
	if p := c.Read(d.Root()); p.Found() || c.Legacy != to.Legacy {
		t.Fatalf("%+v of %s", p, out)
	}
	if again, _, err := Reshape(nil, out, to); err != nil || !bytes.Equal(again, out) {
		t.Fatalf("again: %v, %s became %s", err, out, again)
	}
}

func checkStream(t *testing.T, body, out []byte, to Shape) {
	said, ended := map[int][]byte{}, map[int]int{}
	var s Splitter
	s.Limit = 1 << 24
	done := false
	for {
		var e Event
		var ok bool
		if out, ok = s.Next(out, &e); !ok {
			break
		}
		if done || !e.HasData || e.Stray || e.Part {
			t.Fatalf("event %q", e.Raw)
		}
		if done = e.IsDone(); !done {
			readChunk(t, &e, to, said, ended)
		}
	}
	if !done || s.Held() > 0 {
		t.Fatalf("no end, %d bytes left", s.Held())
	}
	var d scan.Document
	if err := d.Parse(body, bodyLimits); err != nil {
		t.Fatal(err)
	}
	var c Completion
	c.Read(d.Root())
	want, ends := map[int][]byte{}, map[int]int{}
	for i := range c.Choices {
		at := i
		if n, ok := c.Choices[i].Index.Int(); ok {
			at = int(n)
		}
		ends[at]++
		if to.Legacy && !c.Legacy && !speaks(c.Choices[i].Content) {
			want[at] = c.Choices[i].Refusal.Text(want[at])
		}
		want[at] = c.Choices[i].AppendContent(want[at])
	}
	for at, n := range ends {
		if ended[at] != n || !bytes.Equal(said[at], want[at]) {
			t.Fatalf("choice %d ended %d of %d times and says %q, want %q", at, ended[at], n, said[at], want[at])
		}
	}
}

func readChunk(t *testing.T, e *Event, to Shape, said map[int][]byte, ended map[int]int) {
	var doc scan.Document
	if err := doc.Parse(e.Data, bodyLimits); err != nil {
		t.Fatalf("%v in %s", err, e.Data)
	}
	var c Chunk
	if p := c.Read(doc.Root()); p.Found() {
		t.Fatalf("%+v of %s", p, e.Data)
	}
	for it := c.Choices.Children(); it.Next(); {
		var d Delta
		if p := d.Read(it.Value(), it.Index(), to.Legacy); p.Found() {
			t.Fatalf("%+v of %s", p, e.Data)
		}
		said[d.Index] = (&Choice{Content: d.Content}).AppendContent(said[d.Index])
		if scan.Says(d.FinishReason) {
			ended[d.Index]++
		}
	}
}

// FuzzValidate holds contents to formats. Nothing panics or takes long, the
// same gives the same, and what a schema says of a value it says of its
// canonical form.
func FuzzValidate(f *testing.F) {
	f.Add([]byte(`{"type":"object","properties":{"a":{"$ref":"#/$defs/b"}},"$defs":{"b":{"enum":[1,"x"]}}}`), []byte(`{"a":"x"}`))
	f.Add([]byte(`{"anyOf":[{"$ref":"#"},{"oneOf":[{"minLength":2},{"items":{"maximum":3}}]}]}`), []byte(`["abc",4]`))
	f.Add([]byte(`{"required":["a"],"additionalProperties":false,"prefixItems":[{"const":{"a":[1]}}]}`), []byte(`[{"a":[1.0]}]`))
	f.Fuzz(func(t *testing.T, schema, content []byte) {
		var of, once, twice scan.Document
		if of.Parse(schema, scan.Limits{}) != nil || once.Parse(content, scan.Limits{}) != nil {
			return
		}
		begin := time.Now()
		first := Validate(of.Root(), once.Root())
		if first != Validate(of.Root(), once.Root()) {
			t.Fatal("two verdicts")
		}
		if d := time.Since(begin); d > 5*time.Second {
			t.Fatalf("it took %s", d)
		}
		if twice.Parse(scan.AppendCanonical(nil, once.Root()), scan.Limits{}) == nil {
			if second := Validate(of.Root(), twice.Root()); first.Found() != second.Found() {
				t.Fatalf("%q, and of the canonical form %q", first, second)
			}
		}
	})
}
