package config_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
)

// FuzzLoad reads arbitrary text as a configuration, alone and beside a valid
// one, and compiles it. It must neither panic nor take long; what it accepts
// has to compile, and what it refuses has to say why.
func FuzzLoad(f *testing.F) {
	good, err := os.ReadFile(filepath.Join("testdata", "good.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	for _, pattern := range []string{
		filepath.Join("testdata", "bad", "*.yaml"),
		filepath.Join("..", "..", "docs", "samples", "*", "*.yaml"),
	} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			f.Fatalf("%s: %d files, err %v", pattern, len(names), err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		started := time.Now()
		for _, files := range [][]config.File{
			{{Name: "x.yaml", Data: data}},
			{{Name: "good.yaml", Data: good}, {Name: "x.yaml", Data: data}},
		} {
			snapshot, problems := compile.Files(files...)
			if (snapshot == nil) != problems.Failed() {
				t.Fatalf("snapshot %v with problems %v", snapshot, problems)
			}
			for _, p := range problems {
				if p.Message == "" || p.File == "" {
					t.Fatalf("a problem without a place or a text: %#v", p)
				}
			}
		}
		if took := time.Since(started); took > 10*time.Second {
			t.Fatalf("took %s", took)
		}
	})
}
