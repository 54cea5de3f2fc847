package internal

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestNothingRacesWithoutTheDetector: `make test` runs the packages of SEQUENTIAL
// without the race detector. Nothing of ours that they are made of starts a goroutine,
// and neither do their tests.
func TestNothingRacesWithoutTheDetector(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^SEQUENTIAL := (.+)$`).FindSubmatch(makefile)
	if m == nil {
		t.Fatal("the Makefile names no SEQUENTIAL packages")
	}
	found := imports(t)
	looked := map[string]bool{}
	var look func(pkg string)
	look = func(pkg string) {
		if looked[pkg] {
			return
		}
		looked[pkg] = true
		goroutines(t, pkg, false)
		for _, name := range found[pkg] {
			if rel, ours := strings.CutPrefix(name, module); ours {
				look(rel)
			}
		}
	}
	for pkg := range strings.FieldsSeq(string(m[1])) {
		pkg = strings.TrimPrefix(pkg, "./")
		if found[pkg] == nil {
			t.Errorf("SEQUENTIAL has %s, which does not exist", pkg)
		}
		look(pkg)
		goroutines(t, pkg, true)
	}
}

// goroutines fails the test where a file of a package, or of its tests, starts one.
func goroutines(t *testing.T, pkg string, tests bool) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", pkg, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") != tests {
			continue
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			starts := false
			switch n := n.(type) {
			case *ast.GoStmt:
				starts = true
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); ok {
					starts = s.Sel.Name == "Go" || s.Sel.Name == "Parallel" || s.Sel.Name == "RunParallel"
				}
			}
			if starts {
				t.Errorf("%s: a goroutine, in what is tested without the race detector", set.Position(n.Pos()))
			}
			return true
		})
	}
}
