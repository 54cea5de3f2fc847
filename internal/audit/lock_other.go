//go:build !unix

package audit

import (
	"os"
	"path/filepath"
)

// lockFolder does not keep a second process out: this system has no such lock.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	return f, folderFault(dir, err)
}
