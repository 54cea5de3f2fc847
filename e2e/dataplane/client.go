package dataplane

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"
)

// Request is one call through a data plane. The zero method is POST.
type Request struct {
	Method string
	Host   string
	Path   string
	Header http.Header
	Body   []byte
}

// Answer is what came back, byte for byte.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Took   time.Duration
	Err    error // of the transport; the fields before may be partly set
}

// Source is the x-safestate-source header.
func (a Answer) Source() string { return a.Header.Get("X-Safestate-Source") }

// Reason is the x-safestate-reason header.
func (a Answer) Reason() string { return a.Header.Get("X-Safestate-Reason") }

// Client sends requests to one address and decompresses nothing. It is safe
// for concurrent use.
type Client struct {
	base string
	http *http.Client
}

// NewClient makes a client of host:port.
func NewClient(addr string) *Client {
	return &Client{base: "http://" + addr, http: &http.Client{Transport: &http.Transport{
		DisableCompression:  true,
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     30 * time.Second,
	}}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// giveUp bounds every call: far past any deadline that a test configures.
const giveUp = 15 * time.Second

// Do sends one request and reads the whole answer.
func (c *Client) Do(q Request) Answer {
	ctx, cancel := context.WithTimeout(context.Background(), giveUp)
	defer cancel()
	method := q.Method
	if method == "" {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+q.Path, bytes.NewReader(q.Body))
	if err != nil {
		return Answer{Err: err}
	}
	if len(q.Body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	for k, v := range q.Header {
		r.Header[http.CanonicalHeaderKey(k)] = v
	}
	r.Host = q.Host
	start := time.Now()
	resp, err := c.http.Do(r)
	if err != nil {
		return Answer{Err: err, Took: time.Since(start)}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: body, Took: time.Since(start), Err: err}
}
