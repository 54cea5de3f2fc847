package feed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// kept is a file with what was taken last, for this user alone. It is safe for
// concurrent use.
type kept struct {
	path    string // empty: nothing is kept
	problem func(error)

	mu     sync.Mutex
	text   string // that the file is to have
	saved  bool   // it has
	failed error  // why not
	again  *time.Timer
	closed bool
}

// saveAgain is when a file that could not be written is tried again.
const saveAgain = 5 * time.Second

// open reads the file. ok is false where there is none.
func (k *kept) open(dir, name string, problem func(error)) (text string, ok bool, err error) {
	k.problem = problem
	if dir == "" {
		return "", false, nil
	}
	k.path = filepath.Join(dir, name)
	b, err := os.ReadFile(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, k.unreadable(err)
	}
	k.text, k.saved = string(b), true
	return k.text, true, nil
}

func (k *kept) unreadable(err error) error {
	return fmt.Errorf("%s, what the control plane said last, cannot be read (%w): move it away to start from the control plane's word alone", k.path, err)
}

// put has the file say text. It is on the disk when put returns, or that was told as
// a problem and is tried again: what is in force does not depend on it.
func (k *kept) put(text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.path == "" || k.closed || k.saved && k.text == text {
		return
	}
	k.text, k.saved = text, false
	k.write()
}

// write writes it. k.mu is held.
func (k *kept) write() {
	if k.again != nil {
		k.again.Stop()
	}
	err := replaceFile(k.path, []byte(k.text))
	k.saved = err == nil
	if err != nil && k.failed == nil {
		k.problem(fmt.Errorf("what the control plane said is in force, and a restart without the control plane would not know of it: %w", err))
	}
	if k.failed = err; err != nil {
		k.again = time.AfterFunc(saveAgain, func() {
			k.mu.Lock()
			defer k.mu.Unlock()
			if !k.closed && !k.saved {
				k.write()
			}
		})
	}
}

// trouble is why the file does not say what is in force; nil: it does.
func (k *kept) trouble() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

func (k *kept) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	if k.again != nil {
		k.again.Stop()
	}
}

// replaceFile puts text in the place of a file, whole or not at all, and returns
// when that would outlive a loss of power.
func replaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // it is gone where all went well
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	err = dir.Sync()
	_ = dir.Close() // it was only read
	return err
}
