package config_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// reporters are the functions whose format is a message.
var reporters = map[string]bool{"fail": true, "warn": true, "dangling": true, "refuse": true, "bad": true}

// noFile are messages that no file of testdata/bad can provoke.
var noFile = map[string]string{
	"is %s, and Model %s has no version of that name; %s":                                                         "only a mesh takes such targets: TestInboundTargets",
	"is %s, which has FailSafePolicy %s already (%s); want one policy for each version":                           "the same",
	"is %s, which has no backendRef, by which its sidecars would be found; want the Service of its workloads":     "the same",
	"is %s, over the request timeout of %s, %s, which then holds for what is no prediction alone":                 "only in a mesh the two are not one's who writes the policy: TestTwins",
	"is %s, and %s is called the same: they would be one in metrics; want another name for the rule or the route": "a mesh's routes alone are read apart: TestTwins",
	"is %s; want a file below %s, written without . and ..":                                                       "only a mesh keeps namespaces apart: TestFilesOfAMesh",
	"cannot be read from a file; remove it":                                                                       "no kind has a field of such a type",
	"is %s, which cannot be read":                                                                                 "nothing that the parser accepts is unreadable as a plain value",
	"cannot be compiled for route %s: %v":                                                                         "a compiled policy holds nothing that JSON does not",
}

// TestEveryMessageHasAFile reads the source for messages and wants each in
// some file of testdata/bad.
func TestEveryMessageHasAFile(t *testing.T) {
	var all strings.Builder
	names, err := filepath.Glob(filepath.Join("testdata", "bad", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants(data) {
			all.WriteString(want + "\n")
		}
	}
	found := 0
	for _, dir := range []string{".", filepath.Join("..", "compile")} {
		for _, m := range messages(t, dir) {
			found++
			if _, known := noFile[m.format]; known {
				continue
			}
			if !pattern(m.format).MatchString(all.String()) {
				t.Errorf("%s: no file of testdata/bad has the message %q", m.place, m.format)
			}
		}
	}
	if found < 150 {
		t.Errorf("found %d messages in the source; the search is broken", found)
	}
}

type message struct{ place, format string }

func messages(t *testing.T, dir string) []message {
	t.Helper()
	var out []message
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && reporters[calledName(call)] {
				if format := format(call); format != "" {
					out = append(out, message{fset.Position(call.Pos()).String(), format})
				}
			}
			return true
		})
	}
	return out
}

func calledName(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// format is a call's last literal that holds a blank: fields hold none.
func format(call *ast.CallExpr) string {
	found := ""
	for _, arg := range call.Args {
		if lit, ok := arg.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil && strings.Contains(text, " ") && found == "" {
				found = text
			}
		}
	}
	return found
}

var verb = regexp.MustCompile(`%[dsqvg]`)

// pattern turns a format into what it can give.
func pattern(format string) *regexp.Regexp {
	parts := verb.Split(format, -1)
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(strings.Join(parts, ".*"))
}
