package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"
)

// maxFileBytes bounds one file: a thousand policies of the largest kind fit.
const maxFileBytes = 4 << 20

// list returns the folder's configuration files, sorted. Folders inside it and
// names with a leading dot (editors' files, a ConfigMap's ..data) are not
// configuration.
func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || !slices.Contains([]string{".yaml", ".yml", ".json"}, ext) {
			continue
		}
		names = append(names, filepath.Join(dir, e.Name()))
	}
	return names, nil // ReadDir sorts
}

// read returns a file's text. Its errors are for a person and name no file.
func read(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, syscall.ELOOP):
		return nil, errors.New("is a symbolic link that leads to itself; link to a file")
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("is a symbolic link that leads nowhere, or was removed while it was read")
	case err != nil:
		return nil, plain(err)
	case !info.Mode().IsRegular():
		return nil, errors.New("is no regular file; only files are read")
	case info.Size() > maxFileBytes:
		return nil, tooLarge()
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, plain(err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, plain(err)
	}
	return data, nil
}

// check refuses texts that are not worth a parser's time.
func check(data []byte) error {
	switch {
	case len(data) > maxFileBytes:
		return tooLarge()
	case !utf8.Valid(data):
		return errors.New("is not UTF-8; save it as UTF-8")
	}
	return nil
}

func tooLarge() error {
	return fmt.Errorf("is over %d MiB; split it into several files", maxFileBytes>>20)
}

// plain drops the operation and the path that the caller writes anyway.
func plain(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("cannot be read: %w", pathErr.Err)
	}
	return fmt.Errorf("cannot be read: %w", err)
}
