package admin

import (
	"context"
	_ "embed"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/audit"
	"github.com/safestate/safestate/internal/release"
)

// route is one thing that the API does.
type route struct {
	method, path string
	rpc          string // the method by gRPC; empty: it has none
	action       access.Action
	target       func(c *call) access.Target // that it is done to; nil: its body says
	about        string                      // what that is called in the audit trail, before its name
	rate         rate                        // default: changeRate, or readRate
	params       []string                    // of the query
	body         any                         // the request's type; nil: it has none
	answer       any                         // the answer's type; nil: it is no JSON of ours
	serve        func(ctx context.Context, c *call) (any, error)
	// dear: it costs something, and is for no page that a browser has open.
	dear bool
	// anew: a request that is repeated by its key is served again, which changes
	// nothing, to tell how it is now.
	anew bool
	// hook: another program's POST that changes nothing, whose body is its own: see
	// flaggerRoutes. Anybody who may read of the model may ask.
	hook bool
	// stream writes the answer by parts, of a type of its own: what it returns before
	// the first one is answered as an error, and breaks off what has begun.
	stream func(ctx context.Context, c *call, w io.Writer) error
	media  string
}

// routes is all of the API, beside which openapi.json is held by a test.
var routes = slices.Concat(releaseRoutes, flaggerRoutes, killRoutes, trailRoutes)

// releaseRoutes are those that are not about kills.
var releaseRoutes = []route{
	{method: "GET", path: "/v1/openapi.json", action: access.Read, target: overview, serve: openAPI},
	{method: "GET", path: "/v1/status", rpc: "Status", action: access.Read, target: overview, answer: Status{}, serve: status},
	{method: "GET", path: "/v1/models/{namespace}/{name}", rpc: "Model", action: access.Read, target: ofModel, answer: Model{}, serve: model},
	{method: "GET", path: "/v1/models/{namespace}/{name}/versions/{version}", rpc: "Version", action: access.Read, target: ofModel, answer: VersionJudgement{}, serve: versionJudgement},
	{method: "GET", path: "/v1/history", rpc: "History", action: access.Read, target: ofHistory, rate: historyRate, params: []string{"model", "policy", "limit"}, answer: History{}, serve: history},
	{method: "POST", path: "/v1/models/{namespace}/{name}/rollout", rpc: "Rollout", action: access.Rollout, target: ofModel, about: "model", body: RolloutRequest{}, answer: Model{}, serve: rollout},
	{method: "POST", path: "/v1/models/{namespace}/{name}/rollback", rpc: "Rollback", action: access.Rollback, target: ofModel, about: "model", body: RollbackRequest{}, answer: Model{}, serve: rollback},
	{method: "POST", path: "/v1/policies/{namespace}/{name}/rollback", rpc: "PolicyRollback", action: access.Policy, target: ofPolicy, about: "policy", body: PolicyRollbackRequest{}, answer: Policy{}, serve: policyRollback},
	{method: "POST", path: "/v1/policies/{namespace}/{name}/unpin", rpc: "PolicyUnpin", action: access.Policy, target: ofPolicy, about: "policy", body: ReasonRequest{}, answer: Policy{}, serve: policyUnpin},
	{method: "POST", path: "/v1/proxies/{node}/deregister", rpc: "Deregister", action: access.Deregister, target: ofProxy, about: "proxy", body: ReasonRequest{}, answer: Done{}, serve: deregister},
	{method: "GET", path: "/v1/keys", rpc: "Keys", action: access.Read, target: overview, answer: Keys{}, serve: keysOf},
	{method: "POST", path: "/v1/keys/rotate", rpc: "RotateKeys", action: access.Rotate, target: everything, about: "key", body: KeyRotationRequest{}, answer: Keys{}, serve: rotateKeys},
	{method: "GET", path: "/v1/store/backup", rpc: "Backup", action: access.Backup, target: everything, about: "store", media: "application/octet-stream", stream: backup},
}

//go:embed openapi.json
var openAPIDocument json.RawMessage

func openAPI(context.Context, *call) (any, error) { return openAPIDocument, nil }

