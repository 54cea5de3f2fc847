package xds

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Cause is why a proxy was turned away: one of few, where the reason in words
// names what it said.
type Cause string

const (
	CauseIdentity Cause = "identity" // its node id is no name in its certificate
	CauseNode     Cause = "node"     // its node id is none
	CauseRequest  Cause = "request"  // it asks what no proxy does
	CauseRoom     Cause = "room"     // there are as many as are taken, in all or of one peer
)

// denial is an error that ends a stream by the proxy's doing. It is a gRPC status.
type denial struct {
	cause  Cause
	status *status.Status
}

func deny(cause Cause, code codes.Code, format string, args ...any) error {
	return &denial{cause, status.Newf(code, format, args...)}
}

// Error implements error.
func (d *denial) Error() string { return d.status.Message() }

// GRPCStatus has gRPC send the status.
func (d *denial) GRPCStatus() *status.Status { return d.status }

// tellDenied tells the observer why a stream was ended, where that was the proxy's
// doing. The lock is not held.
func (s *Server) tellDenied(node string, err error) {
	var d *denial
	if s.options.Observer != nil && errors.As(err, &d) {
		s.options.Observer.Denied(node, d.cause, d.status.Message())
	}
}
