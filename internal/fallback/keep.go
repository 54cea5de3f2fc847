package fallback

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// How often files are read again, and endpoints probed where the policy does
// not say.
const (
	rereadEvery   = 2 * time.Second
	DefaultProbe  = 10 * time.Second
	leastForProbe = time.Second // a probe's timeout, or the policy's deadline where that is longer
)

// keep re-reads the files and probes the endpoints until ctx ends.
func (c *Client) keep(ctx context.Context) {
	reread := time.NewTicker(rereadEvery)
	defer reread.Stop()
	var probes <-chan time.Time
	if p := c.cfg.Probe; p != nil {
		every := p.Interval.D()
		if every <= 0 {
			every = DefaultProbe
		}
		t := time.NewTicker(every)
		defer t.Stop()
		probes = t.C
		c.probeAll(ctx)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-reread.C:
			c.readFiles()
		case <-c.wake:
			c.readFiles()
		case <-probes:
			c.probeAll(ctx)
		}
	}
}

func (c *Client) rereadSoon() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// probeAll asks every endpoint for the probe's path, which keeps a connection
// to it open and its model in memory, and learns from the answer whether it is
// to be left out. A gRPC server has no such path and is asked whether it is
// ready.
func (c *Client) probeAll(ctx context.Context) {
	target, err := parsePath(c.cfg.Probe.Path)
	if err != nil {
		target = &url.URL{Path: "/"}
	}
	ctx, cancel := context.WithTimeout(ctx, max(leastForProbe, c.cfg.Deadline.D()))
	defer cancel()
	var wg sync.WaitGroup
	for _, e := range c.endpoints.list {
		wg.Go(func() { c.probe(ctx, e, target) })
	}
	wg.Wait()
}

func (c *Client) probe(ctx context.Context, e *endpoint, target *url.URL) {
	ask := c.probeOnce
	if c.grpc() {
		ask = c.probeGRPC
	}
	err := ask(ctx, e, target)
	if err == nil {
		e.succeeded()
		return
	}
	if errorOf(ctx, e.authority, err).blamesEndpoint() {
		e.failed(c.endpoints.now())
	}
}

func (c *Client) probeOnce(ctx context.Context, e *endpoint, target *url.URL) error {
	req, err := c.newRequest(ctx, http.MethodGet, e, target, nil)
	if err != nil {
		return err
	}
	resp, err := c.send(req)
	if err != nil {
		return err
	}
	// Read to the end, so that the connection is kept; it has the probe's time.
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return &Error{Kind: Status, Status: resp.StatusCode}
	}
	return nil
}
