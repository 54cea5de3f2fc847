// Package tenant says which files of a process an object may name. Objects name files
// of the processor: credentials, certificates, bodies of defaults. Where namespaces are
// tenants, whoever may write a Model would else have the processor send any file that it
// can read to an address of theirs: its own key, or another tenant's credentials.
package tenant

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// MeshFiles is where a mesh's objects have their files.
const MeshFiles Files = "/etc/safestate/files"

// Files is a folder, absolute and clean, that has a folder of its own for each
// namespace; empty: objects may name any file.
type Files string

// Folder is where the files of a namespace's objects are, with the slash behind it.
func (f Files) Folder(namespace string) string { return string(f) + "/" + namespace + "/" }

// Allows reports whether an object of a namespace may name a file. It looks at the name
// alone: Open holds what the name leads to.
func (f Files) Allows(namespace, name string) bool {
	if f == "" {
		return true
	}
	return namespace != "" && namespace != "." && namespace != ".." && !strings.Contains(namespace, "/") &&
		strings.HasPrefix(name, f.Folder(namespace)) && path.Clean(name) == name
}

var errOutside = errors.New("is in no namespace's folder")

// Open opens a file that some namespace allows. Links are followed inside that
// namespace's folder, as Kubernetes has them in every mounted Secret, and not out of it.
func (f Files) Open(name string, flag int) (*os.File, error) {
	if f == "" {
		return os.OpenFile(name, flag, 0) //nolint:gosec // the name is the configuration's own
	}
	inside, _ := strings.CutPrefix(name, string(f)+"/")
	namespace, file, _ := strings.Cut(inside, "/")
	if !f.Allows(namespace, name) {
		return nil, fmt.Errorf("%s %w below %s", name, errOutside, f)
	}
	root, err := os.OpenRoot(f.Folder(namespace))
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // what is open stays so
	opened, err := root.OpenFile(file, flag, 0)
	var at *fs.PathError
	if errors.As(err, &at) {
		err = &fs.PathError{Op: "open", Path: name, Err: at.Err} // the whole name, not the one inside
	}
	return opened, err
}
