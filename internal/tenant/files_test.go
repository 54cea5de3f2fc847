package tenant_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/tenant"
)

func TestAllows(t *testing.T) {
	for name, want := range map[string]bool{
		"/etc/safestate/files/models/token":               true,
		"/etc/safestate/files/models/partner/tls.crt":     true,
		"/etc/safestate/files/models/..data":              true, // a name like any other
		"/etc/safestate/files/models":                     false,
		"/etc/safestate/files/models/":                    false,
		"/etc/safestate/files/models/.":                   false,
		"/etc/safestate/files/modelsother/token":          false,
		"/etc/safestate/files/other/token":                false,
		"/etc/safestate/files/models/../other/token":      false,
		"/etc/safestate/files/models/../models/token":     false,
		"/etc/safestate/files/models/x/../../other/token": false,
		"/etc/safestate/files/models//token":              false,
		"/etc/safestate/tls/tls.key":                      false,
		"etc/safestate/files/models/token":                false,
		"models/token":                                    false,
		"token":                                           false,
		"":                                                false,
	} {
		if got := tenant.MeshFiles.Allows("models", name); got != want {
			t.Errorf("%q: %v", name, got)
		}
		if !tenant.Files("").Allows("models", name) {
			t.Errorf("%q: refused where every file is allowed", name)
		}
	}
	for _, namespace := range []string{"", ".", "..", "a/b", "../tls"} {
		if tenant.MeshFiles.Allows(namespace, tenant.MeshFiles.Folder(namespace)+"x") {
			t.Errorf("namespace %q is one", namespace)
		}
	}
}

// TestOpen: as a kubelet mounts a Secret, and as somebody might try to get out of it.
func TestOpen(t *testing.T) {
	base := t.TempDir()
	below := tenant.Files(filepath.Join(base, "files"))
	put := func(name, text string) {
		t.Helper()
		name = filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(base, name)); err != nil {
			t.Fatal(err)
		}
	}
	put("files/a/partner/..2026/token", "a's")
	link("..2026", "files/a/partner/..data")
	link("..data/token", "files/a/partner/token")
	put("files/b/token", "b's")
	put("tls/tls.key", "safestate's")
	link("../b/token", "files/a/of-b")
	link("../../tls", "files/a/up")
	link(filepath.Join(base, "tls/tls.key"), "files/a/absolute")
	link("a/partner", "files/c") // a namespace's own folder may be a link: who mounts it says so

	for name, want := range map[string]string{
		"files/a/partner/token": "a's",
		"files/c/token":         "a's",
		"files/b/token":         "b's",
		"files/a/of-b":          "",
		"files/a/up/tls.key":    "",
		"files/a/absolute":      "",
		"files/a/../b/token":    "",
		"files/a":               "",
		"files":                 "",
		"tls/tls.key":           "",
	} {
		f, err := below.Open(base+"/"+name, os.O_RDONLY)
		if err != nil {
			if want != "" || !strings.Contains(err.Error(), base+"/"+name) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		text, err := io.ReadAll(f)
		if got := string(text); err != nil || got != want || want == "" {
			t.Errorf("%s: reads %q, %v", name, got, err)
		}
		_ = f.Close()
	}
	for _, name := range []string{"files/a/none", "files/none/token"} {
		if _, err := below.Open(base+"/"+name, os.O_RDONLY); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f, err := tenant.Files("").Open(base+"/tls/tls.key", os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
}
