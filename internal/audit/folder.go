package audit

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// A log's folder:
//
//	lock                              one process a folder
//	key.pem, public.pem               the writer's
//	WRITER/0000000000000001.jsonl     segments of a chain, named by their first entry
//	WRITER/head.json                  the newest head, as the writer last signed it
const (
	lockFile = "lock"
	headFile = "head.json"
	segment  = ".jsonl"
)

func segmentName(sequence uint64) string { return fmt.Sprintf("%016d%s", sequence, segment) }

// segmentStart is the number in a segment's name.
func segmentStart(name string) (uint64, bool) {
	base, ok := strings.CutSuffix(name, segment)
	if !ok || len(base) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(base, 10, 64)
	return n, err == nil
}

// segmentsOf are the names of a chain's segments, in their order. A folder that
// is not there has none.
func segmentsOf(dir string) ([]string, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, f := range files {
		if _, ok := segmentStart(f.Name()); ok {
			names = append(names, f.Name())
		}
	}
	slices.Sort(names)
	return names, err
}

// writersIn are the chains that a log's folder holds, by name and number.
func writersIn(dir string) ([]writer, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []writer
	for _, f := range files {
		if w, ok := parseWriter(f.Name()); ok && f.IsDir() {
			found = append(found, w)
		}
	}
	slices.SortFunc(found, func(a, b writer) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.fingerprint, b.fingerprint), cmp.Compare(a.chain, b.chain))
	})
	return found, nil
}

// replaceFile puts text in the place of a file, whole or not at all.
func replaceFile(path string, text []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // it is gone where all went well
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	err = cmp.Or(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return err
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
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return fmt.Errorf("the disk of %s is full (%w): make room", dir, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s cannot be written (%w): give this user a folder of its own", dir, err)
	}
	return fmt.Errorf("%s is no folder to keep a chain in: %w", dir, err)
}
