package refresh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/tenant"
)

// loader reads a source once. What it returns is the caller's.
type loader func(ctx context.Context) ([]byte, error)

// Errors of a source that cannot be read.
var (
	ErrSource   = errors.New("a refreshed body names exactly one of a file and an http or https URL")
	ErrTooLarge = errors.New("the body is over the size limit")
	errNoFile   = errors.New("not a regular file")
)

func (r *Registry) loaderOf(cfg policy.Refresh) (loader, error) {
	switch {
	case (cfg.File == "") == (cfg.URL == ""):
		return nil, ErrSource
	case cfg.File != "":
		return func(context.Context) ([]byte, error) { return readFile(r.opt.Files, cfg.File, r.opt.MaxBytes) }, nil
	}
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, ErrSource
	}
	client := newClient()
	return func(ctx context.Context) ([]byte, error) { return readURL(ctx, client, cfg.URL, r.opt.MaxBytes) }, nil
}

// nameOf names a source for people; a URL's password is left out.
func nameOf(cfg policy.Refresh) string {
	if cfg.File != "" {
		return cfg.File
	}
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return "url"
	}
	return u.Redacted()
}

// readFile reads a regular file. Opening without blocking keeps a named pipe
// from holding the goroutine for ever.
func readFile(below tenant.Files, path string, most int64) ([]byte, error) {
	f, err := below.Open(path, os.O_RDONLY|syscall.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNoFile
	}
	return readAtMost(f, most)
}

// newClient asks exactly the URL that is configured: no proxy from the
// environment, no redirect. It keeps no idle connection: a source is read once
// in a while. Each read has its timeout in its context.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives:   true,
			DialContext:         (&net.Dialer{Timeout: DefaultTimeout}).DialContext,
			TLSHandshakeTimeout: DefaultTimeout,
			ForceAttemptHTTP2:   true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func readURL(ctx context.Context, client *http.Client, target string, most int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer func() { _ = resp.Body.Close() }() // the connection is not kept
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d, want 200", resp.StatusCode)
	}
	return readAtMost(resp.Body, most)
}

// withoutURL drops the URL that net/http puts into its errors: it may hold
// credentials, and the source is named beside the error anyway.
func withoutURL(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

func readAtMost(r io.Reader, most int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > most {
		return nil, ErrTooLarge
	}
	return body, nil
}
