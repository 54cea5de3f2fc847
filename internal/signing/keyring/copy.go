package keyring

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/safestate/safestate/internal/signing"
)

// readCopy reads the local copy; nil: there is none.
func readCopy(dir string) (*signing.Ring, error) {
	if dir == "" {
		return nil, nil
	}
	path := filepath.Join(dir, File)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var r signing.Ring
	if err == nil {
		r, err = parse(text)
	}
	if err != nil {
		return nil, fmt.Errorf("%s, a local copy of the keys that sign policies, cannot be read (%w): move it away to start from the store alone", path, err)
	}
	return &r, nil
}

// writeCopy puts a ring in the place of the local copy, whole or not at all.
func writeCopy(dir string, r signing.Ring) error {
	if dir == "" {
		return nil
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, File+".*") // for this user alone
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
		err = os.Rename(f.Name(), filepath.Join(dir, File))
	}
	if err == nil {
		err = syncFolder(dir)
	}
	return err
}

// syncFolder makes a rename in a folder durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
