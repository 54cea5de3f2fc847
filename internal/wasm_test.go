package internal

import (
	"go/build"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// heavy are packages that the WASM module must not link, by path or what paths begin
// with, and why. Sizes are what they added to a module of 4 MB when they were taken
// out. An import is enough: what a package prepares at its start is linked although
// nobody calls it.
var heavy = map[string]string{
	"fmt":                    "750 KB with what it reads values by: package fault makes errors",
	"encoding/json":          "670 KB: package scan reads, and nothing in the filter writes by reflection",
	"reflect":                "who imports it calls methods by name, and then the linker keeps them all",
	"time":                   "340 KB, of time zones and GODEBUG: package internal/time has what is needed",
	"runtime/debug":          "330 KB: it imports fmt, os and time",
	"os":                     "170 KB, and Envoy gives the filter no files",
	"compress/":              "270 KB: package inflate has its own decoder",
	"crypto/":                "550 KB and 32 MiB of memory, for the random numbers of FIPS 140-3",
	"net/":                   "180 KB of netip: package slot reads addresses",
	"sort":                   "it calls by interface what package slices calls as it is",
	"google.golang.org/":     "80 KB: the filter is on no route that carries gRPC, and protowire imports fmt",
	"github.com/tetratelabs": "it runs modules",
}

// TestTheModuleIsLight goes through what the module is built of, file by file as the
// compiler takes them.
func TestTheModuleIsLight(t *testing.T) {
	filter := build.Default
	filter.GOOS, filter.GOARCH = "wasip1", "wasm"
	seen := map[string]bool{}
	var visit func(pkg string)
	visit = func(pkg string) {
		if seen[pkg] {
			return
		}
		seen[pkg] = true
		names, err := filepath.Glob(filepath.Join("..", pkg, "*.go"))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s has no files (%v)", pkg, err)
		}
		for _, name := range names {
			if in, err := filter.MatchFile(filepath.Split(name)); err != nil || !in || strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range file.Imports {
				name, err := strconv.Unquote(i.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				if rel, ours := strings.CutPrefix(name, module); ours {
					visit(rel)
					continue
				}
				for prefix, why := range heavy {
					if name == prefix || strings.HasPrefix(name, prefix) && (strings.HasSuffix(prefix, "/") || strings.Contains(prefix, ".")) {
						t.Errorf("%s is in the WASM module and imports %s: %s", pkg, name, why)
					}
				}
			}
		}
	}
	visit("wasm")
	for _, pkg := range core {
		if !seen[pkg] {
			t.Errorf("%s is core, and not in the WASM module", pkg)
		}
	}
}
