package controller

import "encoding/json"

// owns reports whether a set of fields, as managedFields has it, has a field of the
// spec or one inside it.
func owns(fields []byte, field string) bool {
	var set struct {
		Spec map[string]json.RawMessage `json:"f:spec"`
	}
	if json.Unmarshal(fields, &set) != nil {
		return false
	}
	_, there := set.Spec["f:"+field]
	return there
}
