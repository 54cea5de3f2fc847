package chat

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// told writes events as text, pieces of one over the limit joined.
func told(b *strings.Builder, e *Event, part *[]byte) {
	if e.Part {
		*part = append(*part, e.Raw...)
		return
	}
	if *part != nil {
		fmt.Fprintf(b, "over %q\n", *part)
		*part = nil
	}
	fmt.Fprintf(b, "%q", e.Raw)
	if e.HasData {
		fmt.Fprintf(b, " data=%q", e.Data)
	}
	if len(e.Name) > 0 {
		fmt.Fprintf(b, " event=%q", e.Name)
	}
	if e.Stray {
		b.WriteString(" stray")
	}
	b.WriteByte('\n')
}

// split gives text to a Splitter in pieces of the lengths in cuts, over and
// over, and returns what it says. Each piece is overwritten afterwards.
func split(t testing.TB, text string, limit int, cuts []byte) string {
	s := Splitter{Limit: limit}
	var out strings.Builder
	var part []byte
	var e Event
	whole := func() {
		told(&out, &e, &part)
		if s.Held() > limit {
			t.Fatalf("holds %d bytes, limit %d", s.Held(), limit)
		}
	}
	for i := 0; len(text) > 0; i++ {
		n := len(text)
		if len(cuts) > 0 {
			n = min(int(cuts[i%len(cuts)])+1, n)
		}
		piece := []byte(text[:n])
		text = text[n:]
		for b := piece; ; {
			var ok bool
			if b, ok = s.Next(b, &e); !ok {
				if len(b) > 0 {
					t.Fatalf("%d bytes left without an event", len(b))
				}
				break
			}
			whole()
		}
		for i := range piece {
			piece[i] = '#'
		}
	}
	ended, ok := s.End(&e)
	if ok {
		fmt.Fprintf(&out, "end whole=%v ", ended)
		told(&out, &e, &part)
	}
	if part != nil {
		fmt.Fprintf(&out, "over %q\n", part)
	}
	return out.String()
}

func TestSplitter(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nothing": {"", ""},
		"LF": {"data: {\"a\":1}\n\ndata: [DONE]\n\n",
			`"data: {\"a\":1}\n\n" data="{\"a\":1}"` + "\n" + `"data: [DONE]\n\n" data="[DONE]"` + "\n"},
		"CRLF": {"data: a\r\n\r\ndata: b\r\n\r\n",
			`"data: a\r\n\r\n" data="a"` + "\n" + `"data: b\r\n\r\n" data="b"` + "\n"},
		"CR": {"data: a\r\rdata: b\r\r",
			`"data: a\r\r" data="a"` + "\n" + `end whole=true "data: b\r\r" data="b"` + "\n"},
		"all three": {"data: a\n\r\ndata: b\r\n\rdata: c\r\n\n",
			`"data: a\n\r\n" data="a"` + "\n" + `"data: b\r\n\r" data="b"` + "\n" + `"data: c\r\n\n" data="c"` + "\n"},
		"no blank behind the colon": {"data:a\n\n", `"data:a\n\n" data="a"` + "\n"},
		"one blank is not data":     {"data:  a\n\n", `"data:  a\n\n" data=" a"` + "\n"},
		"several lines":             {"data: a\ndata\ndata: c\n\n", `"data: a\ndata\ndata: c\n\n" data="a\n\nc"` + "\n"},
		"a comment":                 {": OPENROUTER PROCESSING\n\n", `": OPENROUTER PROCESSING\n\n"` + "\n"},
		"a comment inside":          {": x\ndata: a\n: y\n\n", `": x\ndata: a\n: y\n\n" data="a"` + "\n"},
		"fields":                    {"event: error\nid: 7\nretry: 10\ndata: a\n\n", `"event: error\nid: 7\nretry: 10\ndata: a\n\n" data="a" event="error"` + "\n"},
		"no data":                   {"event: ping\n\n", `"event: ping\n\n" event="ping"` + "\n"},
		"empty data":                {"data:\n\n", `"data:\n\n" data=""` + "\n"},
		"blank lines":               {"\n\ndata: a\n\n", `"\n"` + "\n" + `"\n"` + "\n" + `"data: a\n\n" data="a"` + "\n"},
		"byte order mark":           {"\ufeffdata: a\n\n\ufeffdata: b\n\n", `"\ufeffdata: a\n\n" data="a"` + "\n" + `"\ufeffdata: b\n\n" stray` + "\n"},
		"text that is no event":     {"Internal Server Error\n\n", `"Internal Server Error\n\n" stray` + "\n"},
		"names have a case":         {"Data: a\n\n", `"Data: a\n\n" stray` + "\n"},
		"no end":                    {"data: a\n\ndata: [DONE]\n", `"data: a\n\n" data="a"` + "\n" + `end whole=false "data: [DONE]\n" data="[DONE]"` + "\n"},
		"no line end":               {"data: [DO", `end whole=false "data: [DO" data="[DO"` + "\n"},
		"over the limit":            {"data: " + strings.Repeat("x", 100) + "\n\ndata: b\n\n", `over "data: ` + strings.Repeat("x", 100) + `\n\n"` + "\n" + `"data: b\n\n" data="b"` + "\n"},
		"over it, CRLF":             {"data: " + strings.Repeat("x", 100) + "\r\n\r\ndata: b\r\n\r\n", `over "data: ` + strings.Repeat("x", 100) + `\r\n\r\n"` + "\n" + `"data: b\r\n\r\n" data="b"` + "\n"},
		"over it, CR":               {"data: " + strings.Repeat("x", 100) + "\r\rdata: b\r\r:", `over "data: ` + strings.Repeat("x", 100) + `\r\r"` + "\n" + `"data: b\r\r" data="b"` + "\n" + `end whole=false ":"` + "\n"},
		"over it, and no end":       {"data: " + strings.Repeat("x", 100), `over "data: ` + strings.Repeat("x", 100) + `"` + "\n"},
		"cut inside a character":    {"data: é\n\n", `"data: é\n\n" data="é"` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, cuts := range [][]byte{nil, {0}, {1}, {0, 4}, {6, 0, 0}, {20}} {
				if got := split(t, c.text, 64, cuts); got != c.want {
					t.Fatalf("cuts %v\ngot  %s\nwant %s", cuts, got, c.want)
				}
			}
		})
	}
}

