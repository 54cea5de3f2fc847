package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/safestate/safestate/internal/store"
)

// line holds an error against its class and what it has to name, on one line.
func line(t *testing.T, err, class error, names ...string) {
	t.Helper()
	if err == nil || (class != nil && !errors.Is(err, class)) {
		t.Fatalf("got %v, want %v", err, class)
	}
	if !strings.HasPrefix(err.Error(), "store: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("not one line of ours: %v", err)
	}
	for _, name := range names {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%v\ndoes not name %q", err, name)
		}
	}
}

func TestFolderIsOurs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	s := open(t, Options{Dir: dir})
	info, err := os.Stat(filepath.Join(dir, folder))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the data are open to others: %v, %v", info.Mode(), err)
	}
	_, err = Open(t.Context(), Options{Dir: dir})
	line(t, err, nil, dir, "in use by another process", fmt.Sprint("pid ", os.Getpid()))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, Options{Dir: dir})
}

func TestFolderThatIsNone(t *testing.T) {
	file := write(t, t.TempDir(), "file", "")
	_, err := Open(t.Context(), Options{Dir: file})
	line(t, err, nil, file, "is no folder")
	_, err = Open(t.Context(), Options{Dir: filepath.Join(file, "below")})
	line(t, err, nil, file, "not a directory")
}

func TestFolderFaults(t *testing.T) {
	for _, test := range []struct {
		err   error
		class error
		want  string
	}{
		{syscall.EACCES, nil, "/data cannot be written (permission denied)"},
		{syscall.EROFS, nil, "/data cannot be written (read-only file system)"},
		{syscall.ENOSPC, store.ErrUnavailable, "the disk of /data is full"},
		{syscall.EDQUOT, store.ErrUnavailable, "the disk of /data is full"},
		{syscall.ENOTDIR, nil, "/data is no folder to keep data in: not a directory"},
	} {
		wrapped := &fs.PathError{Op: "mkdir", Path: "/elsewhere", Err: test.err}
		line(t, folderFault("/data", wrapped), test.class, test.want)
		if test.class != nil || errors.Is(test.err, fs.ErrPermission) {
			line(t, damaged("/data", wrapped), test.class, test.want)
		}
	}
}

// TestDamagedData garbles what lies on the disk between two lives.
func TestDamagedData(t *testing.T) {
	garble := func(pattern string, at int64) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			paths, err := filepath.Glob(filepath.Join(dir, folder, "member", pattern))
			if err != nil || len(paths) == 0 {
				t.Fatal(paths, err)
			}
			f, err := os.OpenFile(paths[0], os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			if _, err := f.WriteAt(bytes.Repeat([]byte{0xA5}, 40000), at); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, damage := range map[string]func(t *testing.T, dir string){
		"log":  garble("wal/*.wal", 300),
		"file": garble("snap/db", 0),
		"file cut off": func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, folder, "member", "snap", "db"), 100); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, Options{Dir: dir})
			for i := range 100 {
				if _, err := s.Put(t.Context(), fmt.Sprint("/a/", i), bytes.Repeat([]byte("x"), 1000), 0); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			damage(t, dir)
			_, err := Open(t.Context(), Options{Dir: dir})
			line(t, err, nil, dir, "etcd cannot start", "restore a backup")
		})
	}
}

