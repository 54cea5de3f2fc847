package etcd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/safestate/safestate/internal/store"
)

// Backup writes everything that the store holds, as of one moment, while it
// goes on. It is etcd's own snapshot, which etcdutl reads as well; the user of
// a cluster needs the role root. It ends with ctx alone: a backup may be long.
// Where it fails, what was written is no backup.
func (s *Store) Backup(ctx context.Context, to io.Writer) error {
	from, err := s.client.Snapshot(ctx)
	if err != nil {
		return s.fault("backup", "", err)
	}
	defer func() { _ = from.Close() }() // it was read to its end, or failed
	checked := newSealed(to)
	if _, err := io.Copy(checked, from); err != nil {
		if checked.failed != nil {
			return fmt.Errorf("store: backup: %w", checked.failed)
		}
		return s.fault("backup", "", err)
	}
	if err := checked.verify(); err != nil {
		return fmt.Errorf("store: backup: %w: %s sent a snapshot that %w", store.ErrUnavailable, s.where, err)
	}
	return nil
}

// sealed passes a snapshot on to another writer, and knows afterwards whether
// it was whole: it ends with the SHA-256 of what comes before.
type sealed struct {
	to     io.Writer
	failed error // of to

	length int64
	hash   hash.Hash // of all but tail
	tail   []byte    // the last 32 bytes so far
}

func newSealed(to io.Writer) *sealed { return &sealed{to: to, hash: sha256.New()} }

func (s *sealed) Write(p []byte) (int, error) {
	n, err := s.to.Write(p)
	if err != nil {
		s.failed = err
		return n, err
	}
	s.length += int64(len(p))
	s.tail = append(s.tail, p...)
	if over := len(s.tail) - sha256.Size; over > 0 {
		s.hash.Write(s.tail[:over]) // never fails
		s.tail = append(s.tail[:0], s.tail[over:]...)
	}
	return n, nil
}

// verify completes "this file ...".
func (s *sealed) verify() error {
	// Bolt's pages are multiples of 512 bytes.
	if s.length <= sha256.Size || s.length%512 != sha256.Size {
		return errors.New("is no backup of etcd, or was cut off")
	}
	if !bytes.Equal(s.hash.Sum(nil), s.tail) {
		return errors.New("is damaged: its content is not what its hash says")
	}
	return nil
}

// Restore puts a backup into a folder that holds no store yet. It is there
// whole or not at all. The revisions go on far above those of the backup, and
// its history is gone, so that whoever watched the store that was lost reads
// everything anew.
func Restore(dir, file string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return folderFault(dir, err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // it guards nothing any more
	data := filepath.Join(dir, folder)
	if err := prepare(data); err != nil {
		return err
	}
	if founded(data) {
		return fmt.Errorf("store: %s holds a store already: move it away first", data)
	}
	if err := checkBackup(file); err != nil {
		return err
	}
	fresh, err := freshFolder(data)
	if err != nil {
		return err
	}
	if err := restore(file, fresh); err != nil {
		_ = os.RemoveAll(fresh) // else the next one does
		return err
	}
	return adopt(fresh, data)
}

// jump is how far the revisions go on above the backup's: more than were ever
// written after it. Etcd's documentation takes a billion as well.
const jump = 1_000_000_000

func restore(file, to string) (err error) {
	defer func() {
		if p := recover(); p != nil { // bbolt, where the hash holds and the content does not
			err = fmt.Errorf("store: %s is no backup of etcd: %v", file, p)
		}
	}()
	smallSegments()
	quiet := zap.New(zapcore.NewNopCore(), zap.WithFatalHook(zapcore.WriteThenPanic))
	err = snapshot.NewV3(quiet).Restore(snapshot.RestoreConfig{
		SnapshotPath:        file,
		Name:                memberName,
		OutputDataDir:       to,
		PeerURLs:            []string{memberURL},
		InitialCluster:      memberName + "=" + memberURL,
		InitialClusterToken: "etcd-cluster",
		RevisionBump:        jump,
		MarkCompacted:       true,
	})
	if err != nil {
		return fmt.Errorf("store: restore %s: %w", file, err)
	}
	return nil
}

// checkBackup holds a file's hash against its content.
func checkBackup(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("store: backup: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	checked := newSealed(io.Discard)
	if _, err := io.Copy(checked, f); err != nil {
		return fmt.Errorf("store: backup: %w", err)
	}
	if err := checked.verify(); err != nil {
		return fmt.Errorf("store: %s %w", file, err)
	}
	return nil
}
