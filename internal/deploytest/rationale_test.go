package deploytest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var requirement = regexp.MustCompile(`(?m)^(?:require )?\s*([^\s/]+\.[^\s]+) (v[^\s]+)( // indirect)?$`)

// modules lists go.mod's requirements: true for a direct one.
func modules(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, m := range requirement.FindAllStringSubmatch(string(read(t, "go.mod")), -1) {
		all[m[1]] = m[3] == ""
	}
	if len(all) == 0 {
		t.Fatal("go.mod requires nothing")
	}
	return all
}

// imported lists the required modules that some file of the repository
// imports, tests included, whatever go.mod's comments say.
func imported(t *testing.T, required map[string]bool) map[string]string {
	t.Helper()
	by := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() && path != root && hasModule(path):
			return filepath.SkipDir // it has reasons of its own
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range file.Imports {
			name, _ := strconv.Unquote(i.Path.Value)
			if m := moduleOf(name, required); m != "" {
				by[m] = path
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return by
}

func hasModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// moduleOf is the longest required module whose path is a prefix of a
// package's.
func moduleOf(name string, required map[string]bool) string {
	best := ""
	for m := range required {
		if (name == m || strings.HasPrefix(name, m+"/")) && len(m) > len(best) {
			best = m
		}
	}
	return best
}

// TestEveryDependencyHasItsReason wants a line in RATIONALE.md for every module
// that the repository uses itself, and no line for one that it does not.
func TestEveryDependencyHasItsReason(t *testing.T) {
	required := modules(t)
	reasons := map[string]bool{}
	for _, l := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*) \\|$").FindAllStringSubmatch(string(read(t, "RATIONALE.md")), -1) {
		if len(l[2]) < 20 {
			t.Errorf("%s: %q is no reason", l[1], l[2])
		}
		reasons[l[1]] = true
	}
	used := imported(t, required)
	for m, direct := range required {
		if where, ok := used[m]; (ok || direct) && !reasons[m] {
			t.Errorf("%s has no line in RATIONALE.md (%s)", m, where)
		}
	}
	for m := range reasons {
		if _, ok := used[m]; !ok && !required[m] {
			t.Errorf("RATIONALE.md has a reason for %s, which nobody uses", m)
		}
	}
}

// TestChangelogKeepsItsForm holds CHANGELOG.md to Keep a Changelog 1.1.0.
func TestChangelogKeepsItsForm(t *testing.T) {
	text := string(read(t, "CHANGELOG.md"))
	if !strings.HasPrefix(text, "# Changelog\n") || !strings.Contains(text, "\n## [Unreleased]\n") {
		t.Error("want # Changelog and ## [Unreleased]")
	}
	version := regexp.MustCompile(`^## \[(Unreleased|\d+\.\d+\.\d+)\]( - \d{4}-\d{2}-\d{2})?$`)
	kind := regexp.MustCompile(`^### (Added|Changed|Deprecated|Removed|Fixed|Security)$`)
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "## ") && !version.MatchString(line) || strings.HasPrefix(line, "### ") && !kind.MatchString(line) {
			t.Errorf("%q is no heading of a changelog", line)
		}
	}
}
