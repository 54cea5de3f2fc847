package serve

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

func TestAnAddressThatCannotBeUsed(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	dir := folder(t)
	for name, c := range map[string]struct {
		change func(*Options)
		want   []string
	}{
		"HTTP's port":   {func(o *Options) { o.HTTP = taken.Addr().String() }, []string{taken.Addr().String() + " is in use", "--http"}},
		"gRPC's port":   {func(o *Options) { o.GRPC = taken.Addr().String() }, []string{taken.Addr().String() + " is in use", "--grpc"}},
		"no address":    {func(o *Options) { o.HTTP = "8686" }, []string{"8686", "--http"}},
		"no folder":     {func(o *Options) { o.GRPC = "unix:" + filepath.Join(dir, "none", "s") }, []string{"none/s", "--grpc"}},
		"a folder":      {func(o *Options) { o.GRPC = "unix:" + dir }, []string{dir, "is no socket", "--grpc"}},
		"somebody's":    {func(o *Options) { o.GRPC = "unix:" + filepath.Join(dir, "fraud.yaml") }, []string{"fraud.yaml", "is no socket", "--grpc"}},
		"no own domain": {func(o *Options) { o.GRPC = "192.0.2.1:1" }, []string{"192.0.2.1:1", "--grpc"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{ConfigDir: dir, DataDir: t.TempDir(), HTTP: "127.0.0.1:0", GRPC: "127.0.0.1:0", Answers: "127.0.0.1:0", LogTo: io.Discard}
			o.Envoy.Processor = DefaultGRPC
			c.change(&o)
			err := Run(t.Context(), o)
			if err == nil {
				t.Fatal("it ran")
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in %q", want, err)
				}
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "fraud.yaml")); err != nil {
		t.Errorf("somebody's file is gone: %v", err)
	}
}

func TestWhatCannotStartLeavesNothingOpen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	path := filepath.Join(shortDir(t), "grpc.sock")
	o := Options{ConfigDir: folder(t), DataDir: t.TempDir(), HTTP: taken.Addr().String(), LogTo: io.Discard}
	onSocket(path)(&o)
	if err := Run(t.Context(), o); err == nil {
		t.Fatal("it ran")
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("its socket is still there")
	}
}

func onSocket(path string) func(*Options) {
	return func(o *Options) { o.GRPC, o.Envoy.Processor = "unix:"+path, "" }
}

func healthy(t *testing.T, r *running) {
	t.Helper()
	if _, err := healthv1.NewHealthClient(r.dial()).Check(t.Context(), &healthv1.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
}

// shortDir is a folder with a short name: a socket's path has at most 107
// bytes.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestASocketThatACrashLeftBehind(t *testing.T) {
	path := filepath.Join(shortDir(t), "grpc.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	r := start(t, folder(t), onSocket(path))
	healthy(t, r)
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket outlives its process")
	}
}

func TestASocketThatIsInUse(t *testing.T) {
	path := filepath.Join(shortDir(t), "grpc.sock")
	dir := folder(t)
	first := start(t, dir, onSocket(path))
	o := Options{ConfigDir: dir, DataDir: t.TempDir(), HTTP: "127.0.0.1:0", LogTo: io.Discard}
	onSocket(path)(&o)
	err := Run(context.Background(), o)
	if err == nil || !strings.Contains(err.Error(), "unix:"+path+": is in use") || !strings.Contains(err.Error(), "--grpc") {
		t.Errorf("the second one: %v", err)
	}
	healthy(t, first)
}

func TestASocketAsEnvoyWritesIt(t *testing.T) {
	for address, want := range map[string]string{"unix:/run/s": "/run/s", "unix:///run/s": "/run/s", "unix:s": "s"} {
		if path, ok := cutUnix(address); !ok || path != want {
			t.Errorf("%s: %q %v, want %q", address, path, ok, want)
		}
	}
	if _, ok := cutUnix("127.0.0.1:1"); ok {
		t.Error("a port is a socket")
	}
}