func status(ctx context.Context, c *call) (any, error) {
	s, err := c.server.control.Status(ctx)
	if err != nil {
		return nil, err
	}
	return s.within(c.principal).judged(), nil
}

func model(ctx context.Context, c *call) (any, error) {
	m, err := c.server.control.Model(ctx, c.object)
	return m.filled(), err
}

func history(ctx context.Context, c *call) (any, error) {
	q := HistoryQuery{Model: c.params["model"], Policy: c.params["policy"], Limit: DefaultLimit}
	if q.Model != "" && q.Policy != "" {
		return nil, Invalid("policy", "does not go with model")
	}
	for field, name := range map[string]string{"model": q.Model, "policy": q.Policy} {
		if name != "" && !isObject(name) {
			return nil, Invalid(field, "is no namespace/name")
		}
	}
	if text := c.params["limit"]; text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > MaxLimit {
			return nil, Invalid("limit", "is no number from 1 to %d", MaxLimit)
		}
		q.Limit = n
	}
	h, err := c.server.control.History(ctx, q)
	return h.within(c.principal).filled(), err
}

func rollout(ctx context.Context, c *call) (any, error) {
	var r RolloutRequest
	if err := decode(c.body, &r); err != nil {
		return nil, err
	}
	command, err := r.command(c.principal.Name)
	if err != nil {
		return nil, err
	}
	return c.command(ctx, command)
}

func rollback(ctx context.Context, c *call) (any, error) {
	var r RollbackRequest
	if err := decode(c.body, &r); err != nil {
		return nil, err
	}
	command, err := r.command(c.principal.Name)
	if err != nil {
		return nil, err
	}
	return c.command(ctx, command)
}

// command does it; where the model's state does not allow it, the answer has
// the generation that there is.
func (c *call) command(ctx context.Context, command release.Command) (any, error) {
	m, err := c.server.control.Command(ctx, c.object, command)
	if err == nil {
		return m.filled(), nil
	}
	p := problemOf(err)
	if p.Status == http.StatusConflict && p.Generation == 0 {
		if m, err := c.server.control.Model(ctx, c.object); err == nil {
			p.Generation = m.Generation
		}
	}
	return nil, p
}

func policyRollback(ctx context.Context, c *call) (any, error) {
	var r PolicyRollbackRequest
	err := decode(c.body, &r)
	if err == nil {
		err = reasonOf(r.Reason)
	}
	if err != nil {
		return nil, err
	}
	return c.server.control.Policy(ctx, c.object, PolicyCommand{
		Do: PolicyRollback, To: r.To, Expect: r.ExpectNumber, By: c.principal.Name, How: c.principal.How, Address: c.principal.Address, Reason: r.Reason,
	})
}

func policyUnpin(ctx context.Context, c *call) (any, error) {
	reason, err := c.reason()
	if err != nil {
		return nil, err
	}
	return c.server.control.Policy(ctx, c.object, PolicyCommand{
		Do: PolicyUnpin, By: c.principal.Name, How: c.principal.How, Address: c.principal.Address, Reason: reason,
	})
}

func deregister(ctx context.Context, c *call) (any, error) {
	reason, err := c.reason()
	if err != nil {
		return nil, err
	}
	return Done{true}, c.server.control.Deregister(ctx, c.params["node"], Deregistration{
		By: c.principal.Name, How: c.principal.How, Address: c.principal.Address, Reason: reason,
	})
}

func (c *call) reason() (string, error) {
	var r ReasonRequest
	if err := decode(c.body, &r); err != nil {
		return "", err
	}
	return r.Reason, reasonOf(r.Reason)
}

// backupsAtOnce is how many backups are made at a time.
const backupsAtOnce = 2

// backup streams the store's content.
func backup(ctx context.Context, c *call, w io.Writer) error {
	select {
	case c.server.backups <- struct{}{}:
		defer func() { <-c.server.backups }()
		return c.server.control.Backup(ctx, audit.Actor{Name: c.principal.Name, How: c.principal.How, Address: c.principal.Address}, w)
	default:
		return &Problem{Status: http.StatusTooManyRequests, Message: "other backups are being made", Hint: "try again when they are done"}
	}
}
