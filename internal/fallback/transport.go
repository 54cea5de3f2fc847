package fallback

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/tenant"
)

// The pool: enough kept connections for a burst of fallbacks to find warm
// ones, few enough for a small model server.
const (
	keptConnections = 64
	keptFor         = 90 * time.Second
	dialTimeout     = 3 * time.Second // the request's own deadline is shorter; a dial that outlives it still warms the pool
	maxHeaderBytes  = 64 << 10
	maxFileBytes    = 1 << 20
)

// How long a gRPC connection is silent before its server is asked for a sign of
// life, and how long that may take: a server that hangs keeps its place in the
// pool no longer than the two together.
const (
	silentFor = 5 * time.Second
	signsIn   = 3 * time.Second
)

// newTransport returns a pool of connections. HTTP/1.1 alone: a request that
// times out takes its connection with it, where an HTTP/2 connection to a hung
// server would stay in the pool. GRPC is HTTP/2, with or without TLS.
func newTransport(conf *tls.Config, grpc bool) *http.Transport {
	var spoken http.Protocols
	var two *http.HTTP2Config
	switch {
	case !grpc:
		spoken.SetHTTP1(true)
	case conf != nil:
		spoken.SetHTTP2(true)
	default:
		spoken.SetUnencryptedHTTP2(true)
	}
	if grpc {
		two = &http.HTTP2Config{SendPingTimeout: silentFor, PingTimeout: signsIn}
	}
	return &http.Transport{
		Proxy:                  nil, // never from the environment
		DialContext:            (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:        conf,
		TLSHandshakeTimeout:    dialTimeout,
		DisableCompression:     true,
		MaxIdleConns:           0,
		MaxIdleConnsPerHost:    keptConnections,
		IdleConnTimeout:        keptFor,
		MaxResponseHeaderBytes: maxHeaderBytes,
		Protocols:              &spoken,
		HTTP2:                  two,
	}
}

// files is what the client's files held when they were last read.
type files struct {
	ca, cert, key string
	built         bool   // transport was built from the three
	problem       string // the last one told
}

// readFiles reads credentials and TLS files again and takes over what has
// changed. What cannot be read or used leaves the last good state as it is.
// Called from New and then from the client's own goroutine only.
func (c *Client) readFiles() {
	err := errors.Join(c.readCredentials(), c.readTLS())
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != c.files.problem {
		c.files.problem = text
		if c.opt.OnProblem != nil {
			c.opt.OnProblem(err)
		}
	}
}

func (c *Client) readCredentials() error {
	if c.cfg.Credentials == "" {
		return nil
	}
	text, err := readFile(c.opt.Files, c.cfg.Credentials)
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	text = strings.TrimSpace(text)
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("credentials: %s is not the value of one header", c.cfg.Credentials)
	}
	if old := c.credentials.Load(); old == nil || *old != text {
		c.credentials.Store(&text)
	}
	return nil
}

// readTLS builds a new transport when the files have changed; connections of
// the old one end with the requests that use them.
func (c *Client) readTLS() error {
	cfg := c.cfg.TLS
	if cfg == nil {
		if !c.files.built {
			c.files.built = true
			c.transport.Store(newTransport(nil, c.grpc()))
		}
		return nil
	}
	var read files
	for _, f := range []struct {
		into *string
		path string
	}{{&read.ca, cfg.CAFile}, {&read.cert, cfg.CertFile}, {&read.key, cfg.KeyFile}} {
		if f.path == "" {
			continue
		}
		text, err := readFile(c.opt.Files, f.path)
		if err != nil {
			return fmt.Errorf("tls: %w", err)
		}
		*f.into = text
	}
	if c.files.built && read.ca == c.files.ca && read.cert == c.files.cert && read.key == c.files.key {
		return nil
	}
	conf, err := tlsConfig(cfg, read)
	if err != nil {
		return err
	}
	c.files.ca, c.files.cert, c.files.key, c.files.built = read.ca, read.cert, read.key, true
	if old := c.transport.Swap(newTransport(conf, c.grpc())); old != nil {
		old.CloseIdleConnections()
	}
	return nil
}

// tlsConfig verifies the server against the CA file, or the system's where
// there is none, and shows the certificate where there is one.
func tlsConfig(cfg *policy.TLS, read files) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cfg.ServerName}
	if cfg.CAFile != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(read.ca)) {
			return nil, fmt.Errorf("tls: %s holds no certificate", cfg.CAFile)
		}
	}
	if cfg.CertFile != "" || cfg.KeyFile != "" {
		pair, err := tls.X509KeyPair([]byte(read.cert), []byte(read.key))
		if err != nil {
			return nil, fmt.Errorf("tls: %s with %s: %w", cfg.CertFile, cfg.KeyFile, err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

func readFile(below tenant.Files, path string) (string, error) {
	f, err := below.Open(path, os.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // nothing was written
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxFileBytes {
		return "", fmt.Errorf("%s is over %d bytes", path, maxFileBytes)
	}
	return string(text), nil
}
