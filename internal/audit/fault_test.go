package audit

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
	"sync"
	"syscall"
	"testing"
)

// disk is what a log writes to, and fails as it is told.
type disk struct {
	mu    sync.Mutex
	room  int   // bytes that a write still takes; -1: any
	sync  error // of the next Sync
	cut   error // of the next Truncate
	stuck chan struct{}
	waits int // writes that stuck holds up, or held up
}

type badFile struct {
	file
	d *disk
}

func (f badFile) Write(b []byte) (int, error) {
	f.d.mu.Lock()
	room, stuck := f.d.room, f.d.stuck
	if stuck != nil {
		f.d.waits++
	}
	f.d.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	if room >= 0 && len(b) > room {
		n, _ := f.file.Write(b[:room])
		return n, &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	}
	return f.file.Write(b)
}

func (f badFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.sync; err != nil {
		f.d.sync = nil
		return err
	}
	return f.file.Sync()
}

func (f badFile) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.cut; err != nil {
		f.d.cut = nil
		return err
	}
	return f.file.Truncate(size)
}

func (d *disk) set(change func(*disk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

// onDisk puts a disk under a log that nobody uses yet.
func onDisk(t *testing.T, l *Log) *disk {
	d := &disk{room: -1}
	add(t, l, "before", 1, 3)
	// The writing goroutine has taken what is above, and waits.
	l.chain.drop()
	l.chain.open = func(path string) (file, error) {
		f, err := openDisk(path)
		return badFile{f, d}, err
	}
	return d
}

// TestFullDisk fills the disk in the middle of a line, and makes room again.
func TestFullDisk(t *testing.T) {
	for _, c := range []struct {
		name   string
		break_ func(*disk)
		class  error
		want   string
	}{
		{"no room", func(d *disk) { d.room = 0 }, syscall.ENOSPC, "is full (no space left on device): make room"},
		{"room for half", func(d *disk) { d.room = 300 }, syscall.ENOSPC, "is full"},
		{"half, and it cannot be cut", func(d *disk) { d.room, d.cut = 300, syscall.EIO }, syscall.ENOSPC, "is full"},
		{"no sync", func(d *disk) { d.sync = syscall.EIO }, syscall.EIO, "input/output error"},
		{"no sync, and it cannot be cut", func(d *disk) { d.sync, d.cut = syscall.EIO, syscall.EIO }, syscall.EIO, "input/output error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, Options{Dir: dir, SegmentBytes: 3000})
			d := onDisk(t, l)
			d.set(c.break_)
			_, err := l.Append(t.Context(), sample("x"))
			if !errors.Is(err, ErrNotWritten) || !errors.Is(err, c.class) || strings.Contains(err.Error(), "\n") {
				t.Fatal(err)
			}
			if text := err.Error(); !strings.HasPrefix(text, "audit: kill x: ") || !strings.Contains(text, dir) || !strings.Contains(text, c.want) {
				t.Error(text)
			}
			if s := l.Status().WriteError; !strings.Contains(s, c.want) {
				t.Errorf("the status says %q", s)
			}
			d.set(func(d *disk) { d.room = -1 })
			add(t, l, "after", 1, 10)
			if s := l.Status().WriteError; s != "" {
				t.Errorf("all is well again, and the status says %q", s)
			}
			if _, err := l.Append(t.Context(), sample("x")); err != nil || countID(t, l, "x") != 1 {
				t.Error("the entry that was refused is written once there is room")
			}
			sound(t, dir)
			shut(t, l)
			open(t, Options{Dir: dir})
			sound(t, dir)
		})
	}
}

// TestStuckDisk has a disk that does not answer: callers leave when their time
// is over, and know what they know.
func TestStuckDisk(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	d := onDisk(t, l)
	stuck := make(chan struct{})
	d.set(func(d *disk) { d.stuck = stuck })
	short, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		eventually(t, "the disk is asked", func() bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.waits > 0
		})
	}()
	if _, err := l.Append(short, sample("taken")); !errors.Is(err, context.Canceled) || errors.Is(err, ErrNotWritten) || !strings.Contains(err.Error(), "is not known") {
		t.Error(err)
	}
	if _, err := l.Append(short, sample("waiting")); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrNotWritten) {
		t.Error(err)
	}
	// Two wait for one ID, and one of them leaves.
	leaving, leave := context.WithCancel(t.Context())
	both := make(chan error)
	for _, ctx := range []context.Context{leaving, t.Context()} {
		go func() {
			_, err := l.Append(ctx, sample("both"))
			both <- err
		}()
	}
	eventually(t, "both wait", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.waiting) == 1 && l.waiting[0].callers == 2
	})
	leave()
	if err := <-both; !errors.Is(err, context.Canceled) || errors.Is(err, ErrNotWritten) {
		t.Error(err)
	}
	full := make(chan error)
	for i := range maxWaiting + 1 {
		go func() {
			_, err := l.Append(t.Context(), sample(fmt.Sprint(i)))
			full <- err
		}()
	}
	for range 2 { // "both" waits too
		if err := <-full; !errors.Is(err, ErrNotWritten) || !strings.Contains(err.Error(), "4096 others wait") {
			t.Error(err)
		}
	}
	d.set(func(d *disk) { d.stuck = nil })
	close(stuck)
	for range maxWaiting - 1 {
		if err := <-full; err != nil {
			t.Fatal(err)
		}
	}
	if err := <-both; err != nil || countID(t, l, "both") != 1 {
		t.Errorf("the other of both: %v", err)
	}
	if countID(t, l, "taken") != 1 || countID(t, l, "waiting") != 0 {
		t.Error("what was told does not hold")
	}
	sound(t, dir)
}

