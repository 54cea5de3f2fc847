package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/access"
)

// changeTimeout bounds a change. A caller that goes away does not end it: what
// has begun is finished and remembered.
const changeTimeout = 15 * time.Second

// Options are what the API is served with.
type Options struct {
	Control Control
	// Keys keeps the keys that sign policies; nil: nobody does.
	Keys Keyring
	// Access says who asks. Default: access.Loopback.
	Access Authenticator
	// Hosts are the names, without a port, by which the API is asked besides
	// those of this machine.
	Hosts []string
	// Trail is the audit trail; nil: there is none to read.
	Trail Trail
	// Attempted hears of what somebody was refused; nil: nobody does. It is called
	// for no more than a few a second.
	Attempted func(Attempt)
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// server is the API. Safe for concurrent use.
type server struct {
	control     Control
	keys        Keyring
	access      Authenticator
	hosts       []string
	now         func() time.Time
	crossOrigin *http.CrossOriginProtection
	limits      *buckets
	repeats     *repeats
	trail       Trail
	attempted   func(Attempt)
	backups     chan struct{} // one place for each backup at a time
	mux         *http.ServeMux
}

// New makes the handler of everything under /v1/.
func New(o Options) http.Handler {
	s := &server{
		control: o.Control, keys: o.Keys, access: o.Access, now: o.Now, trail: o.Trail, attempted: o.Attempted,
		crossOrigin: http.NewCrossOriginProtection(),
		limits:      newBuckets(),
		repeats:     newRepeats(),
		backups:     make(chan struct{}, backupsAtOnce),
		mux:         http.NewServeMux(),
	}
	if s.access == nil {
		s.access = access.Loopback{}
	}
	if s.now == nil {
		s.now = time.Now
	}
	for _, host := range o.Hosts {
		s.hosts = append(s.hosts, strings.ToLower(host))
	}
	for _, r := range routes {
		s.mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, req *http.Request) { s.serve(w, req, r) })
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
func (s *server) serve(w http.ResponseWriter, req *http.Request, r route) {
	c := &call{server: s, request: req}
	err := s.admit(c, r)
	if err == nil && r.method == http.MethodPost {
		c.body, err = readBody(w, req)
	}
	if err == nil {
		err = s.limited(w, c, r)
	}
	switch {
	case err != nil:
	case r.stream != nil:
		err = r.stream(c, w)
	case r.method != http.MethodPost:
		got := resultOf(r.serve(req.Context(), c))
		respond(w, got.status, got.body)
	default:
		err = s.change(w, c, r)
	}
	if err != nil {
		s.attempt(c, r, problemOf(err))
		fail(w, err)
	}
}

// admit says whether a request may be served, and reads who asks.
func (s *server) admit(c *call, r route) error {
	switch {
	case r.method == http.MethodPost:
		if err := changeAllowed(c.request, s.crossOrigin); err != nil {
			return err
		}
	case r.action != access.Read: // it costs something, and is for no browser
		if err := notEmbedded(c.request); err != nil {
			return err
		}
	}
	p, err := s.access.Authenticate(c.request)
	if err != nil {
		return refused(err)
	}
	c.principal = p
	if err := c.parse(r); err != nil {
		return err
	}
	if r.target == nil { // it is in the body: who may do it to nothing is not read
		if access.MayAnywhere(p, r.action) {
			return nil
		}
		return refused(access.Authorize(p, r.action, access.Everything()))
	}
	if err := access.Authorize(p, r.action, r.target(c)); err != nil {
		return refused(err)
	}
	return nil
}

// change serves a request that changes something, at most once for its key: the one
// way of all of them to the control plane. An error means that nothing was answered
// yet.
func (s *server) change(w http.ResponseWriter, c *call, r route) error {
	do := func() result {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.request.Context()), changeTimeout)
		defer cancel()
		answer, err := r.serve(ctx, c)
		if err != nil {
			s.attempt(c, r, problemOf(err))
		}
		return resultOf(answer, err)
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
	if got.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
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
