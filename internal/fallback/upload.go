package fallback

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
)

var errReleased = errors.New("fallback: the body was let go of")

// upload is a request's body. That of a stream can be let go of while the
// answer is still being read: net/http keeps the request until its end, and the
// prompts of thousands of open streams with it. It is safe for concurrent use.
type upload struct {
	// streamed bodies can be let go of. Others are readers that net/http knows,
	// so that it sends them in one piece with the headers.
	streamed bool

	mu   sync.Mutex
	body []byte
}

// attach makes u the body of a request; nil is none.
func (u *upload) attach(r *http.Request) {
	if u == nil || len(u.body) == 0 {
		return
	}
	r.ContentLength = int64(len(u.body))
	r.GetBody = u.open
	r.Body, _ = u.open() // it has a body
}

// open gives the body out, once more for a request that has to be sent on
// another connection.
func (u *upload) open() (io.ReadCloser, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.body == nil {
		return nil, errReleased
	}
	if !u.streamed {
		return io.NopCloser(bytes.NewReader(u.body)), nil
	}
	return &sending{rest: u.body}, nil
}

// release lets go of the body. A connection that is still sending it sends it
// to its end.
func (u *upload) release() {
	u.mu.Lock()
	u.body = nil
	u.mu.Unlock()
}

// sending reads the body once and lets go of it when it is closed, which
// net/http does once it is sent, and may do while another goroutine reads.
type sending struct {
	mu   sync.Mutex
	rest []byte
}

// Read gives the next bytes.
func (s *sending) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// Close lets go of the rest.
func (s *sending) Close() error {
	s.mu.Lock()
	s.rest = nil
	s.mu.Unlock()
	return nil
}
