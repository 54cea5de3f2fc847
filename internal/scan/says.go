package scan

// Present reports whether a member is there and not null.
func Present(n Node) bool { return n.Exists() && n.Kind() != Null }

// Says reports whether a member holds anything that somebody would have meant:
// servers send null, "", [], {} and false for nothing, and a number is a
// measure.
func Says(n Node) bool {
	switch n.Kind() {
	case String:
		return len(n.Raw()) > len(`""`)
	case Object, Array:
		return n.Len() > 0
	case True:
		return true
	}
	return false
}
