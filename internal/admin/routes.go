package admin

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/release"
)

// route is one thing that the API does.
type route struct {
	method, path string
	action       access.Action
	target       func(c *call) access.Target // that it is done to; nil: its body says
	rate         rate                        // default: changeRate, or readRate
	params       []string                    // of the query
	body         any                         // the request's type; nil: it has none
	answer       any                         // the answer's type; nil: it is no JSON of ours
	serve        func(ctx context.Context, c *call) (any, error)
	// stream writes the answer itself; what it returns before the first byte is
	// answered as an error.
	stream func(c *call, w http.ResponseWriter) error
}

// routes is all of the API, beside which openapi.json is held by a test.
var routes = slices.Concat(releaseRoutes, killRoutes, trailRoutes)

// releaseRoutes are those that are not about kills.
var releaseRoutes = []route{
	{method: "GET", path: "/v1/openapi.json", action: access.Read, target: overview, serve: openAPI},
	{method: "GET", path: "/v1/status", action: access.Read, target: overview, answer: Status{}, serve: status},
	{method: "GET", path: "/v1/models/{namespace}/{name}", action: access.Read, target: ofModel, answer: Model{}, serve: model},
	{method: "GET", path: "/v1/history", action: access.Read, target: ofHistory, rate: historyRate, params: []string{"model", "policy", "limit"}, answer: History{}, serve: history},
	{method: "POST", path: "/v1/models/{namespace}/{name}/rollout", action: access.Rollout, target: ofModel, body: RolloutRequest{}, answer: Model{}, serve: rollout},
	{method: "POST", path: "/v1/models/{namespace}/{name}/rollback", action: access.Rollback, target: ofModel, body: RollbackRequest{}, answer: Model{}, serve: rollback},
	{method: "POST", path: "/v1/policies/{namespace}/{name}/rollback", action: access.Policy, target: ofPolicy, body: PolicyRollbackRequest{}, answer: Policy{}, serve: policyRollback},
	{method: "POST", path: "/v1/policies/{namespace}/{name}/unpin", action: access.Policy, target: ofPolicy, body: ReasonRequest{}, answer: Policy{}, serve: policyUnpin},
	{method: "POST", path: "/v1/proxies/{node}/deregister", action: access.Deregister, target: ofProxy, body: ReasonRequest{}, answer: Done{}, serve: deregister},
	{method: "GET", path: "/v1/keys", action: access.Read, target: overview, answer: Keys{}, serve: keysOf},
	{method: "POST", path: "/v1/keys/rotate", action: access.Rotate, target: everything, body: KeyRotationRequest{}, answer: Keys{}, serve: rotateKeys},
	{method: "GET", path: "/v1/store/backup", action: access.Backup, target: everything, stream: backup},
}

//go:embed openapi.json
var openAPIDocument json.RawMessage

// call is one request on its way.
type call struct {
	server    *server
	request   *http.Request
	principal access.Principal
	object    string // "namespace/name" of the path, where it has them
	body      []byte
}

// parse checks the path and the query.
func (c *call) parse(r route) error {
	for name, values := range c.request.URL.Query() {
		if err := oneOf("the query", name, r.params...); err != nil {
			return Invalid(name, "is no parameter of this request")
		}
		if len(values) > 1 {
			return Invalid(name, "is there twice")
		}
	}
	namespace, name := c.request.PathValue("namespace"), c.request.PathValue("name")
	if namespace == "" && name == "" {
		return nil
	}
	c.object = namespace + "/" + name
	return errors.Join(nameOf("namespace", namespace), nameOf("name", name))
}

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
	query := c.request.URL.Query()
	q := HistoryQuery{Model: query.Get("model"), Policy: query.Get("policy"), Limit: DefaultLimit}
	if q.Model != "" && q.Policy != "" {
		return nil, Invalid("policy", "does not go with model")
	}
	for field, name := range map[string]string{"model": q.Model, "policy": q.Policy} {
		if name != "" && !isObject(name) {
			return nil, Invalid(field, "is no namespace/name")
		}
	}
	if text := query.Get("limit"); text != "" {
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
		Do: PolicyRollback, To: r.To, Expect: r.ExpectNumber, By: c.principal.Name, Reason: r.Reason,
	})
}

func policyUnpin(ctx context.Context, c *call) (any, error) {
	reason, err := c.reason()
	if err != nil {
		return nil, err
	}
	return c.server.control.Policy(ctx, c.object, PolicyCommand{Do: PolicyUnpin, By: c.principal.Name, Reason: reason})
}

func deregister(ctx context.Context, c *call) (any, error) {
	reason, err := c.reason()
	if err != nil {
		return nil, err
	}
	return Done{true}, c.server.control.Deregister(ctx, c.request.PathValue("node"), Deregistration{By: c.principal.Name, Reason: reason})
}

func (c *call) reason() (string, error) {
	var r ReasonRequest
	if err := decode(c.body, &r); err != nil {
		return "", err
	}
	return r.Reason, reasonOf(r.Reason)
}

// Bounds of backups: how many at a time, and how long a reader may take none of
// one before it is broken off.
const (
	backupsAtOnce = 2
	backupStall   = 30 * time.Second
)

// backup streams the store's content. What goes wrong after the first byte
// breaks the connection off: nobody takes half a backup for a whole one.
func backup(c *call, w http.ResponseWriter) error {
	select {
	case c.server.backups <- struct{}{}:
		defer func() { <-c.server.backups }()
	default:
		return &Problem{Status: http.StatusTooManyRequests, Message: "other backups are being made", Hint: "try again when they are done"}
	}
	out := &patient{w: w, control: http.NewResponseController(w)}
	// The time to read a request goes on while it is answered, and would end it.
	_ = out.control.SetReadDeadline(time.Time{})
	err := c.server.control.Backup(c.request.Context(), out)
	if err != nil && out.begun {
		panic(http.ErrAbortHandler)
	}
	return err
}

// patient writes with a deadline for each part, not one for the whole.
type patient struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

func (p *patient) Write(b []byte) (int, error) {
	if !p.begun {
		p.begun = true
		p.w.Header().Set("Content-Type", "application/octet-stream")
		p.w.Header().Set("Cache-Control", "no-store")
	}
	// A writer without deadlines, as in tests, has no timeout to extend.
	_ = p.control.SetWriteDeadline(time.Now().Add(backupStall))
	return p.w.Write(b)
}
