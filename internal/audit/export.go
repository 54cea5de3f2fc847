package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/safestate/safestate/internal/store"
)

// ContentType is of an export: JSON, a value a line.
const ContentType = "application/x-ndjson"

// title is the line of an export that begins a chain.
type title struct {
	Chain string            `json:"chain"`
	Key   ed25519.PublicKey `json:"key,omitempty"`
}

const titleStart = `{"chain":`

func (t title) line() []byte {
	key, _ := json.Marshal([]byte(t.Key)) // a text in base64 cannot fail
	b := quote([]byte(titleStart), t.Chain)
	if len(t.Key) > 0 {
		b = append(append(b, `,"key":`...), key...)
	}
	return append(b, '}')
}

// parseTitle takes what line writes, with the key of the writer or none.
func parseTitle(line []byte) (t title, ok bool) {
	if !bytes.HasPrefix(line, []byte(titleStart)) || json.Unmarshal(line, &t) != nil {
		return t, false
	}
	_, ok = parseWriter(t.Chain)
	return t, ok && bytes.Equal(t.line(), line) && (len(t.Key) == 0 || vouches(t.Chain, t.Key))
}

// ExportFolder writes all chains of a log's folder, for Verify elsewhere: for
// each a line with its writer and its public key, the newest head, the entries as
// they stand in the files. With entriesOnly the folder must have one chain, and
// its entries are all that is written.
func ExportFolder(dir string, out io.Writer, entriesOnly bool) error {
	writers, err := writersIn(dir)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if len(writers) != 1 && entriesOnly || len(writers) == 0 {
		return fmt.Errorf("audit: %s has %d chains: entries alone are those of one", dir, len(writers))
	}
	public, _ := ReadPublicKey(filepath.Join(dir, publicFile)) // without it the first entry has the key
	for _, w := range writers {
		if !entriesOnly {
			head, _ := os.ReadFile(filepath.Join(dir, w.String(), headFile)) // there is none at first
			if err := exportTitle(out, w.String(), public, bytes.TrimSuffix(head, []byte("\n"))); err != nil {
				return err
			}
		}
		if err := exportSegments(out, filepath.Join(dir, w.String())); err != nil {
			return err
		}
	}
	return nil
}

func exportTitle(out io.Writer, writer string, key ed25519.PublicKey, head []byte) error {
	t := title{Chain: writer}
	if vouches(writer, key) {
		t.Key = key
	}
	err := writeLine(out, t.line())
	if err == nil && len(head) > 0 {
		err = writeLine(out, head)
	}
	return err
}

func writeLine(out io.Writer, line []byte) error {
	_, err := out.Write(append(line[:len(line):len(line)], '\n'))
	return err
}

// exportSegments copies the lines of a chain, an unfinished one apart.
func exportSegments(out io.Writer, dir string) error {
	segments, err := segmentsOf(dir)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	for _, name := range segments {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("audit: %w", err)
		}
		var failed error
		_, _, err = eachLine(f, func(_ int, line []byte) {
			if failed == nil {
				failed = writeLine(out, line)
			}
		})
		_ = f.Close() // it was only read
		if err = errors.Join(err, failed); err != nil {
			return fmt.Errorf("audit: %w", err)
		}
	}
	return nil
}

// Export writes the log's own chains, whole, and what the store has of the other
// writers': their newest entries, which Verify takes with Pruned. Where the store
// is away, the error is its own, and the own chains have been written.
func (l *Log) Export(ctx context.Context, out io.Writer) error {
	head := l.Head()
	if err := writeLine(out, head.Line()); err != nil {
		return err
	}
	if err := ExportFolder(l.o.Dir, out, false); err != nil || l.o.Store == nil {
		return err
	}
	others, err := l.others(ctx)
	for i := range others {
		if err == nil {
			err = exportStored(ctx, l.o.Store, &others[i], out)
		}
	}
	return err
}

// others are the writers whose chains are in the store and not in the folder.
func (l *Log) others(ctx context.Context) ([]record, error) {
	here, err := writersIn(l.o.Dir)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	own := map[string]bool{}
	for _, w := range here {
		own[w.String()] = true
	}
	entries, err := l.o.Store.List(ctx, headsPrefix)
	if err != nil {
		return nil, err
	}
	var found []record
	for _, e := range entries {
		var r record
		if json.Unmarshal(e.Value, &r) == nil && r.check() == nil && !own[r.Head.Writer] {
			found = append(found, r)
		}
	}
	return found, nil
}

// pageEntries is how many entries are asked of the store at once.
const pageEntries = 100

func exportStored(ctx context.Context, s store.Store, r *record, out io.Writer) error {
	if err := exportTitle(out, r.Head.Writer, r.Key, r.Line()); err != nil {
		return err
	}
	prefix := entriesOf(r.Head.Writer)
	for from := ""; ; {
		page, err := s.Page(ctx, prefix, from, pageEntries)
		if err != nil {
			return err
		}
		for _, e := range page {
			if err := writeLine(out, e.Value); err != nil {
				return err
			}
		}
		if len(page) < pageEntries {
			return nil
		}
		from = page[len(page)-1].Key + "0" // the key after it: none of ours is longer
	}
}
