package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// TestEveryFieldIsDocumented: docs/configuration.md has a table for every
// type, with a row for every field and nothing in its place left empty.
func TestEveryFieldIsDocumented(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]map[string][]string{}
	section := ""
	for line := range strings.Lines(string(data)) {
		if heading, ok := strings.CutPrefix(line, "### "); ok {
			section = strings.TrimSpace(heading)
			rows[section] = map[string][]string{}
		}
		if cells := strings.Split(line, " | "); len(cells) == 4 && strings.HasPrefix(line, "| `") && rows[section] != nil {
			rows[section][strings.Trim(cells[0], "| `")] = cells
		}
	}
	documented(t, rows, "Model: spec", reflect.TypeFor[v1alpha1.ModelSpec](), map[reflect.Type]bool{})
	documented(t, rows, "FailSafePolicy: spec", reflect.TypeFor[v1alpha1.FailSafePolicySpec](), map[reflect.Type]bool{})
}

func documented(t *testing.T, rows map[string]map[string][]string, section string, typ reflect.Type, seen map[reflect.Type]bool) {
	t.Helper()
	if seen[typ] {
		return
	}
	seen[typ] = true
	count := 0
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		count++
		cells := rows[section][name]
		if cells == nil {
			t.Errorf("section %q has no row for %s", section, name)
			continue
		}
		for i, cell := range cells {
			if strings.Trim(cell, "| \n") == "" && i != 2 || i == 2 && strings.TrimSpace(cell) == "" && typ != reflect.TypeFor[v1alpha1.Rung]() {
				t.Errorf("section %q, %s: cell %d is empty", section, name, i)
			}
		}
		inner := f.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner.PkgPath() == typ.PkgPath() {
			documented(t, rows, inner.Name(), inner, seen)
		}
	}
	if len(rows[section]) != count {
		t.Errorf("section %q has %d rows for %d fields", section, len(rows[section]), count)
	}
}
