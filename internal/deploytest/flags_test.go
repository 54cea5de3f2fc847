package deploytest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// argument returns the value of a flag in a command: --name=value, or -name
// value.
func argument(t *testing.T, command []string, name string) string {
	t.Helper()
	for i, a := range command {
		flag, value, joined := strings.Cut(strings.TrimLeft(a, "-"), "=")
		switch {
		case !strings.HasPrefix(a, "-") || flag != name:
		case joined:
			return value
		case i+1 < len(command):
			return command[i+1]
		}
	}
	t.Fatalf("no flag %s in %v", name, command)
	return ""
}

func itoa[T ~int | ~int32 | ~uint16 | ~uint32](n T) string { return strconv.Itoa(int(n)) }

// declaredFlags reads the flags that a command declares from its source: the
// first text among the arguments of StringVar, Duration and the like.
func declaredFlags(t *testing.T, dir string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no source in %s: %v", dir, err)
	}
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if s, ok := call.Fun.(*ast.SelectorExpr); !ok || !isFlagMethod(s.Sel.Name) {
				return true
			}
			for _, a := range call.Args {
				if l, ok := a.(*ast.BasicLit); ok && l.Kind == token.STRING {
					text, _ := strconv.Unquote(l.Value)
					found[text] = true
					break
				}
			}
			return true
		})
	}
	return found
}

func isFlagMethod(name string) bool {
	for _, kind := range []string{"String", "StringSlice", "StringArray", "Bool", "Int", "Int64", "Uint", "Uint64", "Float64", "Duration"} {
		if name == kind || name == kind+"Var" || name == kind+"VarP" {
			return true
		}
	}
	return false
}

// TestCommandsUseFlagsThatExist holds every command line that is shipped
// against the flags that the programs declare.
func TestCommandsUseFlagsThatExist(t *testing.T) {
	safestate, samplemodel := declaredFlags(t, "cmd/safestate"), declaredFlags(t, "cmd/samplemodel")
	s := services(t)
	commands := map[string]struct {
		args  []string
		known map[string]bool
	}{
		"compose safestate":   {s["safestate"].Command, safestate},
		"Dockerfile's CMD":    {dockerfile(t).cmd, safestate},
		"compose fraud-v1":    {s["fraud-v1"].Command, samplemodel},
		"compose fraud-v2":    {s["fraud-v2"].Command, samplemodel},
		"compose fraud-small": {s["fraud-small"].Command, samplemodel},
	}
	for where, c := range commands {
		flags := 0
		for _, a := range c.args {
			if !strings.HasPrefix(a, "-") {
				continue
			}
			flags++
			name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
			if !c.known[name] {
				t.Errorf("%s: no flag %s", where, a)
			}
		}
		if flags == 0 {
			t.Errorf("%s has no flags: %v", where, c.args)
		}
	}
}
