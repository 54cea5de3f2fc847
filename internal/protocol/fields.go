package protocol

import "github.com/safestate/safestate/internal/scan"

// TellsError reports whether a body of any JSON has a top-level member error
// that holds a text, an object or true.
func TellsError(root scan.Node) bool {
	v, _ := root.Get("error")
	return scan.Says(v)
}
