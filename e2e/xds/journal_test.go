package xds

import (
	"sync"

	"github.com/safestate/safestate/envoy/xds"
)

// journal remembers what one proxy says.
type journal struct {
	node string

	mu      sync.Mutex
	taken   map[string]int // by type, since the last forget
	refused map[string][]string
}

func newJournal(node string) *journal {
	j := &journal{node: node}
	j.forget()
	return j
}

func (j *journal) forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.taken, j.refused = map[string]int{}, map[string][]string{}
}

func (j *journal) Accepted(node, typeURL, _ string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if node == j.node {
		j.taken[typeURL]++
	}
}

func (j *journal) Refused(node, typeURL, _, message string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if node == j.node {
		j.refused[typeURL] = append(j.refused[typeURL], message)
	}
}

func (j *journal) Denied(string, xds.Cause, string) {}

// took reports whether a type was accepted since the last forget.
func (j *journal) took(typeURL string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.taken[typeURL] > 0
}

// refusals are the messages of a type since the last forget.
func (j *journal) refusals(typeURL string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.refused[typeURL]...)
}
