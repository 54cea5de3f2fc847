package extproc

import (
	"sync"
	"time"
)

const (
	// rememberFor is longer than Envoy keeps a log entry, and a processor a request
	// whose end has come.
	rememberFor = 5 * time.Second
	// mostRemembered bounds what is remembered, by requests: 10 MB.
	mostRemembered = 50_000
)

// lately remembers requests whose answers counted against the version, or the
// caller, not long ago. Where the model breaks the connection with its failure Envoy
// may log that before it has the exchange's verdict, and the log may be here before
// the exchange has one: whoever is first counts. It is safe for concurrent use.
type lately struct {
	mu           sync.Mutex
	newer, older map[string]struct{} // by request id
	since        time.Time           // of newer
}

// claim reports whether the caller is the first to count a request. One without an id
// cannot be told from others.
func (l *lately) claim(id string, now time.Time) bool {
	if id == "" {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn(now)
	_, newer := l.newer[id]
	_, older := l.older[id]
	if newer || older {
		return false
	}
	if len(l.newer) >= mostRemembered/2 {
		l.older, l.newer, l.since = l.newer, nil, now
	}
	if l.newer == nil {
		l.newer = map[string]struct{}{}
	}
	l.newer[id] = struct{}{}
	return true
}

// turn forgets what is old enough.
func (l *lately) turn(now time.Time) {
	age := now.Sub(l.since)
	switch {
	case age >= 2*rememberFor:
		l.newer, l.older, l.since = nil, nil, now
	case age >= rememberFor:
		l.older, l.newer, l.since = l.newer, nil, now
	}
}
