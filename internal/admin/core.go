package admin

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"time"

	"github.com/safestate/safestate/internal/access"
)

// changeTimeout bounds a change. A caller that goes away does not end it: what
// has begun is finished and remembered.
const changeTimeout = 15 * time.Second

// server is the API behind its fronts. Safe for concurrent use.
type server struct {
	control  Control
	keys     Keyring
	trail    Trail
	attempts *attempts
	access   Authenticator
	now      func() time.Time
	limits   *buckets
	repeats  *repeats
	backups  chan struct{} // one place for each backup at a time
	watches  places
	left     context.Context // ends once nobody waits for a change any more
	leave    func()
}

// result is an answer, which can be given again.
type result struct {
	status int
	body   []byte // JSON
	// problem is what the body says where the status is not 200.
	problem *Problem
}

// answer is the way of every call, whichever front it came through: who asks, may
// they, is it well formed, then what was asked for.
func (s *server) answer(ctx context.Context, c *call) result {
	err := s.admit(c)
	if err == nil {
		if !c.route.changes() {
			return resultOf(c.route.serve(ctx, c))
		}
		var got result
		if got, err = s.change(ctx, c); err == nil {
			return got
		}
	}
	return s.refuse(c, err)
}

// stream is the same way, of what is not answered in one piece.
func (s *server) stream(ctx context.Context, c *call, w io.Writer) error {
	err := s.admit(c)
	if err == nil {
		err = c.route.stream(ctx, c, w)
	}
	if err == nil {
		return nil
	}
	return s.refuse(c, err).problem
}

// admit says whether a call may be served, and reads all of it.
func (s *server) admit(c *call) (err error) {
	if c.principal, err = c.front.authenticate(s.access); err != nil {
		return refused(err)
	}
	if err := c.parse(); err != nil {
		return err
	}
	if err := c.permitted(); err != nil {
		return refused(err)
	}
	if c.route.method == http.MethodPost {
		if err := c.read(); err != nil {
			return err
		}
	}
	return s.limited(c)
}

// permitted says whether the principal may do this. Where what it is done to is in the
// body, whoever may do it to nothing is told so before it is read.
func (c *call) permitted() error {
	r := c.route
	switch {
	case r.target != nil:
		return access.Authorize(c.principal, r.action, r.target(c))
	case access.MayAnywhere(c.principal, r.action):
		return nil
	default:
		return access.Authorize(c.principal, r.action, access.Everything())
	}
}

// change serves a call that changes something, at most once for its key: the one
// way of all of them to the control plane.
func (s *server) change(ctx context.Context, c *call) (result, error) {
	served := false
	do := func() result {
		served = true
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
		defer cancel()
		answer, err := c.route.serve(ctx, c)
		if err != nil {
			return s.refuse(c, err)
		}
		return resultOf(answer, nil)
	}
	if c.key == "" {
		return do(), nil
	}
	got, err := s.repeats.once(ctx, c.scope(), c.key, c.meaning(), s.now(), do)
	if err == nil && !served && c.route.anew && got.problem == nil {
		got = do()
	}
	return got, err
}

// refuse answers an error, and has it recorded where it is an attempt.
func (s *server) refuse(c *call, err error) result {
	got := resultOf(nil, err)
	s.attempt(c, got.problem)
	return got
}

// meaning is the body as its type writes it, so that two texts which ask for the same
// are one request, and the text itself where it asks for nothing.
func (c *call) meaning() []byte {
	asked := reflect.New(reflect.TypeOf(c.route.body)).Interface()
	if decode(c.body, asked) != nil {
		return c.body
	}
	text, err := json.Marshal(asked)
	if err != nil {
		return c.body
	}
	return text
}

func resultOf(value any, err error) result {
	if err == nil {
		if raw, ok := value.(json.RawMessage); ok {
			return result{status: http.StatusOK, body: raw}
		}
		var body []byte
		if body, err = encode(value); err == nil {
			return result{status: http.StatusOK, body: body}
		}
	}
	p := problemOf(err)
	body, _ := encode(p)
	return result{p.Status, body, p}
}
