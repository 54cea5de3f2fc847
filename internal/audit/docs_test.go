package audit

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// page is what auditors read.
func page(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPageNamesEverything(t *testing.T) {
	var words []string
	for kind := range kinds {
		words = append(words, string(kind))
	}
	for outcome := range outcomes {
		words = append(words, string(outcome))
	}
	for _, fault := range []Fault{Changed, Dropped, Inserted, Reordered, Unlinked, Truncated, Rewritten, Unsigned, BadHead, Missing} {
		words = append(words, string(fault))
	}
	for _, word := range append(words, strings.TrimSpace(entryDomain), strings.TrimSpace(headDomain)) {
		if !strings.Contains(page(t), "`"+word+"`") {
			t.Errorf("docs/audit.md does not name `%s`", word)
		}
	}
}

// TestPagesProgram runs the program that auditors are given.
func TestPagesProgram(t *testing.T) {
	_, program, _ := strings.Cut(page(t), "```python\n")
	program, _, ok := strings.Cut(program, "```")
	if !ok {
		t.Fatal("docs/audit.md has no program")
	}
	l := written(t, "control-1", 10, Options{SegmentBytes: 3000})
	var export bytes.Buffer
	if err := l.Export(t.Context(), &export); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text []byte
		want string
	}{
		{export.Bytes(), "11 entries, the last hash is " + l.Status().Hash.String()},
		{bytes.Replace(export.Bytes(), []byte("alice"), []byte("carol"), 1), "entry 2 is not as it was written"},
		{append([]byte(nil), bytes.Join(linesOf(t, l)[1:], []byte("\n"))...), "entry 1 is not as it was written"},
	} {
		command := exec.Command("python3", "-c", program)
		command.Stdin = bytes.NewReader(c.text)
		out, err := command.CombinedOutput()
		if (err == nil) != strings.HasPrefix(c.want, "11") || !strings.Contains(string(out), c.want) {
			t.Errorf("%v: %s\nwant %s", err, out, c.want)
		}
	}
}
