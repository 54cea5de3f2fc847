package emulator

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// Module is a compiled module. It can be started any number of times.
type Module struct {
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
}

// memoryPages bounds a VM's memory, 64 KiB each: what a module asks for past it
// is a trap, not this machine's memory.
const memoryPages = 4096

// Load compiles a module, and keeps the result in a folder for the next time
// where one is named.
func Load(wasm []byte, cache string) (*Module, error) {
	ctx := context.Background()
	config := wazero.NewRuntimeConfig().WithMemoryLimitPages(memoryPages)
	if cache != "" {
		kept, err := wazero.NewCompilationCacheWithDir(cache)
		if err != nil {
			return nil, err
		}
		config = config.WithCompilationCache(kept)
	}
	r := wazero.NewRuntimeWithConfig(ctx, config)
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
		return nil, err
	}
	if err := exportHost(ctx, r); err != nil {
		return nil, err
	}
	compiled, err := r.CompileModule(ctx, wasm)
	if err != nil {
		return nil, err
	}
	return &Module{runtime: r, compiled: compiled}, nil
}

// Close frees the compiled code. Its VMs must have ended.
func (m *Module) Close() error { return m.runtime.Close(context.Background()) }

// Imports are the functions that the module imports, as "module.name".
func (m *Module) Imports() []string {
	var out []string
	for _, f := range m.compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		out = append(out, module+"."+name)
	}
	return out
}

// Exports are the functions that the module exports.
func (m *Module) Exports() []string {
	var out []string
	for name := range m.compiled.ExportedFunctions() {
		out = append(out, name)
	}
	return out
}

// machineKey is the key under which a context carries the machine whose
// callback runs, for the host calls in it.
type machineKey struct{}

func (m *Module) start(machine *machine) (guest, error) {
	ctx := context.WithValue(context.Background(), machineKey{}, machine)
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize").
		WithStderr(noted{machine}).WithStdout(noted{machine}).
		WithWalltime(walltime, sys.ClockResolution(time.Microsecond.Nanoseconds())).
		WithNanotime(nanotime, sys.ClockResolution(1))
	instance, err := m.runtime.InstantiateModule(ctx, m.compiled, config)
	if err != nil {
		return nil, err
	}
	return &wasm{ctx: ctx, instance: instance, functions: map[string]api.Function{}}, nil
}

func walltime() (sec int64, nsec int32) {
	now := time.Now()
	return now.Unix(), int32(now.Nanosecond())
}

func nanotime() int64 { return time.Now().UnixNano() }

// noted has what a module writes to its standard streams in the log, as Envoy
// has it.
type noted struct{ machine *machine }

func (n noted) Write(b []byte) (int, error) {
	n.machine.host.note("error", string(b))
	return len(b), nil
}

// wasm is a VM on wazero.
type wasm struct {
	ctx       context.Context
	instance  api.Module
	functions map[string]api.Function
}

func (w *wasm) close() { _ = w.instance.Close(w.ctx) }

// call calls an export. What is not exported does nothing, as in Envoy.
func (w *wasm) call(callback string, args ...uint32) (uint32, error) {
	f, ok := w.functions[callback]
	if !ok {
		f = w.instance.ExportedFunction(callback)
		w.functions[callback] = f
	}
	if f == nil {
		return 0, nil
	}
	var stack [5]uint64
	for i, a := range args {
		stack[i] = uint64(a)
	}
	if err := f.CallWithStack(w.ctx, stack[:]); err != nil {
		return 0, err
	}
	return uint32(stack[0]), nil
}

var built struct {
	sync.Mutex
	modules map[string]*Module
}

// Build builds a module of this repository as `make wasm` does, compiles it
// once per test process, and returns it.
func Build(t testing.TB, folder string) *Module {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if m := built.modules[folder]; m != nil {
		return m
	}
	path := filepath.Join(t.TempDir(), "module.wasm")
	BuildTo(t, root(), folder, path)
	bytes, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Load(bytes, filepath.Join(root(), ".cache", "wazero"))
	if err != nil {
		t.Fatal(err)
	}
	if built.modules == nil {
		built.modules = map[string]*Module{}
	}
	built.modules[folder] = m
	return m
}

// BuildTo builds the module in a folder of the repository at root into a file.
func BuildTo(t testing.TB, root, folder, path string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-buildmode=c-shared", "-ldflags=-s -w -buildid=", "-o", path, folder)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", folder, err, out)
	}
}

// root is the repository's root folder.
func root() string {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		panic(fmt.Sprintf("no caller of %s", file))
	}
	return filepath.Join(filepath.Dir(file), "..", "..")
}
