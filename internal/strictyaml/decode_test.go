package strictyaml

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type color string

func (c *color) UnmarshalText(text []byte) error {
	if string(text) != "red" {
		return errors.New("is no color; want red")
	}
	*c = color(text)
	return nil
}

type part struct {
	Name  string        `yaml:"name"`
	Wait  time.Duration `yaml:"wait"`
	Until time.Time     `yaml:"until"`
	Color color         `yaml:"color"`
}

type sample struct {
	On    bool     `yaml:"on"`
	Count int      `yaml:"count"`
	Names []string `yaml:"names"`
	Parts []part   `yaml:"parts"`
	Other part     `yaml:"other"`
}

func TestDecodeReadsWhatIsMeant(t *testing.T) {
	s := sample{Count: 7, Other: part{Wait: time.Second}}
	_, err := Decode("f.yaml", []byte("on: true\nnames: [a, no, 12]\nparts:\n- {name: x, wait: 3s, color: red, until: 2027-01-02T03:04:05Z}\n"), &s)
	if err != nil {
		t.Fatal(err)
	}
	if !s.On || s.Count != 7 || strings.Join(s.Names, ",") != "a,no,12" || s.Other.Wait != time.Second {
		t.Errorf("%+v", s)
	}
	if p := s.Parts[0]; p.Name != "x" || p.Wait != 3*time.Second || p.Color != "red" || !p.Until.Equal(time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("%+v", p)
	}
}

func TestEachMistakeHasItsLineAndField(t *testing.T) {
	for text, want := range map[string]string{
		"on: true\nx: 1":                   "f.yaml:2: x: is no field; want one of on, count, names, parts, other",
		"On: true":                         "f.yaml:1: On: is no field",
		"on: yes":                          `f.yaml:1: on: is "yes"; want true or false`,
		"on: true\non: false":              "f.yaml:2: on: is there twice, first on line 1",
		"count: 1.5":                       `f.yaml:1: count: is "1.5"; want a whole number`,
		"count: 99999999999999999999":      "want a whole number",
		"names: a":                         `f.yaml:1: names: is "a"; want a list`,
		"names: [[a]]":                     "f.yaml:1: names[0]: is a list; want one value",
		"names:\n- a\n- {b: c}":            "f.yaml:3: names[1]: is an object; want one value",
		"parts:\n- name: x\n  wait: soon":  `f.yaml:3: parts[0].wait: is "soon"; want a duration such as 30s`,
		"parts:\n- until: tomorrow":        `f.yaml:2: parts[0].until: is "tomorrow"; want a time such as`,
		"parts:\n- color: blue":            "f.yaml:2: parts[0].color: is no color; want red",
		"parts:\n- color: [red]":           "f.yaml:2: parts[0].color: is a list; want a text",
		"other:":                           "f.yaml:1: other: has no value",
		"other: {name: ~}":                 "f.yaml:1: other.name: has no value",
		"names: &a [x]\nother: {name: *a}": "f.yaml:2: other.name: is an alias; write it out",
		"other: {<<: {name: x}}":           "other.<<: is no field",
		"other: {? [a] : b}":               "has a list as a key",
		"on: true\n---\non: true":          "a second document begins here",
		"on: [":                            "is no YAML",
		"\tx: 1":                           "is no YAML",
		"- a":                              "f.yaml:1: the file: is a list; want fields",
		"just a text":                      "want fields",
		"other: {name: " + deep(40) + "}":  "want one value",
		"on: true\n\x00":                   "is no YAML",
		"parts: [" + strings.Repeat("{},", 60000) + "]": "is over 50000 values",
	} {
		_, err := Decode("f.yaml", []byte(text), &sample{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q:\n got %v\nwant %s", text, err, want)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("more than a line: %q", err)
		}
	}
}

func deep(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestErrorfFindsTheNearestLine(t *testing.T) {
	f, err := Decode("f.yaml", []byte("on: true\nparts:\n- name: a\n- name: b\n"), &sample{})
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"parts[1].name":  "f.yaml:4: parts[1].name: is bad",
		"parts[1].wait":  "f.yaml:4: parts[1].wait: is bad",
		"parts":          "f.yaml:2: parts: is bad",
		"other.name":     "f.yaml: other.name: is bad",
		"":               "f.yaml: is bad",
		"parts[9].color": "f.yaml:2: parts[9].color: is bad",
	} {
		if got := f.Errorf(field, "is %s", "bad").Error(); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
}

func TestReadRefusesWhatOthersMayWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.yaml")
	for mode, fine := range map[os.FileMode]bool{0o600: true, 0o644: true, 0o440: true, 0o660: false, 0o646: false, 0o666: false, 0o622: false} {
		if err := os.WriteFile(path, []byte("on: true\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := Read(path)
		if fine != (err == nil) || err != nil && !strings.Contains(err.Error(), "may be written by others") {
			t.Errorf("mode %o: %v", mode, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Read(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Read(filepath.Dir(path)); err == nil || !strings.Contains(err.Error(), "is no file") {
		t.Errorf("a folder: %v", err)
	}
	if err := os.WriteFile(path, make([]byte, MaxBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("a large file: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("on: true\nparts:\n- {name: x, wait: 3s}\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s sample
		_, err := Decode("f.yaml", data, &s)
		if err != nil && (!strings.HasPrefix(err.Error(), "f.yaml:") || strings.Contains(err.Error(), "\n")) {
			t.Fatalf("no single line with a place: %q", err)
		}
	})
}
