package crds

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
)

// taken lists what safestate takes: each a configuration of one file, or of a
// folder's files together.
func taken(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	glob := func(pattern string, name func(path string) string) {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: found %d files, err %v", pattern, len(paths), err)
		}
		for _, path := range paths {
			out[name(path)] = append(out[name(path)], path)
		}
	}
	own := func(path string) string { return strings.TrimPrefix(path, root+"/") }
	glob("testdata/defaults/*.yaml", own)
	glob(root+"/internal/config/testdata/*.yaml", own)
	glob(root+"/internal/compile/testdata/*.yaml", own)
	glob(root+"/internal/compile/testdata/example/*.yaml", func(string) string { return "example" })
	glob(root+"/docs/samples/*/*.yaml", func(path string) string { return filepath.Base(filepath.Dir(path)) })
	return out
}

// TestTaken: what safestate takes the API server takes too, and what comes back
// from it, defaults filled in, means the same.
func TestTaken(t *testing.T) {
	api, all := newServer(t), taken(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			var files, back []config.File
			for _, path := range all[name] {
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, config.File{Name: path, Data: text})
				back = append(back, config.File{Name: path, Data: api.returned(t, text)})
			}
			same(t, files, back)
		})
	}
	t.Logf("configurations=%d", len(all))
}

// returned applies a file and is what the API server has then.
func (s server) returned(t *testing.T, text []byte) []byte {
	t.Helper()
	objects, refused := s.file(t.Context(), text)
	for _, r := range refused {
		t.Error(r)
	}
	var docs []string
	for _, o := range objects {
		delete(o["metadata"].(map[string]any), "creationTimestamp")
		doc, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, string(doc))
	}
	return []byte(strings.Join(docs, "---\n"))
}

// same: both configurations are taken, and mean the same.
func same(t *testing.T, a, b []config.File) {
	t.Helper()
	was, problems := compile.Files(a...)
	is, after := compile.Files(b...)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(was, is) {
		t.Errorf("with the defaults filled in it means something else:%s", changes(t, was, is))
	}
	if a, b := messages(problems), messages(after); !slices.Equal(a, b) {
		t.Errorf("with the defaults filled in safestate says\n\t%s\nand said\n\t%s", strings.Join(b, "\n\t"), strings.Join(a, "\n\t"))
	}
}

// changes lists the lines of two values, as JSON, that the other has not.
func changes(t *testing.T, was, is any) string {
	t.Helper()
	lines := func(v any) []string {
		text, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(string(text), "\n")
	}
	var b strings.Builder
	a, z := lines(was), lines(is)
	for _, side := range []struct {
		sign         string
		these, those []string
	}{{"-", a, z}, {"+", z, a}} {
		for _, line := range side.these {
			if !slices.Contains(side.those, line) {
				b.WriteString("\n" + side.sign + line)
			}
		}
	}
	return b.String()
}

func messages(problems config.Problems) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.Object+" "+p.Field+" "+p.Message)
	}
	slices.Sort(out)
	return out
}
