package filter

import (
	"strconv"
	"strings"
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

// declared returns the content-length; -1 where there is none.
func (h headers) declared() int64 {
	text, ok := h.Get("content-length")
	if !ok {
		return -1
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// status reads :status; 0, which is a failure, where it is none.
func (h headers) status() int {
	n, err := strconv.Atoi(h.text(":status"))
	if err != nil {
		return 0
	}
	return n
}

// isVersion reports whether Envoy sends the request to a version: not where it has
// none, and not where a ramp withholds it.
func isVersion(cluster, none string) bool { return cluster != "" && !strings.HasPrefix(cluster, none) }
