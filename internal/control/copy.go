package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Names of local copies in the data folder.
const (
	copyFile = "states.json" // of every model's releases
	pinsFile = "pins.json"   // of the policies that a person holds against the files
	killFile = "kills.json"  // of everything that was ever killed

	proxiesFile = "proxies.json" // of the proxies that were seen lately
)

// localCopy is what this replica last knew, by name, on its own disk:
// what it starts from while the store is away, and what tells it that a store
// has lost something. Its methods are safe for concurrent use.
type localCopy struct {
	dir  string // empty: none is kept
	file string

	mu    sync.Mutex
	saved map[string]json.RawMessage // by name
	stale chan struct{}              // written to when the file is behind saved
	fault fault                      // why it could not be written

	writing  chan struct{} // holds one while the file is written
	replace  func(path string, text []byte) error
	patience time.Duration // that the disk has for a write
}

// openCopy reads the copy. A folder without one gives an empty copy; one that
// cannot be read is an error: what it says may be that a model is not to get
// traffic.
func openCopy(dir, file string) (*localCopy, error) {
	c := &localCopy{
		dir: dir, file: file, saved: map[string]json.RawMessage{}, stale: make(chan struct{}, 1),
		writing: make(chan struct{}, 1), replace: replaceFile, patience: diskPatience,
	}
	if dir == "" {
		return c, nil
	}
	text, err := os.ReadFile(c.path())
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &c.saved)
	}
	if err != nil {
		return nil, fmt.Errorf("%s, a local copy of what the store has, cannot be read (%w): "+
			"move it away to start from the store alone", c.path(), err)
	}
	return c, nil
}

func (c *localCopy) path() string { return filepath.Join(c.dir, c.file) }

// all returns the states by name.
func (c *localCopy) all() map[string]json.RawMessage {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]json.RawMessage, len(c.saved))
	for model, state := range c.saved {
		out[model] = state
	}
	return out
}

// set changes one state; run, or flush, brings it to the disk.
func (c *localCopy) set(name string, state json.RawMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.saved[name] = state
	c.behind()
}

// drop is set for one that is kept no more.
func (c *localCopy) drop(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.saved, name)
	c.behind()
}

func (c *localCopy) behind() {
	select {
	case c.stale <- struct{}{}:
	default:
	}
}

// copyAgain is when a file that could not be written is tried again.
const copyAgain = 5 * time.Second

// run keeps the file up to date until ctx ends. Several changes are one write: a
// file of a thousand models is not written a thousand times when all are read.
func (c *localCopy) run(ctx context.Context, failed func(error)) {
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.stale:
		case <-again:
		}
		again = nil
		if err := c.flush(); err != nil {
			failed(err)
			again = time.After(copyAgain)
		}
	}
}

// trouble is why the file does not say what it should, and since when; nil: it does.
func (c *localCopy) trouble() fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fault
}

// diskPatience is how long the disk has for the file. One that hangs holds up
// nobody for longer.
const diskPatience = time.Second

var errDiskHangs = errors.New("the disk does not take it")

// flush writes the file; what was set before is on the disk where it returns nil.
// Where the disk hangs the write goes on, and is tried again.
func (c *localCopy) flush() error {
	if c.dir == "" {
		return nil
	}
	c.mu.Lock()
	late := time.NewTimer(c.patience)
	c.mu.Unlock()
	defer late.Stop()
	err := errDiskHangs
	select {
	case <-late.C: // an earlier write hangs
	case c.writing <- struct{}{}:
		written := make(chan error, 1)
		go func() {
			written <- c.noted(c.write())
			<-c.writing
		}()
		select {
		case err := <-written:
			return err
		case <-late.C:
		}
	}
	return c.noted(fmt.Errorf("the local copy cannot be written: %s: %w", c.path(), err))
}

func (c *localCopy) write() error {
	c.mu.Lock()
	text, err := json.Marshal(c.saved)
	replace := c.replace
	c.mu.Unlock()
	if err == nil {
		err = replace(c.path(), text)
	}
	if err != nil {
		return fmt.Errorf("the local copy cannot be written: %w", err)
	}
	return nil
}

// noted remembers how a write went.
func (c *localCopy) noted(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.fault = fault{}
	} else {
		c.fault.happens(err)
	}
	return err
}

// replaceFile puts text in the place of a file, whole or not at all.
func replaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
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

// Copies are the names of the files in which a replica keeps, in its data folder,
// what it last knew. What they know is newer than any backup, and is written to the
// store again.
func Copies() []string { return []string{copyFile, pinsFile, killFile} }

// Remembers reports whether a data folder holds the local copy of a replica that was
// here: it can start while the store is away.
func Remembers(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, copyFile))
	return err == nil && info.Size() > int64(len("{}"))
}
