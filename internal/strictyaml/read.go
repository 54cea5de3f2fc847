package strictyaml

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// MaxBytes is the most that a file may have.
const MaxBytes = 1 << 20

// Read returns a file's content. A file that is no plain one, that a group or
// everyone may write, or that is larger than MaxBytes is refused.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, plain(err, path)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat() // of what was opened, so that nothing is put in its place
	if err != nil {
		return nil, plain(err, path)
	}
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return nil, fmt.Errorf("%s: is no file", path)
	case mode.Perm()&0o022 != 0:
		return nil, fmt.Errorf("%s: may be written by others (mode %04o); want 0644 or less: chmod go-w", path, mode.Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return nil, plain(err, path)
	}
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("%s: is larger than 1 MiB", path)
	}
	return data, nil
}

func plain(err error, path string) error {
	var p *os.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}
