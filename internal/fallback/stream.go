package fallback

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/safestate/safestate/internal/inflate"
	"github.com/safestate/safestate/internal/protocol"
)

// Stream is the body of an answer that comes in pieces, as the model sends it.
// Until Commit it is bounded as Do is; from then on by Close alone. One
// goroutine at a time may use it, but for Close. It keeps nothing of the
// request once it is committed.
type Stream struct {
	ContentType string

	client   *Client
	endpoint *endpoint
	started  time.Time
	body     io.ReadCloser
	upload   *upload

	opening context.Context //nolint:containedctx // bounds the stream until Commit; nil from then on
	opened  context.CancelFunc
	unlink  func() bool        // takes the link from opening to life away
	life    context.Context    //nolint:containedctx // of the exchange with the model
	end     context.CancelFunc // ends life
}

// Stream asks the model for a streamed answer, in the time that Do has for a
// whole one. A model that gives a whole answer all the same gives it here, and
// there is then no Stream. Each Stream must be closed.
func (c *Client) Stream(ctx context.Context, req Request) (*Stream, *Answer, error) {
	q, err := c.question(req, false)
	if err != nil {
		return nil, nil, err
	}
	opening, opened := c.bounded(ctx)
	var s *Stream
	var whole *Answer
	failed := c.each(opening, func(e *endpoint) *Error {
		var failed *Error
		s, whole, failed = c.begin(opening, opened, e, q)
		return failed
	})
	if failed != nil {
		opened()
		return nil, nil, failed
	}
	return s, whole, nil
}

// begin asks one endpoint.
func (c *Client) begin(opening context.Context, opened context.CancelFunc, e *endpoint, q *question) (*Stream, *Answer, *Error) {
	s := &Stream{client: c, endpoint: e, started: time.Now(), upload: q.body, opening: opening, opened: opened}
	s.life, s.end = context.WithCancel(context.WithoutCancel(opening))
	s.unlink = context.AfterFunc(opening, s.end)
	resp, err := c.open(s.life, e, q) //nolint:bodyclose // the Stream closes it
	if err != nil {
		failed := c.blame(opening, e, s.started, err)
		s.unlink()
		s.end()
		return nil, nil, failed
	}
	s.body = resp.Body
	if s.ContentType = resp.Header.Get("Content-Type"); protocol.EventStream(s.ContentType) {
		if encoding := resp.Header.Get("Content-Encoding"); !inflate.Identity(encoding) {
			s.Close()
			return nil, nil, c.blame(opening, e, s.started, &Error{Kind: Broken, Err: errEncoded})
		}
		return s, nil, nil
	}
	defer s.Close()
	whole, err := c.readAnswer(resp)
	if err != nil {
		return nil, nil, c.blame(opening, e, s.started, err)
	}
	e.succeeded()
	return nil, whole, nil
}

var errEncoded = errors.New("a compressed stream, though identity was asked for")

// Read gives the next bytes of the body: io.EOF at its clean end, else an
// *Error.
func (s *Stream) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return n, err
	case s.opening != nil:
		return n, s.client.blame(s.opening, s.endpoint, s.started, &bodyError{err})
	default:
		return n, s.client.blame(s.life, s.endpoint, s.started, &bodyError{err})
	}
}

// Commit says that the answer is one: the deadline and the context that the
// stream was asked for with bound it no longer, and the request is let go of.
// It reports whether they had not ended it by then.
func (s *Stream) Commit() bool {
	if !s.unlink() {
		return false
	}
	s.opened()
	s.opening = nil
	s.upload.release()
	s.endpoint.succeeded()
	return true
}

// Stalled says that the stream was closed because its endpoint had fallen
// silent.
func (s *Stream) Stalled() { s.endpoint.failed(s.client.endpoints.now()) }

// Close ends the exchange with the model, and with it a Read on another
// goroutine. The connection is kept where the body was read to its end. It may
// be called more than once.
func (s *Stream) Close() {
	s.end()
	_ = s.body.Close() // nothing was written
	s.unlink()
	s.opened()
}
