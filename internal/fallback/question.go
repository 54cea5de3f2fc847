package fallback

import (
	"net/url"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
)

// passedOn are the caller's headers that a fallback model gets. The caller's
// own credentials are not among them: they are for the primary.
var passedOn = []string{
	"content-type", "content-encoding", "inference-header-content-length",
	"accept", "traceparent", "tracestate", "x-request-id",
}

// passedOnAnew are those of a request whose body is written anew.
var passedOnAnew = []string{"accept", "traceparent", "tracestate", "x-request-id"}

// passedOnByCall are those of a gRPC call.
var passedOnByCall = []string{"traceparent", "tracestate", "x-request-id"}

// question is a request as this model is asked it, whichever endpoint it goes
// to.
type question struct {
	target  *url.URL
	headers [][2]string
	body    *upload
}

// question makes the request's own. With whole an OpenAI model is asked for an
// answer in one piece.
func (c *Client) question(req Request, whole bool) (*question, error) {
	target, err := pathOf(&c.cfg, req.Path)
	if err != nil {
		return nil, &Error{Kind: Invalid, Err: err}
	}
	q := &question{target: target}
	body, names := req.Body, passedOn
	switch c.cfg.Protocol {
	case policy.OpenAI:
		names = passedOnAnew
		q.headers = append(q.headers, [2]string{"Content-Type", "application/json"})
		if body, err = chatBody(req.Body, c.name, whole); err != nil {
			return nil, &Error{Kind: Invalid, Err: err}
		}
	case policy.OpenInferenceGRPC:
		names = passedOnByCall
		q.headers = append(q.headers, [2]string{"Content-Type", protocol.TypeGRPC}, [2]string{"Te", "trailers"})
		framed := make([]byte, frameHead, frameHead+len(req.Body)+len(c.cfg.ServedName)+8)
		if body, err = protocol.RewriteGRPCModel(framed, req.Body, c.cfg.ServedName); err != nil {
			return nil, &Error{Kind: Invalid, Err: err}
		}
		body = sealFrame(body)
	}
	q.body = &upload{body: body, streamed: !whole}
	if req.Headers == nil {
		return q, nil
	}
	for _, name := range names {
		if v, ok := req.Headers.Get(name); ok {
			q.headers = append(q.headers, [2]string{name, v})
		}
	}
	return q, nil
}
