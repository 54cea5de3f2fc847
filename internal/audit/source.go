package audit

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Source is where lines to verify come from.
type Source struct {
	name string
	read func(*verifier) error
}

// Reader is an export, the lines of one chain alone, or the file of an anchor.
// The name stands in messages.
func Reader(name string, r io.Reader) Source {
	return Source{name, func(v *verifier) error { return v.stream(name, r) }}
}

// Folder is a log's folder with all its chains, or the folder of one chain. A
// process may be writing to it.
func Folder(dir string) Source {
	return Source{dir, func(v *verifier) error { return v.folder(dir) }}
}

// Path is a Folder, or a Reader of a file.
func Path(path string) Source {
	return Source{path, func(v *verifier) error {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return v.folder(path)
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // it was only read
		return v.stream(path, f)
	}}
}

// stream takes lines: of entries, of heads, and of those that begin a chain in an
// export. Without one of these all entries are of one chain.
func (v *verifier) stream(name string, r io.Reader) error {
	var part *part
	unfinished, _, err := eachLine(r, func(number int, line []byte) {
		where := fmt.Sprintf("%s:%d", name, number)
		if bytes.HasPrefix(line, []byte(witnessStart)) {
			v.head(line, where)
			return
		}
		if begun, ok := parseTitle(line); ok {
			part = v.begin(name, begun.Chain, begun.Key)
			return
		}
		if part == nil {
			part = v.begin(name, "", nil)
		}
		part.line(line, where)
	})
	if err != nil {
		return fmt.Errorf("audit: %s: %w", name, err)
	}
	if len(unfinished) > 0 {
		if part == nil {
			part = v.begin(name, "", nil)
		}
		part.unfinished, part.torn = name, false
	}
	return nil
}

func (v *verifier) folder(dir string) error {
	var key ed25519.PublicKey
	if k, err := ReadPublicKey(filepath.Join(dir, publicFile)); err == nil {
		key = k
	}
	if w, ok := parseWriter(filepath.Base(filepath.Clean(dir))); ok {
		if k, err := ReadPublicKey(filepath.Join(dir, "..", publicFile)); err == nil {
			key = k
		}
		return v.chain(dir, w.String(), key)
	}
	writers, err := writersIn(dir)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if len(writers) == 0 {
		return fmt.Errorf("audit: %s has no chain: want the folder that has %s", dir, publicFile)
	}
	for _, w := range writers {
		if err := v.chain(filepath.Join(dir, w.String()), w.String(), key); err != nil {
			return err
		}
	}
	return nil
}

// chain takes the folder of one chain. The head is read before the entries, which
// may become more meanwhile.
func (v *verifier) chain(dir, writer string, key ed25519.PublicKey) error {
	path := filepath.Join(dir, headFile)
	if text, err := os.ReadFile(path); err == nil {
		v.head(bytes.TrimSuffix(text, []byte("\n")), path)
	}
	if !vouches(writer, key) {
		key = nil // of a later writer of this folder
	}
	part := v.begin(dir, writer, key)
	part.folder = true
	segments, err := segmentsOf(dir)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	for i, name := range segments {
		path := filepath.Join(dir, name)
		unfinished, _, err := walkFile(&part.walker, path, path)
		if err != nil {
			return fmt.Errorf("audit: %w", err)
		}
		switch {
		case len(unfinished) == 0:
		case i < len(segments)-1:
			part.line(append(unfinished, '\n'), path) // which no line is
		default:
			part.unfinished, part.torn = path, true
		}
	}
	return nil
}
