package releases

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	fm "github.com/safestate/safestate/e2e/faultmodel"
)

const (
	model       = "default/score"
	safeDefault = `{"model_name": "default", "outputs": [{"name": "score", "datatype": "FP32", "shape": [1], "data": [0.5]}]}`
	// deadline is far over what a healthy answer takes on a busy machine.
	deadline = 10 * time.Second
)

// version is one of the model's, and who serves it.
type version struct {
	*fm.Server
	Name   string
	Weight int // in the files
	Digest string
}

// world is the configuration folder and the models that it names. It is used by
// one goroutine.
type world struct {
	t        testing.TB
	dir      string
	Versions []*version
	Session  bool
	Host     string // of the policy; empty: the processor
	Deadline time.Duration
	CoolDown time.Duration
	Default  string
}

// newWorld starts a server for each version; the first has all traffic.
func newWorld(t testing.TB, names ...string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), Deadline: deadline, CoolDown: 5 * time.Minute, Default: safeDefault}
	for i, name := range names {
		s, err := fm.Start(fm.Options{Version: name, FaultHeader: i > 0})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		v := &version{Server: s, Name: name, Digest: "sha256:" + strings.Repeat(fmt.Sprint(i+1), 64)}
		if i == 0 {
			v.Weight = 100
		}
		w.Versions = append(w.Versions, v)
	}
	w.write()
	return w
}

// version is the one of a name.
func (w *world) version(name string) *version {
	for _, v := range w.Versions {
		if v.Name == name {
			return v
		}
	}
	w.t.Fatalf("there is no version %s", name)
	return nil
}

// write puts the world as it is now into the folder, at once: a reader sees the
// old file or the new one.
func (w *world) write() {
	w.t.Helper()
	tmpl, err := template.ParseFiles(filepath.Join("testdata", "world.yaml.tmpl"))
	if err != nil {
		w.t.Fatal(err)
	}
	var text bytes.Buffer
	if err := tmpl.Execute(&text, w); err != nil {
		w.t.Fatal(err)
	}
	fresh := filepath.Join(w.t.TempDir(), "world.yaml")
	if err := os.WriteFile(fresh, text.Bytes(), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(fresh, filepath.Join(w.dir, "world.yaml")); err != nil {
		w.t.Fatal(err)
	}
}
