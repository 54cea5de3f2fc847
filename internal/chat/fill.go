package chat

import (
	"bytes"

	"github.com/safestate/safestate/internal/scan"
)

// complete appends a body that has the wanted form already, byte for byte, with
// what clients of strict types need and it does not have. A member that is
// there, be it null or under a name in another case, stays as it is: a second
// one would be read by some and not by others.
func (w *writer) complete(body []byte, root scan.Node) []byte {
	at := root.Offset() + len("{")
	w.dst = append(w.dst, body[:at]...)
	for _, m := range [...]struct{ name, value string }{
		{"id", `"` + placeholder + `"`}, {"object", `"` + objectOf(w.to.Legacy) + `"`}, {"created", "0"}, {"model", `"` + placeholder + `"`},
	} {
		if lacks(root, m.name) {
			w.text(`"` + m.name + `":` + m.value + ",")
		}
	}
	choices, _ := root.Get("choices")
	for it := choices.Children(); it.Next(); {
		i, ch := it.Index(), &w.from.Choices[it.Index()]
		at = w.upTo(body, at, it.Value())
		if lacks(it.Value(), "index") {
			w.text(`"index":`)
			w.dst = append(appendInt(w.dst, i), ',')
		}
		if lacks(it.Value(), "finish_reason") {
			w.text(`"finish_reason":`)
			w.finish(ch)
			w.text(",")
		}
		if ch.Message.Exists() && lacks(ch.Message, "role") {
			at = w.upTo(body, at, ch.Message)
			w.text(`"role":"assistant",`)
		}
	}
	return append(w.dst, body[at:]...)
}

// upTo copies the body to the inside of an object, and returns where that is.
func (w *writer) upTo(body []byte, at int, object scan.Node) int {
	begin := object.Offset() + len("{")
	w.dst = append(w.dst, body[at:begin]...)
	return begin
}

// lacks reports whether no member of an object has a name, in whatever case.
func lacks(object scan.Node, name string) bool {
	for it := object.Children(); it.Next(); {
		if bytes.EqualFold(it.Key(), []byte(name)) {
			return false
		}
	}
	return true
}
