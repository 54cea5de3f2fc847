package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/safestate/safestate/internal/access"
)

// Authenticator says who asks. It is safe for concurrent use.
type Authenticator interface {
	// Authenticate reads the request's peer and headers, never its body. An
	// error that is neither a Problem nor a refusal of package access is answered
	// with status 401.
	Authenticate(r *http.Request) (access.Principal, error)
	// AuthenticateRPC reads the same of a gRPC call: its peer and metadata.
	AuthenticateRPC(ctx context.Context) (access.Principal, error)
	// Approvals is how many other persons a revive of a target takes: 0 or 1.
	Approvals(t access.Target) int
}

// refused makes an error of package access one that can be answered.
func refused(err error) error {
	var (
		p *Problem
		r *access.Refusal
	)
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &r):
		return &Problem{Status: r.Class.HTTPStatus(), Field: r.Field, Message: r.Message, Hint: r.Hint}
	default:
		return &Problem{Status: http.StatusUnauthorized, Message: err.Error()}
	}
}

// What a route's action is done to.

func overview(*call) access.Target   { return access.Overview() }
func everything(*call) access.Target { return access.Everything() }
func ofModel(c *call) access.Target  { return access.Model(c.object) }
func ofPolicy(c *call) access.Target { return access.OfPolicy(c.object) }
func ofProxy(c *call) access.Target  { return access.Proxy(c.params["node"]) }

// ofHistory is what the query names; all of it is an overview.
func ofHistory(c *call) access.Target {
	model, policy := c.params["model"], c.params["policy"]
	switch {
	case isObject(model):
		return access.Model(model)
	case isObject(policy):
		return access.OfPolicy(policy)
	default:
		return access.Overview()
	}
}
