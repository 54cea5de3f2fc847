package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/safestate/safestate/internal/store"
)

// denied are etcd's refusals of a user.
var denied = []error{
	rpctypes.ErrPermissionDenied, rpctypes.ErrAuthFailed, rpctypes.ErrUserEmpty,
	rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthOldRevision, rpctypes.ErrUserNotFound,
}

// fault makes one line of what a call failed with, and gives it its class.
func (s *Store) fault(call, key string, err error) error {
	what := "store: " + call
	if key != "" {
		what += " " + key
	}
	if cause := s.stopped(); cause != nil {
		return fmt.Errorf("%s: %w: %w", what, store.ErrUnavailable, cause)
	}
	for _, d := range denied {
		if errors.Is(err, d) || errors.Is(rpctypes.Error(err), d) {
			return fmt.Errorf("%s: %s: %w: %s", what, s.where, store.ErrDenied, plain(err))
		}
	}
	switch {
	case errors.Is(err, context.Canceled), status.Code(err) == codes.Canceled:
		return fmt.Errorf("%s: %w", what, context.Canceled)
	case errors.Is(err, context.DeadlineExceeded), status.Code(err) == codes.DeadlineExceeded:
		return s.lateness(what)
	case errors.Is(rpctypes.Error(err), rpctypes.ErrRequestTooLarge):
		return fmt.Errorf("%s: %w", what, store.ErrTooLarge)
	case errors.Is(rpctypes.Error(err), rpctypes.ErrNoSpace) && s.server != nil:
		s.makeRoom()
		return fmt.Errorf("%s: %w: %s was at its quota and makes room", what, store.ErrUnavailable, s.where)
	case errors.Is(rpctypes.Error(err), rpctypes.ErrNoSpace):
		return fmt.Errorf("%s: %w: %s is over its quota and takes no writes: raise it, or compact, defragment and disarm the alarm",
			what, store.ErrUnavailable, s.where)
	}
	return fmt.Errorf("%s: %w: %s: %s", what, store.ErrUnavailable, s.where, plain(err))
}

// stopped is why the embedded server serves no more, or nil.
func (s *Store) stopped() error {
	if s.server == nil {
		return nil
	}
	return s.server.failure()
}

// lateness says why nothing came in time.
func (s *Store) lateness(what string) error {
	why := s.unlinked.Load()
	switch {
	case why == nil:
		return fmt.Errorf("%s: %w: %s does not answer in time: %w", what, store.ErrUnavailable, s.where, context.DeadlineExceeded)
	case strings.Contains(*why, "x509: "), strings.Contains(*why, "remote error: tls: "):
		// One side refused the other's certificate. gRPC has only text for it.
		return fmt.Errorf("%s: %s: %w: %s", what, s.where, store.ErrDenied, *why)
	}
	return fmt.Errorf("%s: %w: %s cannot be reached: %s: %w", what, store.ErrUnavailable, s.where, *why, context.DeadlineExceeded)
}

// notice keeps why there is no connection: gRPC says it only when a call's time
// is up, and etcd's client then drops it.
func (s *Store) notice(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	err := invoke(ctx, method, request, reply, conn, options...)
	_, why, found := strings.Cut(plain(err), "latest balancer error: ")
	switch {
	case found:
		if _, text, ok := strings.Cut(why, "desc = "); ok {
			why = strings.Trim(text, `"`)
		}
		s.unlinked.Store(&why)
	case err == nil:
		s.unlinked.Store(nil)
	}
	return err
}

// plain is the text of an error without gRPC's wrapping.
func plain(err error) string {
	if err == nil {
		return ""
	}
	if st, ok := status.FromError(err); ok {
		return st.Message()
	}
	return err.Error()
}
