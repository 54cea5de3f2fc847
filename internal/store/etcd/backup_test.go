package etcd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/safestate/safestate/internal/store"
)

// backup takes one of a store into a file.
func backup(t *testing.T, s *Store) string {
	t.Helper()
	var out bytes.Buffer
	if err := s.Backup(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return write(t, t.TempDir(), "backup", out.String())
}

func TestBackupIsRestored(t *testing.T) {
	c := startCluster(t)
	root := c.root
	root.Prefix = c.options.Prefix
	for name, source := range map[string]Options{"embedded": {Dir: t.TempDir()}, "cluster": root} {
		t.Run(name, func(t *testing.T) {
			s := open(t, source)
			ctx := t.Context()
			want := map[string]store.Entry{}
			for i := range 50 {
				key := fmt.Sprint("/a/", i%20)
				e, err := s.Put(ctx, key, bytes.Repeat([]byte{byte(i)}, 1000), want[key].Revision)
				if err != nil {
					t.Fatal(err)
				}
				want[key] = e
			}
			file := backup(t, s)
			if _, err := s.Put(ctx, "/a/0", []byte("after the backup"), want["/a/0"].Revision); err != nil {
				t.Fatal(err)
			}

			dir := filepath.Join(t.TempDir(), "new")
			if err := Restore(dir, file); err != nil {
				t.Fatal(err)
			}
			restored := open(t, Options{Dir: dir, Prefix: source.Prefix})
			entries, err := restored.List(ctx, "/a/")
			if err != nil || len(entries) != len(want) {
				t.Fatal(len(entries), err)
			}
			for _, e := range entries {
				if w := want[e.Key]; !bytes.Equal(e.Value, w.Value) || e.Revision != w.Revision {
					t.Errorf("%s at %d, want %d", e.Key, e.Revision, w.Revision)
				}
			}
			// Who read the lost store can neither write over what is restored nor
			// take a new revision for an old one.
			now, err := restored.Put(ctx, "/a/0", []byte("on"), want["/a/0"].Revision)
			if err != nil || now.Revision < jump {
				t.Errorf("revisions go on at %d, %v", now.Revision, err)
			}
			line(t, Restore(dir, file), nil, dir, "is in use")
			if err := restored.Close(); err != nil {
				t.Fatal(err)
			}
			line(t, Restore(dir, file), nil, dir, "holds a store already")
		})
	}
}

// TestWatchNoticesARestore puts a backup in the place of a cluster's data.
func TestBackupThatIsNone(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	whole, err := os.ReadFile(backup(t, s))
	if err != nil {
		t.Fatal(err)
	}
	garbled := bytes.Clone(whole)
	garbled[len(garbled)/2] ^= 1
	for name, test := range map[string]struct {
		content []byte
		want    string
	}{
		"empty":   {nil, "is no backup of etcd, or was cut off"},
		"text":    {[]byte("kind: Model\n"), "is no backup of etcd, or was cut off"},
		"cut off": {whole[:len(whole)-100], "is no backup of etcd, or was cut off"},
		"a page":  {whole[:len(whole)-512], "is damaged"},
		"garbled": {garbled, "is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := write(t, dir, "backup", string(test.content))
			target := filepath.Join(dir, "new")
			line(t, Restore(target, file), nil, file, test.want)
			if left, err := os.ReadDir(filepath.Join(target, folder)); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			open(t, Options{Dir: target})
		})
	}
	line(t, Restore(t.TempDir(), filepath.Join(t.TempDir(), "none")), os.ErrNotExist, "backup")
	line(t, s.Backup(t.Context(), &fullWriter{room: 1000}), errFull, "backup")
}
