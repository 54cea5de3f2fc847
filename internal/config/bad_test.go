package config_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
)

var update = flag.Bool("update", false, "write the wanted messages into testdata/bad")

const wantPrefix = "# want: "

// loadBad loads one bad file beside the good one, through everything that
// validates, and returns the messages without the file's name.
func loadBad(t testing.TB, name string) (data []byte, got []string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join("testdata", "good.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, problems := compile.Files(
		config.File{Name: "good.yaml", Data: good},
		config.File{Name: "bad.yaml", Data: data})
	for _, p := range problems {
		got = append(got, strings.TrimPrefix(p.String(), "bad.yaml:"))
	}
	return data, got
}

func wants(data []byte) []string {
	var out []string
	for line := range strings.Lines(string(data)) {
		if want, ok := strings.CutPrefix(line, wantPrefix); ok {
			out = append(out, strings.TrimSuffix(want, "\n"))
		}
	}
	return out
}

// TestBad holds every file of testdata/bad to the messages at its end, and to
// no others.
func TestBad(t *testing.T) {
	names, err := filepath.Glob(filepath.Join("testdata", "bad", "*.yaml"))
	if err != nil || len(names) < 100 {
		t.Fatalf("found %d files, err %v", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".yaml"), func(t *testing.T) {
			data, got := loadBad(t, name)
			if *update {
				rewrite(t, name, data, got)
				return
			}
			if want := wants(data); !slices.Equal(got, want) || len(want) == 0 {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
			}
		})
	}
}

func rewrite(t *testing.T, name string, data []byte, got []string) {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, wantPrefix) {
			b.WriteString(line)
		}
	}
	for _, g := range got {
		fmt.Fprintf(&b, "%s%s\n", wantPrefix, g)
	}
	if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestGood: what all bad files stand beside has no mistake of its own.
func TestGood(t *testing.T) {
	snapshot, problems := compile.Dir(filepath.Join("testdata"))
	if len(problems) != 0 || snapshot == nil {
		t.Fatalf("problems: %v", problems)
	}
}
