package fallback

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
)

// Kind says what went wrong: a closed set, fit for a metric label.
type Kind string

// The kinds.
const (
	Refused  Kind = "refused"   // no connection: refused, unreachable, no such name
	Reset    Kind = "reset"     // the connection ended before an answer
	Timeout  Kind = "timeout"   // no whole answer in time
	Cut      Kind = "cut"       // the body ended early
	TooLarge Kind = "too_large" // the body is over MaxBytes
	Status   Kind = "status"    // a status other than 200, a redirect included; of gRPC, as HTTP has it
	TLS      Kind = "tls"       // the certificate is not accepted, or there is no TLS
	Broken   Kind = "broken"    // what came back is no HTTP, or not what was asked for
	Files    Kind = "files"     // credentials or TLS files that cannot be used
	Canceled Kind = "canceled"  // the caller left
	Invalid  Kind = "invalid"   // the caller's path or body is nothing to ask with
)

// Error is why there is no answer. Its text is for logs, not for callers.
type Error struct {
	Kind     Kind
	Endpoint string // host:port; empty: none was asked
	Status   int    // with Kind Status
	Err      error  // may be nil
}

// Error names endpoint, kind and cause.
func (e *Error) Error() string {
	s := "fallback " + e.Endpoint + ": " + string(e.Kind)
	if e.Status != 0 {
		s = fmt.Sprintf("%s %d", s, e.Status)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// blamesEndpoint reports whether another endpoint might do better.
func (e *Error) blamesEndpoint() bool {
	switch e.Kind {
	case Refused, Reset, Timeout, Cut, TLS, Broken:
		return true
	case Status:
		return e.Status >= http.StatusInternalServerError
	default:
		return false
	}
}

// bodyError is an error of reading a body: the headers were good.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "reading the body: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// errorOf classifies an error of one endpoint.
func errorOf(ctx context.Context, endpoint string, err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		known.Endpoint = endpoint
		return known
	}
	return &Error{Kind: kindOf(ctx, err), Endpoint: endpoint, Err: err}
}

func kindOf(ctx context.Context, err error) Kind {
	var (
		netErr  net.Error
		opErr   *net.OpError
		body    *bodyError
		record  tls.RecordHeaderError
		alert   tls.AlertError
		verify  *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
	)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return Canceled
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return Timeout
	case errors.As(err, &body):
		return Cut
	case errors.As(err, &verify), errors.As(err, &unknown), errors.As(err, &record), errors.As(err, &alert):
		return TLS
	case errors.As(err, &opErr) && opErr.Op == "dial":
		return Refused
	case errors.As(err, &opErr) && opErr.Op == "remote error": // a TLS alert of the other side
		return TLS
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Reset
	default:
		return Broken
	}
}
