package protocol

import "github.com/safestate/safestate/internal/scan"

// present reports whether a member is there and not null.
func present(n scan.Node) bool { return n.Exists() && n.Kind() != scan.Null }

// says reports whether an error member tells of an error: servers send null,
// "" and {} for none, and a number is a measure, not a message.
func says(n scan.Node) bool {
	switch n.Kind() {
	case scan.String:
		return len(n.Raw()) > len(`""`)
	case scan.Object, scan.Array:
		return n.Len() > 0
	case scan.True:
		return true
	}
	return false
}

// TellsError reports whether a body of any JSON has a top-level member error
// that holds a text, an object or true.
func TellsError(root scan.Node) bool {
	v, _ := root.Get("error")
	return says(v)
}
