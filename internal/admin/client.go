package admin

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/access"
)

// maxAnswer bounds what the client reads of one answer, backups apart.
const maxAnswer = 64 << 20

// tries of a change that got no answer: each repeats the same key, so that the
// change is made once.
const (
	changeTries = 3
	retryAfter  = 200 * time.Millisecond
)

// Client asks the API. Safe for concurrent use.
type Client struct {
	base  string
	user  string
	token func() (string, error)
	http  *http.Client
}

// ClientOptions are what a client shows of itself. All may be left out.
type ClientOptions struct {
	// User is who runs the command: a claim.
	User string
	// Token reads the bearer token, anew for each request; nil: there is none. It
	// is sent over TLS only, and to this machine.
	Token func() (string, error)
	// TLS is for https: the authorities that are trusted, and our certificate. nil:
	// the system's, and none.
	TLS *tls.Config
}

// NewClient makes a client of the API at a URL such as http://127.0.0.1:8686.
func NewClient(server string, o ClientOptions) (*Client, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is no server: want http://HOST:PORT", server)
	}
	if o.Token != nil && u.Scheme == "http" && !toThisMachine(u.Hostname()) {
		return nil, fmt.Errorf("%q is in plain text, and a token would travel readably: want https", server)
	}
	if o.TLS != nil && u.Scheme == "http" {
		return nil, fmt.Errorf("%q is in plain text, and certificates are given: want https", server)
	}
	if !access.IsUser(o.User) {
		o.User = ""
	}
	return &Client{
		base: strings.TrimSuffix(u.Scheme+"://"+u.Host+u.EscapedPath(), "/"), user: o.User, token: o.Token,
		http: &http.Client{
			// Nothing sends a request elsewhere than where the person said.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport:     &http.Transport{DialContext: (&net.Dialer{Timeout: 3 * time.Second}).DialContext, MaxIdleConnsPerHost: 1, TLSClientConfig: o.TLS},
		},
	}, nil
}

func toThisMachine(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Answer is an answer of the API, and its bytes.
type Answer[T any] struct {
	Value T
	Raw   []byte
}

// Status asks how everything is.
func (c *Client) Status(ctx context.Context) (Answer[Status], error) {
	return get[Status](ctx, c, "/v1/status")
}

// Model asks about one model, "namespace/name".
func (c *Client) Model(ctx context.Context, model string) (Answer[Model], error) {
	return get[Model](ctx, c, "/v1/models/"+pathOf(model))
}

// History asks for the newest records, newest first; an empty model: of all. A
// limit of 0 is the server's default.
func (c *Client) History(ctx context.Context, q HistoryQuery) (Answer[History], error) {
	values := url.Values{}
	if q.Model != "" {
		values.Set("model", q.Model)
	}
	if q.Policy != "" {
		values.Set("policy", q.Policy)
	}
	if q.Limit != 0 {
		values.Set("limit", strconv.Itoa(q.Limit))
	}
	path := "/v1/history"
	if len(values) > 0 {
		path += "?" + values.Encode()
	}
	return get[History](ctx, c, path)
}

// Rollout starts a rollout or acts on the one that runs.
func (c *Client) Rollout(ctx context.Context, model string, r RolloutRequest) (Answer[Model], error) {
	return post[Model](ctx, c, "/v1/models/"+pathOf(model)+"/rollout", r)
}

// Rollback takes a model back.
func (c *Client) Rollback(ctx context.Context, model string, r RollbackRequest) (Answer[Model], error) {
	return post[Model](ctx, c, "/v1/models/"+pathOf(model)+"/rollback", r)
}

// RollbackPolicy takes a policy back to an earlier number and holds it there.
func (c *Client) RollbackPolicy(ctx context.Context, policy string, r PolicyRollbackRequest) (Answer[Policy], error) {
	return post[Policy](ctx, c, "/v1/policies/"+pathOf(policy)+"/rollback", r)
}

// UnpinPolicy lets a policy follow its file again.
func (c *Client) UnpinPolicy(ctx context.Context, policy string, r ReasonRequest) (Answer[Policy], error) {
	return post[Policy](ctx, c, "/v1/policies/"+pathOf(policy)+"/unpin", r)
}

// Deregister takes a proxy that is gone for good out of what proofs expect.
func (c *Client) Deregister(ctx context.Context, node string, r ReasonRequest) (Answer[Done], error) {
	return post[Done](ctx, c, "/v1/proxies/"+url.PathEscape(node)+"/deregister", r)
}

// Kills asks for everything that was ever killed.
func (c *Client) Kills(ctx context.Context) (Answer[KillList], error) {
	return get[KillList](ctx, c, "/v1/kills")
}

// KillProof asks what is proven of a target, by its key.
func (c *Client) KillProof(ctx context.Context, target string) (Answer[KillProof], error) {
	return get[KillProof](ctx, c, "/v1/kills/proof?target="+url.QueryEscape(target))
}

// Kill stops a target.
func (c *Client) Kill(ctx context.Context, r KillRequest) (Answer[Killed], error) {
	return post[Killed](ctx, c, "/v1/kill", r)
}

// Revive gives a target its traffic back, or asks for it.
func (c *Client) Revive(ctx context.Context, r ReviveRequest) (Answer[KillState], error) {
	return post[KillState](ctx, c, "/v1/revive", r)
}

// Approve approves another person's revive.
func (c *Client) Approve(ctx context.Context, r ApproveRequest) (Answer[KillState], error) {
	return post[KillState](ctx, c, "/v1/approve", r)
}

// AuditQuery says which entries of the audit trail are asked for; what is empty does
// not matter.
type AuditQuery struct {
	Kind, Target, Actor, Writer string
	Since                       time.Time
	Limit                       int // 0: DefaultLimit
}

// Audit asks for entries of the audit trail, newest first.
func (c *Client) Audit(ctx context.Context, q AuditQuery) (Answer[AuditList], error) {
	values := url.Values{}
	for name, value := range map[string]string{"kind": q.Kind, "target": q.Target, "actor": q.Actor, "writer": q.Writer} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if !q.Since.IsZero() {
		values.Set("since", q.Since.UTC().Format(time.RFC3339))
	}
	if q.Limit != 0 {
		values.Set("limit", strconv.Itoa(q.Limit))
	}
	return get[AuditList](ctx, c, "/v1/audit?"+values.Encode())
}

// AuditExport writes the whole audit trail to w. An error means that what was
// written is not all of it.
func (c *Client) AuditExport(ctx context.Context, w io.Writer) error {
	resp, err := c.do(ctx, http.MethodGet, "/v1/audit/export", nil, "")
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return c.problem(resp)
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("the export broke off: %w", err)
	}
	return nil
}

