package audit

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"
)

// hostile are texts as models, proxies and people send them.
var hostile = []string{
	"plain", "", "two\nlines\r\n", "tab\there", "\x1b[2J\x1b]0;owned\a", "user\u202egnp.exe", "\u2066isolate\u2069",
	"\xff\xfe broken", "\u2028\u2029\u0085\u00a0", "\x00", `"quoted" \ back`, "日本語 שלום 👍", "\U000e0001tag", strings.Repeat("long ", 2000),
	strings.Repeat("\x1b", 3000), `{"json": "\u001b"}`,
}

func TestTextsAreClean(t *testing.T) {
	for _, s := range hostile {
		for _, most := range []int{200, 4096} {
			got := cleanText(s, most)
			if len(got) > most || !printable(got) || cleanText(got, most) != got {
				t.Errorf("%.40q at %d becomes %.60q", s, most, got)
			}
			if printable(s) && len(s) <= most && got != s {
				t.Errorf("%q was clean, and becomes %q", s, got)
			}
		}
	}
	if got := cleanText("a\u202eb\x1b\n\xff\U000e0001", 100); got != `a\u202eb\x1b\n\xff\U000e0001` {
		t.Error(got)
	}
}

func TestJSONIsClean(t *testing.T) {
	for in, want := range map[string]string{
		``: ``, `null`: ``, ` null `: ``, ` {"a" : [1, 2.50, true, null]} `: `{"a":[1,2.50,true,null]}`,
		`"\u001b\u202e"`: `"\\x1b\\u202e"`, `{"k\u0007\"": "<&>\/"}`: `{"k\\x07\"":"<&>/"}`, "\"\u2028\"": `"\\u2028"`,
		"\"\x7f\"": `"\\x7f"`, `"\ud800"`: "\"\ufffd\"", "{broken\x1b": `"{broken\\x1b"`, "\"\xff\"": "\"\ufffd\"",
		`"` + strings.Repeat("x", 2000) + `"`: `{"omitted":2002,"sha256":"`,
	} {
		got := cleanJSON([]byte(in), 1000)
		if string(got) != want && (len(want) < 20 || !strings.HasPrefix(string(got), want)) {
			t.Errorf("%.60q becomes %.80s, want %s", in, got, want)
		}
		if again := cleanJSON(got, 1000); !bytes.Equal(again, got) || len(got) > 0 && !json.Valid(got) {
			t.Errorf("%.60q becomes %.80s, and then %.80s", in, got, again)
		}
	}
}

// TestHostileEntries writes entries with hostile texts everywhere: each is one
// printable line, is read back as it was written, also through other JSON, and
// the chain is sound.
func TestHostileEntries(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	for _, s := range hostile {
		text, err := json.Marshal(map[string]any{s: []string{s, s}})
		if err != nil {
			t.Fatal(err)
		}
		e := Entry{
			Kind: KindRefused, Actor: Actor{Name: "x" + s, How: s, Address: s}, Target: s, Reason: s,
			Before: text, After: []byte(s), Evidence: bytes.Repeat([]byte(s), 30), Outcome: OutcomeRefused, Happened: time.Now(),
		}
		if e, err = l.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		line := string(e.Line())
		if len(line) >= MaxLine || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%.40q: a line of %d bytes", s, len(line))
		}
		indented, err := json.MarshalIndent(e, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		var back Entry
		if err := json.Unmarshal(indented, &back); err != nil {
			t.Fatal(err)
		}
		for _, raw := range []*json.RawMessage{&back.Before, &back.After, &back.Evidence} {
			*raw = cleanJSON(*raw, maxEvidence) // without the indentation
		}
		if string(back.Line()) != line {
			t.Errorf("through JSON:\n%s\n%s", back.Line(), line)
		}
	}
	sound(t, dir)
}

func FuzzParse(f *testing.F) {
	l := written(f, "control-1", 6, Options{})
	for _, line := range linesOf(f, l) {
		f.Add(line)
	}
	f.Add([]byte(`{"v":1,"writer":"`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := Parse(line)
		if err == nil {
			if !bytes.Equal(e.Line(), line) {
				t.Errorf("written again:\n%s\n%s", e.Line(), line)
			}
			if !printable(string(line)) {
				t.Errorf("took what does not print: %q", line)
			}
			_ = intact(line, &e)
			_ = signed(line, &e, publicKey(l))
		} else if !printable(err.Error()) {
			t.Errorf("%q", err)
		}
		if w, err := ParseWitness(line); err == nil && !bytes.Equal(w.Line(), line) {
			t.Errorf("head written again:\n%s\n%s", w.Line(), line)
		}
	})
}

// FuzzVerify holds any text, after a chain's first entries, against Verify: it
// ends, and finds the text.
func FuzzVerify(f *testing.F) {
	l := written(f, "control-1", 6, Options{})
	lines := linesOf(f, l)
	good := append(bytes.Join(lines[:4], []byte("\n")), '\n')
	rest := bytes.Join(lines[4:], []byte("\n"))
	f.Add([]byte("\n"))
	f.Add(rest)
	f.Add(title{l.Status().Writer, publicKey(l)}.line())
	f.Add(l.Head().Line())
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Verify(VerifyOptions{}, Reader("x", bytes.NewReader(append(good[:len(good):len(good)], text...))))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Chains) == 0 || r.Chains[0].Last < 4 {
			t.Error(r.Text())
		}
		if r.OK() && !bytes.HasPrefix(append(rest[:len(rest):len(rest)], '\n'), text) && !bytes.HasPrefix(text, []byte(`{"`)) {
			t.Errorf("took %q", text)
		}
	})
}

// FuzzClean holds what is made of any text and any JSON against what entries
// may hold.
func FuzzClean(f *testing.F) {
	for _, s := range hostile {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if s := cleanText(string(in), 300); len(s) > 300 || !printable(s) || cleanText(s, 300) != s {
			t.Errorf("text %q", s)
		}
		if raw := cleanJSON(in, 300); len(raw) > 0 &&
			(len(raw) > 300 || !json.Valid(raw) || !printable(string(raw)) || !bytes.Equal(cleanJSON(raw, 300), raw)) {
			t.Errorf("JSON %q", raw)
		}
	})
}
