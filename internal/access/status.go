package access

import (
	"errors"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// HTTPStatus is the status that a class is answered with.
func (c Class) HTTPStatus() int {
	switch c {
	case Forbidden:
		return http.StatusForbidden
	case Unavailable:
		return http.StatusServiceUnavailable
	case Malformed:
		return http.StatusBadRequest
	default:
		return http.StatusUnauthorized
	}
}

// RPC makes an error of this package one of gRPC. Any other is returned as it
// is.
func RPC(err error) error {
	var r *Refusal
	if !errors.As(err, &r) {
		return err
	}
	code := codes.Unauthenticated
	switch r.Class {
	case Forbidden:
		code = codes.PermissionDenied
	case Unavailable:
		code = codes.Unavailable
	case Malformed:
		code = codes.InvalidArgument
	}
	return status.Error(code, r.Error())
}
