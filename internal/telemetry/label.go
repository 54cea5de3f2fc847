package telemetry

import (
	"strings"
	"sync"
)

// other stands for every label value past a cap.
const other = "other"

// maxLabelBytes is the longest label value that is kept: a Kubernetes name is
// at most 253 characters, and a route's label joins three of them.
const maxLabelBytes = 3*253 + 2

// clean makes a value that Prometheus takes: valid UTF-8 and not too long.
func clean(value string) string {
	if len(value) > maxLabelBytes {
		return other
	}
	return strings.ToValidUTF8(value, "?")
}

// labels admits label values up to a cap.
type labels struct {
	mu   sync.Mutex
	max  int
	seen map[string]struct{}
}

func newLabels(limit int) *labels {
	return &labels{max: limit, seen: map[string]struct{}{}}
}

// admit returns the value itself, or other when it is one too many or too
// long. An admitted value stays admitted.
func (l *labels) admit(value string) string {
	value = clean(value)
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.seen[value]; ok {
		return value
	}
	if len(l.seen) >= l.max {
		return other
	}
	l.seen[value] = struct{}{}
	return value
}
