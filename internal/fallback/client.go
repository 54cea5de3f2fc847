// Package fallback asks the model of a ladder's model rung over HTTP. A Client
// talks to the endpoints that the policy lists and to nothing else: it follows
// no redirect and uses no proxy.
//
// Files:
//
//	client.go     Client and Do, the flow of one request
//	path.go       which path the protocol asks for
//	endpoints.go  which endpoint is asked
//	errors.go     what can go wrong, as a closed set
//	transport.go  connections, TLS and credentials from files
//	keep.go       the goroutine that probes and re-reads files
package fallback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/safestate/safestate/internal/policy"
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
	// Body is passed on as it is. It must not be changed afterwards, not even
	// once Do has returned: a connection may still be sending it.
	Body []byte
}

// Answer is the model's 200, whole and of at most MaxBytes.
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

// passedOn are the caller's headers that the fallback model gets. The caller's
// own credentials are not among them: they are for the primary.
var passedOn = []string{
	"content-type", "content-encoding", "inference-header-content-length",
	"accept", "traceparent", "tracestate", "x-request-id",
}

// Options are what a Client takes besides the policy.
type Options struct {
	// OnProblem is told of files that cannot be read or used, once for each
	// change of the problem, and of nil when it is over. It is called on one
	// goroutine at a time. May be nil.
	OnProblem func(error)
}

// Client asks one fallback model. It is safe for concurrent use.
type Client struct {
	cfg       policy.Fallback
	opt       Options
	endpoints *endpoints

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
// not sent again to another.
func (c *Client) Do(ctx context.Context, req Request) (*Answer, error) {
	if d := c.cfg.Deadline.D(); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	target, err := pathOf(&c.cfg, req.Path)
	if err != nil {
		return nil, &Error{Kind: Invalid, Err: err}
	}
	var last *Error
	for range c.endpoints.list {
		e := c.endpoints.pick()
		answer, failed := c.ask(ctx, e, target, req)
		if failed == nil {
			return answer, nil
		}
		last = failed
		if failed.Kind != Refused || ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

// ask asks one endpoint and notes how it did.
func (c *Client) ask(ctx context.Context, e *endpoint, target *url.URL, req Request) (*Answer, *Error) {
	started := time.Now()
	answer, err := c.roundTrip(ctx, e, target, req)
	if err == nil {
		e.succeeded()
		return answer, nil
	}
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
	return nil, failed
}

func (c *Client) roundTrip(ctx context.Context, e *endpoint, target *url.URL, req Request) (*Answer, error) {
	out, err := c.newRequest(ctx, http.MethodPost, e, target, req.Body)
	if err != nil {
		return nil, err
	}
	if req.Headers != nil {
		for _, name := range passedOn {
			if v, ok := req.Headers.Get(name); ok {
				out.Header.Set(name, v)
			}
		}
	}
	// Net/http sends a request again, on a new connection, when a kept one
	// turns out to be closed before anything came back, but a POST only if it
	// is marked so. An inference changes nothing at the model. The empty value
	// keeps the header itself off the wire.
	out.Header["Idempotency-Key"] = []string{}
	resp, err := c.send(out)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close() // unread: a body that stalls must not take the ladder's time
		return nil, &Error{Kind: Status, Status: resp.StatusCode}
	}
	body, err := c.readBody(resp)
	if err != nil {
		return nil, err
	}
	return &Answer{Status: resp.StatusCode, Headers: AnswerHeaders(resp.Header), Body: body}, nil
}

// newRequest addresses an endpoint, whatever target says of a host, and adds
// the credentials.
func (c *Client) newRequest(ctx context.Context, method string, e *endpoint, target *url.URL, body []byte) (*http.Request, error) {
	u := &url.URL{Scheme: "http", Host: e.authority, Path: target.Path, RawPath: target.RawPath, RawQuery: target.RawQuery}
	if c.cfg.TLS != nil {
		u.Scheme = "https"
	}
	out, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, &Error{Kind: Invalid, Err: err}
	}
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
