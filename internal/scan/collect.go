package scan

// Field is one member that Collect looks for.
type Field struct {
	Name string
	Node Node // the first member of that name; does not exist where there is none
	hits int  // members whose name is Name, or Name in another case
}

// Collect reads the members that fields name in one pass over object, and
// returns the first name that occurs more than once, counting twins that differ
// only in case (as Ambiguous does): readers disagree on which of them counts.
// Of anything but an object it finds nothing.
func Collect(object Node, fields []Field) (duplicate string) {
	if object.Kind() != Object {
		return ""
	}
	for it := object.Children(); it.Next(); {
		key := it.Key()
		if f := exact(fields, key); f != nil {
			if !f.Node.Exists() {
				f.Node = it.Value()
			}
			f.hits++
			continue
		}
		for i := range fields {
			if equalFold(key, fields[i].Name) {
				fields[i].hits++
			}
		}
	}
	for i := range fields {
		if fields[i].hits > 1 {
			return fields[i].Name
		}
	}
	return ""
}

func exact(fields []Field, key []byte) *Field {
	for i := range fields {
		if string(key) == fields[i].Name {
			return &fields[i]
		}
	}
	return nil
}
