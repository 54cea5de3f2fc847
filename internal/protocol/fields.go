package protocol

import (
	"bytes"

	"github.com/safestate/safestate/internal/scan"
)

// field is one key that is looked for in an object.
type field struct {
	name string
	node scan.Node
	hits int // members whose key is name, or name in another case
}

// collect reads the members named by fields in one pass over the object. It
// returns the first name that occurs more than once, counting twins that
// differ only in case: parsers disagree on which of them counts.
func collect(object scan.Node, fields []field) (duplicate string) {
	for it := object.Children(); it.Next(); {
		key := it.Key()
		if f := exact(fields, key); f != nil {
			if f.hits == 0 || !f.node.Exists() {
				f.node = it.Value()
			}
			f.hits++
			continue
		}
		for i := range fields {
			if bytes.EqualFold(key, []byte(fields[i].name)) {
				fields[i].hits++
			}
		}
	}
	for i := range fields {
		if fields[i].hits > 1 {
			return fields[i].name
		}
	}
	return ""
}

func exact(fields []field, key []byte) *field {
	for i := range fields {
		if string(key) == fields[i].name {
			return &fields[i]
		}
	}
	return nil
}

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
