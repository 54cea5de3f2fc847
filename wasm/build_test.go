package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/wasm/emulator"
)

// TestSameBytesAnywhere has make build the module in two copies of the
// repository. Both are to be the same, what make prints is to be true, and what
// the tests build is to be it as well.
func TestSameBytesAnywhere(t *testing.T) {
	first, printed := makeIn(t, "one")
	second, _ := makeIn(t, "another/folder")
	if first != second {
		t.Errorf("built in two folders: %x and %x", first, second)
	}
	if want := fmt.Sprintf("sha256=%x\n", first); len(printed) < len(want) || printed[len(printed)-len(want):] != want {
		t.Errorf("make printed %q, want %q at its end", printed, want)
	}
	path := filepath.Join(t.TempDir(), "here.wasm")
	emulator.BuildTo(t, dataplane.Root(), module, path)
	if here := sum(t, path); here != first {
		t.Errorf("the tests build %x, make %x", here, first)
	}
}

// mostBytes is what the module may be: V8 compiles it at each start of Envoy.
const mostBytes = 4 << 20

func TestSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "safestate.wasm")
	emulator.BuildTo(t, dataplane.Root(), module, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > mostBytes {
		t.Errorf("%d bytes, at most %d", info.Size(), mostBytes)
	}
}

// makeIn copies what the module is built from into a folder, and has make build
// it there.
func makeIn(t *testing.T, folder string) (digest [sha256.Size]byte, printed string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), folder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Makefile", "go.mod", "go.sum", "internal", "wasm"} {
		from, to := filepath.Join(dataplane.Root(), name), filepath.Join(dir, name)
		if info, err := os.Stat(from); err != nil {
			t.Fatal(err)
		} else if info.IsDir() {
			if err := os.CopyFS(to, os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("make", "-s", "wasm")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make wasm: %v\n%s", err, out)
	}
	return sum(t, filepath.Join(dir, "bin", "safestate.wasm")), string(out)
}

func sum(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}
