package deploytest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pages are what a user reads, beside the pages that are made from code.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{"README.md": string(read(t, "README.md"))}
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	for _, name := range files {
		name = "docs/" + filepath.Base(name)
		found[name] = string(read(t, name))
	}
	return found
}

// constants reads the texts of a type's constants from a package's source.
func constants(t *testing.T, file, typeName string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != typeName {
			return true
		}
		if l, ok := spec.Values[0].(*ast.BasicLit); ok && l.Kind == token.STRING {
			text, _ := strconv.Unquote(l.Value)
			out = append(out, text)
		}
		return true
	})
	return out
}

// TestReleasesPageNamesWhatIsRecorded holds the tables of docs/releases.md
// against the code: kinds of history records, phases, rails.
func TestReleasesPageNamesWhatIsRecorded(t *testing.T) {
	page := string(read(t, "docs/releases.md"))
	for _, table := range []struct{ title, file, typeName string }{
		{"kind", "internal/release/record.go", "Kind"},
		{"phase", "internal/release/state.go", "Phase"},
		{"rail", "internal/release/state.go", "Rail"},
	} {
		_, rest, ok := strings.Cut(page, "\n| "+table.title+" |")
		if !ok {
			t.Errorf("docs/releases.md has no table of %s", table.title)
			continue
		}
		rows, _, _ := strings.Cut(rest, "\n\n")
		var got []string
		for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(rows, -1) {
			got = append(got, row[1])
		}
		want := constants(t, table.file, table.typeName)
		slices.Sort(got)
		slices.Sort(want)
		if len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("docs/releases.md, table of %s: has %v, the code %v", table.title, got, want)
		}
	}
}

// TestPagesNameFlagsThatExist holds every flag in the pages against what the
// command declares.
func TestPagesNameFlagsThatExist(t *testing.T) {
	known := declaredFlags(t, "cmd/safestate")
	for _, more := range []string{"help", "version"} { // cobra's
		known[more] = true
	}
	foreign := map[string]bool{ // of etcd and etcdutl, in docs/replicas.md
		"listen-client-urls": true, "advertise-client-urls": true, "bump-revision": true, "mark-compacted": true,
		// Of kubectl and helm, in docs/istio.md.
		"server-side": true, "force-conflicts": true, "type": true, "from-file": true, "dry-run": true, "set": true, "create-namespace": true, "reuse-values": true, "reset-then-reuse-values": true, "replicas": true, "for": true,
	}
	for name, text := range pages(t) {
		for _, m := range regexp.MustCompile("(?:^|[ `(\\[|])--([a-z][a-z-]*[a-z])").FindAllStringSubmatch(text, -1) {
			if !known[m[1]] && !foreign[m[1]] {
				t.Errorf("%s names --%s, which no command of safestate has", name, m[1])
			}
		}
	}
}

// TestPagesLinkToWhatIsThere follows the links of the pages: the file is there,
// and so is the heading.
func TestPagesLinkToWhatIsThere(t *testing.T) {
	for name, text := range pages(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := name
			if target != "" {
				file = filepath.Join(filepath.Dir(name), target)
			}
			if !exists(file) {
				t.Errorf("%s links to %s, which is not there", name, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(string(read(t, file))), anchor) {
				t.Errorf("%s links to %s, and there is no such heading", name, m[1])
			}
		}
	}
}

// anchors are those of a page's headings, as GitHub makes them.
func anchors(page string) []string {
	var out []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		kept := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
				return r
			}
			return -1
		}, strings.ToLower(m[1]))
		out = append(out, kept)
	}
	return out
}
