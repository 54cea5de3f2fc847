// Package fallback asks the model of a ladder's model rung over HTTP, or over
// gRPC where the model speaks it. A Client talks to the endpoints that the
// policy lists and to nothing else: it follows no redirect and uses no proxy.
//
// Files:
//
//	client.go     Client and Do, the flow of one request
//	stream.go     an answer that comes in pieces
//	grpc.go       one gRPC call
//	question.go   what is sent: path, headers and body
//	path.go       which path the protocol asks for
//	chat.go       the body of a chat request
//	upload.go     a body that can be let go of
//	endpoints.go  which endpoint is asked
//	errors.go     what can go wrong, as a closed set
//	transport.go  connections, TLS and credentials from files
//	keep.go       the goroutine that probes and re-reads files
package fallback

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/tenant"
)

// DefaultMaxBytes bounds an answer where policy.Fallback.MaxBytes is 0.
const DefaultMaxBytes = 1 << 20

// Headers reads the caller's request headers: names in lower case, the first
// value of each.
type Headers interface {
	Get(name string) (value string, ok bool)
}

// Request is one request to the fallback model.
type Request struct {
	Path    string  // the caller's path with its query
	Headers Headers // the caller's; only those of an allow-list are passed on; may be nil
	// Body is passed on as it is, but for the model's name in the requests of
	// OpenAI and gRPC, and must not be changed afterwards, not even once Do has
	// returned: a connection may still be sending it. Of OpenAI it is the JSON in
	// identity encoding; of gRPC the message without its frame.
	Body []byte
}

// Answer is the model's 200, whole and of at most MaxBytes. Of a gRPC model it
// is a call that ended with OK: Body is the message without its frame, and the
// content-type is protocol.TypeGRPC.
type Answer struct {
	Status  int
	Headers AnswerHeaders
	Body    []byte // the caller's own
}

// AnswerHeaders are the headers of an answer.
type AnswerHeaders http.Header

// Get returns the first value of a header; name may be in any case.
func (h AnswerHeaders) Get(name string) (string, bool) {
	v := http.Header(h).Values(name)
	if len(v) == 0 {
		return "", false
	}
	return v[0], true
}

// Options are what a Client takes besides the policy.
type Options struct {
	// OnProblem is told of files that cannot be read or used, once for each
	// change of the problem, and of nil when it is over. It is called on one
	// goroutine at a time. May be nil.
	OnProblem func(error)
	// Files is where the files that cfg names have to be.
	Files tenant.Files
}

// Client asks one fallback model. It is safe for concurrent use.
type Client struct {
	cfg       policy.Fallback
	opt       Options
	endpoints *endpoints
	name      []byte // the served name as a JSON string; nil: none

	transport   atomic.Pointer[http.Transport] // nil: its TLS files cannot be used
	credentials atomic.Pointer[string]         // nil: none, or the file cannot be read

	files  files
	cancel context.CancelFunc
	wake   chan struct{} // the credentials were refused: read them again
	wg     sync.WaitGroup
}

// New returns a client for cfg and starts the goroutine that probes its
// endpoints and re-reads its files; Close stops it. Nothing is connected yet
// and a missing file is no error: Do fails until it is there. An error means
// that cfg cannot be used at all.
func New(cfg policy.Fallback, opt Options) (*Client, error) {
	list, err := newEndpoints(cfg.Endpoints, time.Now)
	if err != nil {
		return nil, err
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if _, err := pathOf(&cfg, "/"); err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, opt: opt, endpoints: list, wake: make(chan struct{}, 1)}
	if cfg.ServedName != "" {
		if c.name, err = json.Marshal(cfg.ServedName); err != nil {
			return nil, err
		}
	}
	c.readFiles()
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.wg.Go(func() { c.keep(ctx) })
	return c, nil
}

// Close stops the client's goroutine and closes its idle connections. Requests
// in flight end as they would have.
func (c *Client) Close() {
	c.cancel()
	c.wg.Wait()
	if t := c.transport.Load(); t != nil {
		t.CloseIdleConnections()
	}
}

// Do asks the model and returns its whole answer, or an *Error. It takes no
// longer than ctx and the policy's deadline allow. Where an endpoint cannot be
// connected to, the next one is asked; once a request may have been sent it is
// not sent again to another. An OpenAI model is asked for a whole answer,
// whatever the caller asked for.
func (c *Client) Do(ctx context.Context, req Request) (*Answer, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	q, err := c.question(req, true)
	if err != nil {
		return nil, err
	}
	var answer *Answer
	failed := c.each(ctx, func(e *endpoint) *Error {
		started := time.Now()
		if answer, err = c.roundTrip(ctx, e, q); err != nil {
			return c.blame(ctx, e, started, err)
		}
		e.succeeded()
		return nil
	})
	if failed != nil {
		return nil, failed
	}
	return answer, nil
}

// bounded returns ctx with the policy's deadline.
func (c *Client) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if d := c.cfg.Deadline.D(); d > 0 {
		return context.WithTimeout(ctx, d)
	}
	return context.WithCancel(ctx)
}

// each asks one endpoint after the other, until one could be connected to.
func (c *Client) each(ctx context.Context, ask func(*endpoint) *Error) *Error {
	var last *Error
	for range c.endpoints.list {
		if last = ask(c.endpoints.pick()); last == nil {
			return nil
		}
		if last.Kind != Refused || ctx.Err() != nil {
			break
		}
	}
	return last
}

