package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// changeTimeout bounds a change. A caller that goes away does not end it: what
// has begun is finished and remembered.
const changeTimeout = 15 * time.Second

// Options are what the API is served with.
type Options struct {
	Control Control
	// Access says who asks. Default: Loopback.
	Access Authenticator
	// Hosts are the names, without a port, by which the API is asked besides
	// those of this machine.
	Hosts []string
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// server is the API. Safe for concurrent use.
type server struct {
	control     Control
	access      Authenticator
	hosts       []string
	now         func() time.Time
	crossOrigin *http.CrossOriginProtection
	repeats     *repeats
	backups     chan struct{} // one place for each backup at a time
	mux         *http.ServeMux
}

// New makes the handler of everything under /v1/.
func New(o Options) http.Handler {
	s := &server{
		control: o.Control, access: o.Access, now: o.Now,
		crossOrigin: http.NewCrossOriginProtection(),
		repeats:     newRepeats(),
		backups:     make(chan struct{}, backupsAtOnce),
		mux:         http.NewServeMux(),
	}
	if s.access == nil {
		s.access = Loopback{}
	}
	if s.now == nil {
		s.now = time.Now
	}
	for _, host := range o.Hosts {
		s.hosts = append(s.hosts, strings.ToLower(host))
	}
	for _, r := range routes {
		limit := newBucket(changesPerSecond, changesAtOnce)
		s.mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, req *http.Request) { s.serve(w, req, r, limit) })
	}
	s.mux.HandleFunc("/", s.unrouted)
	return http.HandlerFunc(s.guard)
}

// guard lets in what is asked of this server by its name.
func (s *server) guard(w http.ResponseWriter, r *http.Request) {
	if err := hostAllowed(r, s.hosts); err != nil {
		fail(w, err)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// serve is the way of every request: who asks, may they, is it well formed,
// then what was asked for.
func (s *server) serve(w http.ResponseWriter, req *http.Request, r route, limit *bucket) {
	c := &call{server: s, request: req}
	err := s.admit(c, r)
	switch {
	case err != nil:
	case r.stream != nil:
		err = r.stream(c, w)
	case r.method != http.MethodPost:
		got := resultOf(r.serve(req.Context(), c))
		respond(w, got.status, got.body)
	default:
		err = s.change(w, c, r, limit)
	}
	if err != nil {
		fail(w, err)
	}
}

// admit says whether a request may be served, and reads who asks.
func (s *server) admit(c *call, r route) error {
	if r.method == http.MethodPost {
		if err := changeAllowed(c.request, s.crossOrigin); err != nil {
			return err
		}
	}
	p, err := s.access.Authenticate(c.request)
	if err != nil {
		return unauthenticated(err)
	}
	c.principal = p
	if !p.has(r.role) {
		hint := p.Lacking
		if hint == "" {
			hint = "ask whoever gives roles out"
		}
		return forbidden(fmt.Sprintf("%s has no role %q, which this needs", p.Name, r.role), hint)
	}
	return c.parse(r)
}

func unauthenticated(err error) error {
	var p *Problem
	if errors.As(err, &p) {
		return err
	}
	return &Problem{Status: http.StatusUnauthorized, Message: err.Error()}
}

// change serves a request that changes something, at most once for its key. An
// error means that nothing was answered yet.
func (s *server) change(w http.ResponseWriter, c *call, r route, limit *bucket) (err error) {
	if wait, ok := limit.take(s.now()); !ok {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		return &Problem{Status: http.StatusTooManyRequests, Message: "too many changes of this kind at once", Hint: "try again in a second"}
	}
	if c.body, err = readBody(w, c.request); err != nil {
		return err
	}
	do := func() result {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.request.Context()), changeTimeout)
		defer cancel()
		return resultOf(r.serve(ctx, c))
	}
	key := c.request.Header.Get(idempotencyHeader)
	if key == "" {
		got := do()
		respond(w, got.status, got.body)
		return nil
	}
	scope := c.principal.Name + "\x00" + c.request.URL.EscapedPath()
	got, err := s.repeats.once(c.request.Context(), scope, key, c.body, s.now(), do)
	if err == nil {
		respond(w, got.status, got.body)
	}
	return err
}

func resultOf(value any, err error) result {
	if err == nil {
		if raw, ok := value.(json.RawMessage); ok {
			return result{http.StatusOK, raw}
		}
		var body []byte
		if body, err = encode(value); err == nil {
			return result{http.StatusOK, body}
		}
	}
	p := problemOf(err)
	body, _ := encode(p)
	return result{p.Status, body}
}

func fail(w http.ResponseWriter, err error) {
	got := resultOf(nil, err)
	respond(w, got.status, got.body)
}

// unrouted answers what no route takes: with the methods that the path has, or
// that there is no such path.
func (s *server) unrouted(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		probe := *r
		probe.Method = method
		if _, pattern := s.mux.Handler(&probe); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		fail(w, NotFound("there is no %q", r.URL.Path).Hinted("see /v1/openapi.json"))
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	fail(w, &Problem{Status: http.StatusMethodNotAllowed, Message: "the method is not allowed here", Hint: "want " + strings.Join(allowed, " or ")})
}
