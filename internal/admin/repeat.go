package admin

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Bounds of what is remembered of earlier requests.
const (
	rememberFor     = 10 * time.Minute
	rememberEntries = 1024
	rememberBytes   = 8 << 20
	maxKey          = 128 // characters of a key
)

// repeats remembers the results of requests by their idempotency keys, so that
// a client that lost the answer may ask again: the change is made once. What
// may succeed at the next try (429 and 5xx) is not remembered. Safe for
// concurrent use.
type repeats struct {
	mu      sync.Mutex
	entries map[string]*remembered
	order   []string // keys, oldest first
	bytes   int
}

// remembered is one request. done is closed when result is there.
type remembered struct {
	digest [sha256.Size]byte
	at     time.Time
	done   chan struct{}
	result result
}

func newRepeats() *repeats { return &repeats{entries: map[string]*remembered{}} }

// once runs do, or returns what it returned for an earlier request of the same
// key: the scope keeps principals and routes apart. The same key with another
// body is a mistake.
func (m *repeats) once(ctx context.Context, scope, key string, body []byte, now time.Time, do func() result) (result, error) {
	if len(key) > maxKey || strings.ContainsFunc(key, func(r rune) bool { return r < '!' || r > '~' }) {
		return result{}, Invalid(idempotencyHeader, "is no key: want at most %d characters of ASCII, without spaces", maxKey)
	}
	id, digest := scope+"\x00"+key, sha256.Sum256(body)
	for {
		e, mine, err := m.claim(id, digest, now)
		switch {
		case err != nil:
			return result{}, err
		case mine:
			return m.run(id, e, do), nil
		}
		select {
		case <-e.done:
		case <-ctx.Done():
			return result{}, Unavailable("the first request with this key is still being served")
		}
		if e.result.status != 0 {
			return e.result, nil
		} // the first came to nothing: try again
	}
}

// claim returns the entry of an id, made now where there is none.
func (m *repeats) claim(id string, digest [sha256.Size]byte, now time.Time) (e *remembered, mine bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(now)
	if e := m.entries[id]; e != nil {
		if e.digest != digest {
			return nil, false, &Problem{Status: http.StatusUnprocessableEntity, Field: idempotencyHeader,
				Message: "was used for another request", Hint: "use a new key for every change"}
		}
		return e, false, nil
	}
	e = &remembered{digest: digest, at: now, done: make(chan struct{})}
	m.entries[id] = e
	m.order = append(m.order, id)
	return e, true, nil
}

func (m *repeats) run(id string, e *remembered, do func() result) (r result) {
	defer func() { // also where do panics: nobody must wait for ever
		m.mu.Lock()
		defer m.mu.Unlock()
		if r.status == 0 || r.status == http.StatusTooManyRequests || r.status >= http.StatusInternalServerError {
			m.forget(id, e)
		} else {
			e.result = r
			if m.entries[id] == e {
				m.bytes += len(r.body)
			}
		}
		close(e.done)
	}()
	return do()
}

// expire forgets what is too old, and the oldest while there is too much.
func (m *repeats) expire(now time.Time) {
	for len(m.order) > 0 {
		id := m.order[0]
		e := m.entries[id]
		if e != nil && now.Sub(e.at) < rememberFor && len(m.order) < rememberEntries && m.bytes <= rememberBytes {
			return
		}
		m.order = m.order[1:]
		m.forget(id, e)
	}
}

func (m *repeats) forget(id string, e *remembered) {
	if e != nil && m.entries[id] == e {
		m.bytes -= len(e.result.body)
		delete(m.entries, id)
	}
}
