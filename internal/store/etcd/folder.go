package etcd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"

	"github.com/safestate/safestate/internal/store"
)

// lockDir makes the folder and takes its lock, which names our process. Etcd's
// own lock makes a second process wait without end.
func lockDir(dir string) (*fileutil.LockedFile, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, folderFault(dir, err)
	}
	path := filepath.Join(dir, lockFile)
	lock, err := fileutil.TryLockFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		holder, _ := os.ReadFile(path) // without it the message is shorter
		return nil, fmt.Errorf("store: %s is in use by another process (%s): one safestate a folder",
			dir, strings.TrimSpace(string(holder)))
	}
	if err != nil {
		return nil, folderFault(dir, err)
	}
	if err := lock.Truncate(0); err == nil {
		fmt.Fprintf(lock, "pid %d\n", os.Getpid()) // for a message only
	}
	return lock, nil
}

// prepare makes etcd's folder. One that was copied may be open to others.
func prepare(data string) error {
	err := os.Mkdir(data, 0o700)
	if errors.Is(err, fs.ErrExist) {
		err = os.Chmod(data, 0o700)
	}
	if err != nil {
		return folderFault(data, err)
	}
	return nil
}

// member is etcd's own sub-folder. It appears whole: a member is made in a
// fresh folder, and moved.
const member = "member"

// founded reports whether there is a member.
func founded(data string) bool { return fileutil.Exist(filepath.Join(data, member)) }

// freshFolder makes the folder for a new member; what was left of another one
// is removed.
func freshFolder(data string) (string, error) {
	fresh := filepath.Join(data, "new")
	err := os.RemoveAll(fresh)
	if err == nil {
		err = os.Mkdir(fresh, 0o700)
	}
	if err != nil {
		return "", folderFault(data, err)
	}
	return fresh, nil
}

// adopt moves a member from its fresh folder to its place.
func adopt(fresh, data string) error {
	err := os.Rename(filepath.Join(fresh, member), filepath.Join(data, member))
	if err == nil {
		err = os.Remove(fresh)
	}
	if err == nil {
		err = syncDir(data)
	}
	if err != nil {
		return folderFault(data, err)
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	return f.Sync()
}

// folderFault says what is wrong with a folder, and what would be right.
func folderFault(dir string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	switch {
	case full(err):
		return fmt.Errorf("store: %w: the disk of %s is full", store.ErrUnavailable, dir)
	case readOnly(err):
		return fmt.Errorf("store: %s cannot be written (%w): give this user a folder of its own", dir, err)
	}
	return fmt.Errorf("store: %s is no folder to keep data in: %w", dir, err)
}

func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

func readOnly(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// damaged says that etcd cannot start from what is in its folder.
func damaged(dir string, err error) error {
	if full(err) || readOnly(err) {
		return folderFault(dir, err)
	}
	return fmt.Errorf("store: etcd cannot start from %s (%w): move the folder away and restore a backup", dir, err)
}

// reserve is what has to be free on the disk for a write. Etcd cannot take back
// what it has begun, and stops for good where the disk fills up in between; with
// this much it always ends a write: a piece of its log and one step of its
// file's growth, 8 and 16 MiB.
const reserve = 32 << 20

// writable reports whether the disk has room for a write.
func (s *server) writable() error {
	// Where it cannot be known, etcd will find out.
	if free, err := s.free(s.dir); err == nil && free < reserve {
		return fmt.Errorf("the disk of %s is full: %d MiB are free, %d are needed", s.dir, free>>20, reserve>>20)
	}
	return nil
}
