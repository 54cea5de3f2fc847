package audit

import (
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// file is what a segment is written through: an *os.File. Tests put one in its
// place that fails.
type file interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
	Stat() (fs.FileInfo, error)
}

func openDisk(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
}

// chain is the end of a chain, where entries are added. Not safe for concurrent
// use.
type chain struct {
	dir    string // of its segments
	writer writer
	key    ed25519.PrivateKey
	limit  int64 // of a segment, in bytes
	open   func(path string) (file, error)

	sequence uint64 // of the last entry, 0 where there is none
	hash     Hash   // of the last entry
	at       time.Time
	segment  string // that is written to; empty: none yet
	size     int64  // of what is good in it
	file     file   // nil: to be opened, and cut to size
}

// errLost says that the file is not the one that was written to.
var errLost = errors.New("somebody changed the file while it was written to")

// write appends prepared entries, and returns those that are on the disk. With
// an error, the rest are not, and the chain is as if they had never come: the
// next write removes what is left of them first.
func (c *chain) write(entries []Entry, now time.Time) (written []Entry, err error) {
	if now.Before(c.at) {
		now = c.at
	}
	for len(written) < len(entries) {
		part, text := c.part(entries[len(written):], now)
		if err := c.flush(text); err != nil {
			return written, err
		}
		last := part[len(part)-1]
		c.sequence, c.hash, c.at = last.Sequence, last.Hash, last.At
		c.size += int64(len(text))
		written = append(written, part...)
	}
	return written, nil
}

// part seals as many entries as the segment takes, one at least; a segment that
// is full makes way for the next.
func (c *chain) part(entries []Entry, now time.Time) (part []Entry, text []byte) {
	sequence, prev := c.sequence, c.hash
	for _, e := range entries {
		e = e.sealed(c.writer.String(), sequence+1, now, prev, c.key)
		line := append(e.Line(), '\n')
		over := c.size+int64(len(text)+len(line)) > c.limit
		if over && len(text) > 0 {
			break
		}
		if c.segment == "" || over && c.size > 0 {
			c.drop()
			c.segment, c.size = segmentName(e.Sequence), 0
		}
		part, text = append(part, e), append(text, line...)
		sequence, prev = e.Sequence, e.Hash
	}
	return part, text
}

// flush brings lines to the disk, whole or not at all.
func (c *chain) flush(text []byte) error {
	if err := c.ready(); err != nil {
		return err
	}
	_, err := c.file.Write(text)
	if err == nil {
		err = c.file.Sync()
	}
	if err == nil {
		return nil
	}
	// After a failed sync nobody knows what the disk holds. The file is cut back
	// now, and again before the next write.
	_ = c.file.Truncate(c.size)
	c.drop()
	return folderFault(c.dir, err)
}

// ready opens the segment and cuts it to what is good. One that is open has to be
// as it was left: a file that was removed takes entries that nobody finds again.
func (c *chain) ready() error {
	path := filepath.Join(c.dir, c.segment)
	if c.file != nil {
		there, err := os.Stat(path)
		if err == nil && there.Size() == c.size {
			if ours, err := c.file.Stat(); err == nil && os.SameFile(there, ours) {
				return nil
			}
		}
		c.drop()
		return fmt.Errorf("%w: %s", errLost, path)
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return folderFault(c.dir, err)
	}
	f, err := c.open(path)
	if err != nil {
		return folderFault(c.dir, err)
	}
	info, err := f.Stat()
	switch {
	case err == nil && info.Size() < c.size:
		err = fmt.Errorf("%w: %s has %d bytes of %d", errLost, path, info.Size(), c.size)
	case err == nil && info.Size() > c.size:
		err = cmp.Or(f.Truncate(c.size), f.Sync())
	}
	if err == nil {
		err = cmp.Or(syncDir(c.dir), syncDir(filepath.Dir(c.dir)))
	}
	if err != nil {
		_ = f.Close() // the error before says more
		if errors.Is(err, errLost) {
			return err
		}
		return folderFault(c.dir, err)
	}
	c.file = f
	return nil
}

// drop lets go of the file; the next write opens it.
func (c *chain) drop() {
	if c.file != nil {
		_ = c.file.Close() // all that counts was synced
		c.file = nil
	}
}
