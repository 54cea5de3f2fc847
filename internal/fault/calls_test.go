package fault

import (
	"go/ast"
	"go/build"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	module = "github.com/safestate/safestate/"
	root   = "../.."
)

// checker types the module's packages as they are built for the WASM filter.
type checker struct {
	files    *token.FileSet
	standard types.Importer
	known    map[string]*types.Package
	calls    map[*ast.CallExpr]*types.Info
}

// Import implements types.Importer. A package from elsewhere is empty: no call has a
// value of it.
func (c *checker) Import(name string) (*types.Package, error) {
	if p := c.known[name]; p != nil {
		return p, nil
	}
	rel, ours := strings.CutPrefix(name, module)
	switch {
	case ours:
		c.known[name] = c.check(name, filepath.Join(root, rel))
	case strings.Contains(strings.SplitN(name, "/", 2)[0], "."):
		c.known[name] = types.NewPackage(name, path.Base(name))
		c.known[name].MarkComplete()
	default:
		return c.standard.Import(name)
	}
	return c.known[name], nil
}

// parse reads the files of a folder that the filter is built of.
func (c *checker) parse(dir string) (files []*ast.File, err error) {
	filter := build.Default
	filter.GOOS, filter.GOARCH = "wasip1", "wasm"
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		in, err := filter.MatchFile(filepath.Split(name))
		if err != nil {
			return nil, err
		}
		if !in || strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(c.files, name, nil, 0)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

func (c *checker) check(name, dir string) *types.Package {
	files, err := c.parse(dir)
	if err != nil {
		return types.NewPackage(name, path.Base(name))
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: c, Error: func(error) {}, Sizes: types.SizesFor("gc", "wasm")}
	p, _ := conf.Check(name, c.files, files, info) // what does not type is the compiler's to say
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && isErrorf(call, info) {
				c.calls[call] = info
			}
			return true
		})
	}
	return p
}

func isErrorf(call *ast.CallExpr, info *types.Info) bool {
	s, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	f := info.Uses[s.Sel]
	return f != nil && f.Pkg() != nil && f.Pkg().Path() == module+"internal/fault" && f.Name() == "Errorf"
}

// kind names what a value is to Errorf, "" what it does not know.
func kind(t types.Type) string {
	has := func(method string) bool {
		m, _, _ := types.LookupFieldOrMethod(t, false, nil, method)
		f, ok := m.(*types.Func)
		return ok && types.TypeString(f.Signature(), nil) == "func() string"
	}
	switch t = types.Default(t); {
	case has("Error"):
		return "error"
	case has("String"):
		return "String"
	}
	switch s := types.TypeString(t, nil); s {
	case "string", "[]byte", "int", "int64", "float64":
		return s
	}
	return ""
}

var verbs = regexp.MustCompile(`%(\.\d+)?[a-zA-Z]`)

func TestCallsAreOfTheseForms(t *testing.T) {
	c := &checker{files: token.NewFileSet(), known: map[string]*types.Package{}, calls: map[*ast.CallExpr]*types.Info{}}
	c.standard = importer.ForCompiler(c.files, "source", nil)
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		files, err := c.parse(file)
		for _, f := range files {
			for _, i := range f.Imports {
				if i.Path.Value == `"`+module+`internal/fault"` {
					rel, _ := filepath.Rel(root, file)
					_, err := c.Import(module + filepath.ToSlash(rel))
					return err
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.calls) < 40 {
		t.Fatalf("only %d calls found", len(c.calls))
	}
	used := map[string]bool{}
	for call, info := range c.calls {
		at := c.files.Position(call.Pos())
		format := info.Types[call.Args[0]].Value
		if format == nil {
			t.Errorf("%s: the format is no constant", at)
			continue
		}
		list := verbs.FindAllString(strings.ReplaceAll(constant.StringVal(format), "%%", ""), -1)
		if len(list) != len(call.Args)-1 {
			t.Errorf("%s: %d verbs and %d values", at, len(list), len(call.Args)-1)
			continue
		}
		for i, verb := range list {
			form := verb + " " + kind(info.Types[call.Args[i+1]].Type)
			if used[form] = true; forms[form] == nil {
				t.Errorf("%s: value %d is of the form %q, which is not tried against fmt", at, i+1, form)
			}
		}
	}
	for form := range forms {
		if !used[form] {
			t.Errorf("nobody writes %q any more", form)
		}
	}
}