func TestFullDiskRefusesWritesOnly(t *testing.T) {
	var free atomic.Uint64
	free.Store(1 << 40)
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, free: func(string) (uint64, error) { return free.Load(), nil }})
	ctx := t.Context()
	a, err := s.Put(ctx, "/a", []byte("1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	free.Store(reserve - 1)
	_, err = s.Put(ctx, "/a", []byte("2"), a.Revision)
	line(t, err, store.ErrUnavailable, "put /a", "the disk of "+dir, "is full: 31 MiB are free, 32 are needed")
	line(t, s.Delete(ctx, "/a", a.Revision), store.ErrUnavailable, "delete /a", "is full")
	if got, err := s.Get(ctx, "/a"); err != nil || string(got.Value) != "1" {
		t.Errorf("reads: %s, %v", got.Value, err)
	}
	free.Store(1 << 40)
	if _, err = s.Put(ctx, "/a", []byte("2"), a.Revision); err != nil {
		t.Error(err)
	}
}

// starvedChild's files may not grow from some point on: what a disk that fills
// up behind our back does to etcd. It must outlive that.
func starvedChild(arguments []string) error {
	ctx := context.Background()
	signal.Ignore(syscall.SIGXFSZ)
	s, err := Open(ctx, Options{Dir: arguments[0], CallTimeout: 500e6})
	if err != nil {
		return err
	}
	first, err := s.Put(ctx, "/a", nil, 0)
	if err != nil {
		return err
	}
	limit := syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	for i := range 200 {
		if _, err = s.Put(ctx, fmt.Sprint("/b/", i), make([]byte, 256<<10), 0); err != nil {
			fmt.Println("stopped", err)
			break
		}
	}
	for range 5 {
		_, err = s.Put(ctx, "/a", nil, first.Revision)
		_, read := s.Get(ctx, "/a")
		fmt.Println("then", errors.Is(err, store.ErrUnavailable), read)
	}
	fmt.Println("closed", s.Close())
	return nil
}

func TestEtcdThatStopsDoesNotStopTheProcess(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, "starved", dir)
	if got := c.say(t, "stopped"); !strings.Contains(got, "store unavailable") || !strings.Contains(got, "file too large") {
		t.Errorf("the write that failed: %s", got)
	}
	for range 5 {
		if got := c.say(t, "then"); !strings.HasPrefix(got, "true") {
			t.Errorf("a write afterwards is unavailable: %s", got)
		}
	}
	if got := c.say(t, "closed"); !strings.Contains(got, "restart safestate once that is mended") {
		t.Errorf("closed with %s", got)
	}
	<-c.ended
	// What was acknowledged is there.
	s := open(t, Options{Dir: dir})
	if _, err := s.Get(t.Context(), "/b/0"); err != nil {
		t.Error(err)
	}
}

// TestFullFileMakesRoom fills the quota with history.
func TestFullFileMakesRoom(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Quota: 4 << 20})
	ctx := t.Context()
	var last store.Entry
	var err error
	for range 100 {
		now, failed := s.Put(ctx, "/a", make([]byte, 256<<10), last.Revision)
		if err = failed; err != nil {
			break
		}
		last = now
	}
	line(t, err, store.ErrUnavailable, "put /a", "was at its quota and makes room")
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for tries := 0; ; tries++ {
		now, err := s.Get(ctx, "/a") // the write that failed may have happened
		if err == nil {
			_, err = s.Put(ctx, "/a", []byte("small"), now.Revision)
		}
		if err == nil {
			return
		}
		if !errors.Is(err, store.ErrUnavailable) || tries > 2000 {
			t.Fatal(err)
		}
		<-tick.C
	}
}

// TestLeasesEndWithTheirProcess: nobody waits for a leader that was killed.
func TestLeasesEndWithTheirProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	ctx := t.Context()
	held, err := s.client.Grant(ctx, 3600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.Put(ctx, "/leader/1", "the dead one", clientv3.WithLease(held.ID)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = open(t, Options{Dir: dir}).Leader(ctx, "/leader")
	line(t, err, store.ErrNotFound, "leader of /leader")
}

func TestClosedStoreAnswersNothing(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	events := s.Watch(t.Context(), "/")
	<-events
	led := make(chan struct{})
	go s.Elect(t.Context(), "/leader", "", func(ctx context.Context) {
		close(led)
		<-ctx.Done()
	})
	<-led
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range events { // closed, or the test hangs
	}
	for range s.Watch(t.Context(), "/") {
		t.Error("a watch of a closed store tells something")
	}
	s.Register(t.Context(), "/a", func() []byte { return nil })
	if _, err := s.Get(t.Context(), "/a"); err == nil {
		t.Error("a closed store answers")
	}
}
