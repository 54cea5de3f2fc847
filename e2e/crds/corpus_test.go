package crds

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/both.txt")

const bad = root + "/internal/config/testdata/bad"

// both holds the files that both refuse, with what the API server says.
const both = "testdata/both.txt"

// TestBoth holds every file that safestate refuses against the definitions. A
// new one is refused by the API server as well, and stands in both.txt with its
// message, or stands in the list of what only safestate can know.
func TestBoth(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(bad, "*.yaml"))
	if err != nil || len(names) < 300 {
		t.Fatalf("found %d files, err %v", len(names), err)
	}
	api, only, got := newServer(t), reasons(t), map[string]string{}
	count := map[string]int{}
	for _, file := range names {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, refused := api.file(t.Context(), text)
		reason, listed := only[name]
		delete(only, name)
		switch taken := len(refused) == 0; {
		case !isRefused(string(text)):
			count["taken by both"]++
			if !taken {
				t.Errorf("%s: safestate takes it with a warning, and the API server refuses it: %s", name, refused)
			}
		case taken && !listed:
			t.Errorf("%s: safestate refuses it and the API server takes it; want a rule in internal/api/v1alpha1, or its name with a reason in only_test.go\n\t%s", name, strings.Join(wants(string(text)), "\n\t"))
		case taken:
			count["refused by safestate only"]++
		case listed:
			t.Errorf("%s: both refuse it, so that it needs no reason (%s): %s", name, reason, refused)
		default:
			count["refused by both"]++
			got[name] = strings.Join(refused, "\n\t")
		}
	}
	for name := range only {
		t.Errorf("%s: stands in only_test.go, and there is no such file", name)
	}
	compare(t, got)
	t.Logf("files=%d both=%d safestate-only=%d taken-with-a-warning=%d", len(names), count["refused by both"], count["refused by safestate only"], count["taken by both"])
}

// compare holds what the API server says against both.txt.
func compare(t *testing.T, got map[string]string) {
	t.Helper()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(got)) {
		fmt.Fprintf(&b, "%s\n\t%s\n", name, got[name])
	}
	if *update {
		if err := os.WriteFile(both, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(both)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() == string(want) {
		return
	}
	is, was := strings.Split(b.String(), "\n"), strings.Split(string(want), "\n")
	for _, line := range is {
		if !slices.Contains(was, line) {
			t.Errorf("not in %s: %s", both, line)
		}
	}
	for _, line := range was {
		if !slices.Contains(is, line) {
			t.Errorf("only in %s: %s", both, line)
		}
	}
	t.Errorf("%s is not what the API server says; look at it, then go test -update", both)
}

// wants are safestate's own messages, which TestBad of internal/config holds it
// to.
func wants(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if want, ok := strings.CutPrefix(line, "# want: "); ok {
			out = append(out, strings.TrimSpace(want))
		}
	}
	return out
}

// isRefused reports whether one of the messages is no warning.
func isRefused(text string) bool {
	return slices.ContainsFunc(wants(text), func(want string) bool { return !strings.Contains(want, " warning: ") })
}
