package filter

import (
	"strconv"
)

// headers are one message's, as Envoy has them: names in lower case.
type headers [][2]string

// Get returns the first value of a header.
func (h headers) Get(name string) (string, bool) {
	for i := range h {
		if h[i][0] == name {
			return h[i][1], true
		}
	}
	return "", false
}

// text returns the first value, or "".
func (h headers) text(name string) string {
	v, _ := h.Get(name)
	return v
}

// status reads :status; 0, which is a failure, where it is none.
func (h headers) status() int {
	n, err := strconv.Atoi(h.text(":status"))
	if err != nil {
		return 0
	}
	return n
}
