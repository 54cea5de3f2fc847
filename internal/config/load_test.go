package config_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/config"
)

const modelText = `apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: %s}
spec: {protocol: JSON, versions: [{name: v1, endpoints: [{address: 127.0.0.1, port: 9120}]}]}
`

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoadReadsWhichFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "b.yaml", fmt.Sprintf(modelText, "b")+"---\n"+fmt.Sprintf(modelText, "a")+"---\n")
	write(t, dir, "c.yml", "\ufeff"+fmt.Sprintf(modelText, "c"))
	write(t, dir, "d.json", `{"apiVersion": "safestate.dev/v1alpha1", "kind": "Model", "metadata": {"name": "d"},
		"spec": {"protocol": "JSON", "versions": [{"name": "v1", "endpoints": [{"address": "127.0.0.1", "port": 9120}]}]}}`)
	write(t, dir, "notes.txt", "no configuration")
	write(t, dir, ".hidden.yaml", "no: configuration")
	if err := os.Mkdir(filepath.Join(dir, "folder.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("b.yaml", filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	w, problems := config.Load(dir)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var names []string
	for _, m := range w.Models {
		names = append(names, m.Key())
	}
	if want := []string{"default/a", "default/b", "default/c", "default/d"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

// TestLoadRefusesFiles: whatever lies in the folder is one clear message, and
// the other files are read all the same.
func TestLoadRefusesFiles(t *testing.T) {
	for _, tc := range []struct {
		name string
		put  func(t *testing.T, path string)
		want string
	}{
		{"symlink loop", func(t *testing.T, path string) { symlink(t, path, path) }, "is a symbolic link that leads to itself; link to a file"},
		{"dangling symlink", func(t *testing.T, path string) { symlink(t, "nowhere", path) }, "is a symbolic link that leads nowhere, or was removed while it was read"},
		{"named pipe", func(t *testing.T, path string) {
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is no regular file; only files are read"},
		{"device", func(t *testing.T, path string) { symlink(t, "/dev/zero", path) }, "is no regular file; only files are read"},
		{"empty", func(t *testing.T, path string) { write(t, filepath.Dir(path), filepath.Base(path), "") }, "is empty; write an object into it or remove it"},
		{"only separators", func(t *testing.T, path string) { write(t, filepath.Dir(path), filepath.Base(path), "---\n---\n# x\n") }, "is empty; write an object into it or remove it"},
		{"huge", func(t *testing.T, path string) {
			write(t, filepath.Dir(path), filepath.Base(path), "#"+strings.Repeat("x", 4<<20))
		}, "is over 4 MiB; split it into several files"},
		{"latin 1", func(t *testing.T, path string) { write(t, filepath.Dir(path), filepath.Base(path), "name: caf\xe9") }, "is not UTF-8; save it as UTF-8"},
		{"utf-16", func(t *testing.T, path string) { write(t, filepath.Dir(path), filepath.Base(path), "\xff\xfea\x00") }, "is not UTF-8; save it as UTF-8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "a.yaml", fmt.Sprintf(modelText, "a"))
			path := filepath.Join(dir, "b.yaml")
			tc.put(t, path)
			w, problems := config.Load(dir)
			if want := path + ": " + tc.want; len(problems) != 1 || problems[0].String() != want {
				t.Errorf("got %v, want %s", problems, want)
			}
			if len(w.Models) != 1 {
				t.Errorf("read %d models, want 1", len(w.Models))
			}
		})
	}
}

func symlink(t *testing.T, to, from string) {
	t.Helper()
	if err := os.Symlink(to, from); err != nil {
		t.Fatal(err)
	}
}

func TestLoadOfNoFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	_, problems := config.Load(dir)
	if want := dir + ": cannot be read: no such file or directory"; len(problems) != 1 || problems[0].String() != want {
		t.Errorf("got %v, want %s", problems, want)
	}
	empty := t.TempDir()
	_, problems = config.Load(empty)
	if want := empty + ": has no *.yaml, *.yml or *.json file; a configuration needs at least one"; len(problems) != 1 || problems[0].String() != want {
		t.Errorf("got %v, want %s", problems, want)
	}
}

// TestUnreadableFileBlamesNobodyElse: an object that is missing may stand in
// the file that could not be read.
func TestUnreadableFileBlamesNobodyElse(t *testing.T) {
	route := `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec: {rules: [{backendRefs: [{name: m-v1, port: 80}]}]}
`
	_, alone := config.Parse(config.File{Name: "route.yaml", Data: []byte(route)})
	_, beside := config.Parse(config.File{Name: "route.yaml", Data: []byte(route)}, config.File{Name: "x.yaml", Data: []byte("a: [")})
	if len(alone) != 1 || !strings.Contains(alone[0].Message, "m-v1") {
		t.Errorf("alone: got %v, want the dangling Service", alone)
	}
	if len(beside) != 1 || beside[0].File != "x.yaml" {
		t.Errorf("beside an unreadable file: got %v, want only that file", beside)
	}
}

// hostile are texts that cost a careless reader its memory or its day.
var hostile = map[string][]byte{
	"brackets":   bytes.Repeat([]byte("["), 4<<20),
	"braces":     bytes.Repeat([]byte("{a: "), 1<<20),
	"dashes":     bytes.Repeat([]byte("- "), 2<<20),
	"questions":  bytes.Repeat([]byte("? "), 2<<20),
	"comments":   bytes.Repeat([]byte("#\n"), 2<<20),
	"separators": bytes.Repeat([]byte("---\n"), 1<<20),
	"indents":    indents(2000),
	"keys":       bytes.Repeat([]byte("a: 1\n"), 800<<10),
	"anchors":    bytes.Repeat([]byte("- &a x\n- *a\n"), 300<<10),
	"quotes":     append([]byte(`"`), bytes.Repeat([]byte("a\n"), 2<<20)...),
	"tags":       bytes.Repeat([]byte("- !!float 1\n"), 300<<10),
}

func indents(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.Bytes()
}

func TestHostileTextsEndSoon(t *testing.T) {
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) {
			started := time.Now()
			_, problems := config.Parse(config.File{Name: "x.yaml", Data: text})
			if !problems.Failed() {
				t.Error("accepted")
			}
			// A second is the aim on an idle machine; the bound leaves room for a
			// loaded one, and none for what is quadratic.
			if took := time.Since(started); took > 20*time.Second {
				t.Errorf("took %s", took)
			}
			t.Logf("%s, %d problems", time.Since(started), len(problems))
		})
	}
}
