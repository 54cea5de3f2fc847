package audit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// torn is a last line without an end: what a crash left of a write that nobody
// was told of.
type torn struct {
	Where  string `json:"where"`
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// resume reads a chain, and finds where it goes on. What a crash leaves behind
// is cut off and returned; the damage returned is everything else that is wrong,
// and then the chain must not go on. Each good entry is given to seen.
func resume(c *chain, seen func(*Entry)) (cut *torn, damage *Problem, err error) {
	segments, err := segmentsOf(c.dir)
	if err != nil {
		return nil, nil, folderFault(c.dir, err)
	}
	w := &walker{writer: c.writer.String(), key: publicOf(c.key)}
	w.good = func(e *Entry, _ []byte) { seen(e) }
	for i, name := range segments {
		unfinished, offset, err := walkFile(w, filepath.Join(c.dir, name), name)
		if err != nil {
			return nil, nil, folderFault(c.dir, err)
		}
		if len(unfinished) > 0 {
			if i < len(segments)-1 { // a crash tears the last line alone
				w.line(append(unfinished, '\n'), name) // which no line is
				continue
			}
			cut = &torn{Where: name, Bytes: len(unfinished), SHA256: fmt.Sprintf("%x", sha256.Sum256(unfinished))}
		}
		c.segment, c.size = name, offset
	}
	if damage = w.end(); damage == nil {
		damage = w.shorterThan(filepath.Join(c.dir, headFile))
	}
	if damage != nil {
		return nil, damage, nil
	}
	c.sequence, c.hash, c.at = w.last.Sequence, w.last.Hash, w.last.At
	return cut, nil, nil
}

// walkFile gives a segment's lines to a walker.
func walkFile(w *walker, path, name string) (unfinished []byte, offset int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = f.Close() }() // it was only read
	return eachLine(f, func(number int, line []byte) { w.line(line, fmt.Sprintf("%s:%d", name, number)) })
}

// shorterThan holds a chain against its newest head: a folder that was set back
// to an older state is whole, and yet not what it was.
func (w *walker) shorterThan(path string) *Problem {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	h, err := ParseWitness(bytes.TrimSuffix(text, []byte("\n")))
	if err != nil || h.Head.Writer != w.writer {
		return nil // Verify says so; there may be nothing wrong with the chain
	}
	return w.against([]sighting{{sequence: h.Head.Sequence, hash: h.Head.Hash, by: "its head file"}})
}