// Backup writes the store's content to w and returns how many bytes it has. An
// error means that what was written is no backup.
func (c *Client) Backup(ctx context.Context, w io.Writer) (int64, error) {
	resp, err := c.do(ctx, http.MethodGet, "/v1/store/backup", nil, "")
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return 0, c.problem(resp)
	}
	n, err := io.Copy(w, resp.Body)
	if err != nil {
		return n, fmt.Errorf("the backup broke off after %d bytes: %w", n, err)
	}
	return n, nil
}

// pathOf escapes the parts of "namespace/name".
func pathOf(name string) string {
	namespace, rest, _ := strings.Cut(name, "/")
	return url.PathEscape(namespace) + "/" + url.PathEscape(rest)
}

func get[T any](ctx context.Context, c *Client, path string) (Answer[T], error) {
	return ask[T](ctx, c, http.MethodGet, path, nil, "")
}

func post[T any](ctx context.Context, c *Client, path string, body any) (Answer[T], error) {
	text, err := json.Marshal(body)
	if err != nil {
		return Answer[T]{}, err
	}
	key := rand.Text()
	for try := 1; ; try++ {
		a, err := ask[T](ctx, c, http.MethodPost, path, text, key)
		var lost *lostError
		if try == changeTries || !errors.As(err, &lost) || lost.refused {
			return a, err
		}
		select {
		case <-ctx.Done():
			return a, err
		case <-time.After(retryAfter):
		}
	}
}

// lostError is a request that got no answer.
type lostError struct {
	error
	refused bool // nothing was sent
}

func (e *lostError) Unwrap() error { return e.error }

func ask[T any](ctx context.Context, c *Client, method, path string, body []byte, key string) (a Answer[T], err error) {
	resp, err := c.do(ctx, method, path, body, key)
	if err != nil {
		return a, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return a, c.problem(resp)
	}
	a.Raw, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return a, &lostError{error: fmt.Errorf("the answer of %s broke off: %w", c.base, err)}
	}
	if err := json.Unmarshal(a.Raw, &a.Value); err != nil {
		return a, fmt.Errorf("%s does not answer as safestate does: %w", c.base, err)
	}
	return a, nil
}

func (c *Client) do(ctx context.Context, method, path string, body []byte, key string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.user != "" {
		req.Header.Set(access.UserHeader, c.user)
	}
	if c.token != nil {
		token, err := c.token()
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set(idempotencyHeader, key)
	}
	resp, err := c.http.Do(req)
	if err == nil {
		return resp, nil
	}
	var op *net.OpError
	refused := errors.As(err, &op) && op.Op == "dial"
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err // the URL is said below
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("%s did not answer in time: %w", c.base, err)
	case refused:
		err = fmt.Errorf("%s cannot be reached (%w): is safestate running there? --server says where", c.base, err)
	default:
		err = fmt.Errorf("%s gave no answer: %w", c.base, err)
	}
	return nil, &lostError{error: err, refused: refused}
}

// problem reads an answer that is an error.
func (c *Client) problem(resp *http.Response) error {
	p := &Problem{}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil || json.Unmarshal(text, p) != nil || p.Message == "" {
		return fmt.Errorf("%s answered %s, and not as safestate does", c.base, resp.Status)
	}
	p.Status = resp.StatusCode
	return p
}