// TestFileThatIsChanged changes the file behind the log's back.
func TestFileThatIsChanged(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"cut":      func(path string) error { return os.Truncate(path, 100) },
		"removed":  os.Remove,
		"replaced": func(path string) error { return replaceFile(path, bytes.Repeat([]byte("x"), 100), 0o600) },
		"copied over": func(path string) error {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return replaceFile(path, text, 0o600)
		},
		"longer": func(path string) error {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, append(text, "x"...), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var said warnings
			l := open(t, Options{Dir: dir, Warn: said.add})
			add(t, l, "a", 1, 3)
			end, _ := l.position()
			if err := change(filepath.Join(l.dirOf(end.writer), segmentName(1))); err != nil {
				t.Fatal(err)
			}
			e, err := l.Append(t.Context(), sample("x"))
			if err != nil || e.Writer != end.writer.next().String() || !strings.Contains(said.String(), "IS DAMAGED") {
				t.Errorf("%s, %v\n%s", e.Line(), err, &said)
			}
			r, err := Verify(VerifyOptions{}, Folder(dir))
			whole := name == "copied over" || name == "longer" // nothing that was written is missing
			if err != nil || r.OK() != whole || !whole && r.Problems[0].Writer != end.writer.String() || len(r.Notes) == 0 {
				t.Error(r.Text(), err)
			}
		})
	}
}

// TestNextChainWaitsForRoom damages a chain while the disk is full: the next one
// begins once there is room, with the entries that say why.
func TestNextChainWaitsForRoom(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	d := onDisk(t, l)
	end, _ := l.position()
	if err := os.Truncate(filepath.Join(l.dirOf(end.writer), segmentName(1)), 100); err != nil {
		t.Fatal(err)
	}
	d.set(func(d *disk) { d.room = 100 })
	for range 3 {
		if _, err := l.Append(t.Context(), sample("x")); !errors.Is(err, ErrNotWritten) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	d.set(func(d *disk) { d.room = -1 })
	e, err := l.Append(t.Context(), sample("x"))
	if err != nil || e.Sequence != 3 || e.Writer != end.writer.next().String() {
		t.Fatalf("%s, %v", e.Line(), err)
	}
	entries := entriesIn(t, linesOf(t, l))
	if entries[0].Kind != KindStart || entries[1].Kind != KindBreak || entries[1].Target != end.writer.String() {
		t.Errorf("%+v", entries)
	}
}

// starvedChild's files may not grow from some point on: a full disk, as the
// system makes it.
func starvedChild(arguments []string) error {
	signal.Ignore(syscall.SIGXFSZ)
	l, err := Open(Options{Dir: arguments[0], Name: "control-1"})
	if err != nil {
		return err
	}
	limit := syscall.Rlimit{Cur: 6000, Max: 6000}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	for i := range 20 {
		if _, err := l.Append(context.Background(), sample(fmt.Sprint(i))); err != nil {
			fmt.Println("failed", errors.Is(err, ErrNotWritten), err)
			continue
		}
		fmt.Println("wrote", i)
	}
	fmt.Println("closed", l.Close())
	return nil
}

func TestFullDiskOfTheSystem(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, "starved", nil, dir)
	if text := c.say(t, "failed"); !strings.HasPrefix(text, "true audit: kill ") || !strings.Contains(text, "is full (file too large)") {
		t.Error(text)
	}
	if text := c.say(t, "closed"); text != "<nil>" {
		t.Error(text)
	}
	<-c.ended
	l := open(t, Options{Dir: dir})
	if s := l.Status(); s.Sequence < 5 || s.Sequence > 12 || s.Damage != "" {
		t.Errorf("%+v", s)
	}
	add(t, l, "after", 1, 3)
	sound(t, dir)
}

// readerChild opens a folder as a user who may not write there.
func readerChild(arguments []string) error {
	_, err := Open(Options{Dir: arguments[0], Name: "control-1"})
	fmt.Println("opened", err)
	r, err := Verify(VerifyOptions{}, Folder(arguments[0]))
	fmt.Println("verified", err == nil && r.OK(), err)
	list, err := ListFolder(arguments[0], Filter{})
	fmt.Println("listed", len(list.Entries), err)
	return nil
}

// TestReadOnlyFolder is of a folder that may be read: Open says so, and what only
// reads goes on.
func TestReadOnlyFolder(t *testing.T) {
	base, err := os.MkdirTemp("", "audit") // T.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "audit")
	l := open(t, Options{Dir: dir})
	add(t, l, "a", 1, 2)
	shut(t, l)
	mode := func(dirs, files fs.FileMode) {
		t.Helper()
		err := filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir():
				return os.Chmod(path, dirs)
			}
			return os.Chmod(path, files)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { mode(0o700, 0o600); _ = os.RemoveAll(base) })
	mode(0o555, 0o444)
	c := startChild(t, "reader", nobody(), dir)
	if text := c.say(t, "opened"); !strings.Contains(text, dir+" cannot be written (permission denied): give this user a folder of its own") {
		t.Error(text)
	}
	if text := c.say(t, "verified"); text != "true <nil>" {
		t.Error(text)
	}
	if text := c.say(t, "listed"); text != "3 <nil>" {
		t.Error(text)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: file, Name: "control-1"}); err == nil || !strings.Contains(err.Error(), "is no folder") {
		t.Error(err)
	}
}

// nobody is another user where the test is root, whom no mode keeps out.
func nobody() *syscall.SysProcAttr {
	if os.Getuid() != 0 {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}