// What lies in the given bytes is not copied, and nothing is kept of a piece
// that holds whole events alone.
func TestSplitterInPlace(t *testing.T) {
	piece := []byte("data: a\n\ndata: b\n\n")
	var s Splitter
	var e Event
	b, at := piece, 0
	allocs := testing.AllocsPerRun(10, func() {
		b, at = piece, 0
		for {
			var ok bool
			if b, ok = s.Next(b, &e); !ok {
				break
			}
			if !e.InPlace || &e.Raw[0] != &piece[at] {
				t.Fatal("copied")
			}
			at += len(e.Raw)
		}
	})
	if at != len(piece) || s.Held() != 0 || allocs != 0 {
		t.Fatalf("%d bytes of %d, %d held, %v allocations", at, len(piece), s.Held(), allocs)
	}
}

// A long event does not leave its room behind.
func TestSplitterLetsGo(t *testing.T) {
	var s Splitter
	var e Event
	long := append(bytes.Repeat([]byte("data: 0123456789\n"), 1000), '\n')
	for _, b := range [][]byte{long[:10], long[10:]} {
		for ok := true; ok; {
			b, ok = s.Next(b, &e)
		}
	}
	s.Next([]byte("data"), &e)
	if c := cap(s.tail) + cap(s.text); c > 2*smallBytes {
		t.Fatalf("%d bytes of room", c)
	}
}

// FuzzSplitter: the events are the same however the bytes are cut, and together
// they are the bytes.
func FuzzSplitter(f *testing.F) {
	f.Add([]byte("data: {\"a\":1}\n\n: x\r\n\r\ndata: a\rdata: b\r\rdata: [DONE]\n\n"), []byte{0, 3}, uint8(63))
	f.Add([]byte("\xef\xbb\xbfevent: error\ndata: 0123456789012345678901234567890123456789\r\n\r\n\r\r\n"), []byte{7}, uint8(20))
	f.Fuzz(func(t *testing.T, text, cuts []byte, limit uint8) {
		whole := split(t, string(text), int(limit)+1, nil)
		if got := split(t, string(text), int(limit)+1, cuts); got != whole {
			t.Fatalf("cuts %v\ngot  %s\nwant %s", cuts, got, whole)
		}
		var s Splitter
		var e Event
		var all []byte
		for b, ok := s.Next(text, &e); ok; b, ok = s.Next(b, &e) {
			all = append(all, e.Raw...)
		}
		if _, ok := s.End(&e); ok {
			all = append(all, e.Raw...)
		}
		if !bytes.Equal(all, text) {
			t.Fatalf("got %q of %q", all, text)
		}
	})
}