// blame classifies the error of an endpoint that was asked at started, and
// notes what it says of the endpoint.
func (c *Client) blame(ctx context.Context, e *endpoint, started time.Time, err error) *Error {
	failed := errorOf(ctx, e.authority, err)
	switch {
	case failed.Kind == Timeout && time.Since(started) < c.cfg.Deadline.D()/2:
		// It was given too little time to be blamed.
	case failed.blamesEndpoint():
		e.failed(c.endpoints.now())
	}
	if failed.Status == http.StatusUnauthorized || failed.Status == http.StatusForbidden {
		c.rereadSoon()
	}
	return failed
}

func (c *Client) roundTrip(ctx context.Context, e *endpoint, q *question) (*Answer, error) {
	resp, err := c.open(ctx, e, q) //nolint:bodyclose // whoever reads it closes it
	if err != nil {
		return nil, err
	}
	if c.grpc() {
		return c.readMessage(resp)
	}
	return c.readAnswer(resp)
}

// open sends the question and returns the model's 200, whose body is to be
// closed.
func (c *Client) open(ctx context.Context, e *endpoint, q *question) (*http.Response, error) {
	resp, err := c.sendKept(ctx, e, q)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close() // unread: a body that stalls must not take the ladder's time
		return nil, &Error{Kind: Status, Status: resp.StatusCode}
	}
	return resp, nil
}

// sendKept sends the question, and once more where a kept connection turns out
// to be closed before anything came back: an inference changes nothing at the
// model. Net/http does so by itself, of a POST where it is marked so, unless
// the closing shows while the request is being written, as it does with long
// ones.
func (c *Client) sendKept(ctx context.Context, e *endpoint, q *question) (*http.Response, error) {
	for {
		out, err := c.newRequest(ctx, http.MethodPost, e, q.target, q.body)
		if err != nil {
			return nil, err
		}
		for _, h := range q.headers {
			out.Header.Set(h[0], h[1])
		}
		// The mark. The empty value keeps the header itself off the wire.
		out.Header["Idempotency-Key"] = []string{}
		var kept, answered atomic.Bool
		out = out.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GotConn:              func(i httptrace.GotConnInfo) { kept.Store(i.Reused) },
			GotFirstResponseByte: func() { answered.Store(true) },
		}))
		resp, err := c.send(out)
		if err == nil || !kept.Load() || answered.Load() || ctx.Err() != nil || !unsent(err) {
			return resp, err
		}
	}
}

// unsent reports whether a request could not be written to its end.
func unsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "write" || op.Op == "readfrom")
}

// readAnswer reads a whole answer and closes its body.
func (c *Client) readAnswer(resp *http.Response) (*Answer, error) {
	body, err := c.readBody(resp)
	if err != nil {
		return nil, err
	}
	return &Answer{Status: resp.StatusCode, Headers: AnswerHeaders(resp.Header), Body: body}, nil
}

// newRequest addresses an endpoint, whatever target says of a host, and adds
// the credentials.
func (c *Client) newRequest(ctx context.Context, method string, e *endpoint, target *url.URL, body *upload) (*http.Request, error) {
	u := &url.URL{Scheme: "http", Host: e.authority, Path: target.Path, RawPath: target.RawPath, RawQuery: target.RawQuery}
	if c.cfg.TLS != nil {
		u.Scheme = "https"
	}
	out, err := http.NewRequestWithContext(ctx, method, u.String(), http.NoBody)
	if err != nil {
		return nil, &Error{Kind: Invalid, Err: err}
	}
	body.attach(out)
	out.Header.Set("Accept-Encoding", "identity")
	out.Header.Set("User-Agent", "safestate")
	if c.cfg.Credentials != "" {
		value := c.credentials.Load()
		if value == nil {
			return nil, &Error{Kind: Files, Err: errors.New("the credentials cannot be read")}
		}
		out.Header.Set("Authorization", *value)
	}
	return out, nil
}

func (c *Client) send(out *http.Request) (*http.Response, error) {
	t := c.transport.Load()
	if t == nil {
		return nil, &Error{Kind: Files, Err: errors.New("the TLS files cannot be used")}
	}
	// A Transport, not a Client: it follows no redirects.
	return t.RoundTrip(out)
}

// readBody reads a body of at most MaxBytes and closes it. A body that ends
// before its announced length is an error of net/http's, for each framing that
// announces one.
func (c *Client) readBody(resp *http.Response) ([]byte, error) {
	defer func() { _ = resp.Body.Close() }() // unread rest: the connection is closed with it
	most := c.cfg.MaxBytes
	if resp.ContentLength > most {
		return nil, &Error{Kind: TooLarge, Err: fmt.Errorf("it announces %d bytes, at most %d are read", resp.ContentLength, most)}
	}
	var buf bytes.Buffer
	if resp.ContentLength > 0 {
		buf.Grow(int(resp.ContentLength) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(io.LimitReader(resp.Body, most+1)); err != nil {
		return nil, &bodyError{err}
	}
	if int64(buf.Len()) > most {
		return nil, &Error{Kind: TooLarge, Err: fmt.Errorf("at most %d bytes are read", most)}
	}
	return buf.Bytes(), nil
}
