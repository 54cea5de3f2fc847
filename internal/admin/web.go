package admin

import (
	"cmp"
	"maps"
	"math"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/access"
)

// web is the front by HTTP.
type web struct {
	server      *server
	hosts       []string
	crossOrigin *http.CrossOriginProtection
	mux         *http.ServeMux
}

func newWeb(s *server, hosts []string) web {
	f := web{server: s, crossOrigin: http.NewCrossOriginProtection(), mux: http.NewServeMux()}
	for _, host := range hosts {
		f.hosts = append(f.hosts, strings.ToLower(host))
	}
	for i := range routes {
		r := &routes[i]
		f.mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, req *http.Request) { f.serve(w, req, r) })
	}
	f.mux.HandleFunc("/", f.unrouted)
	return f
}

// guard lets in what is asked of this server by its name.
func (f *web) guard(w http.ResponseWriter, r *http.Request) {
	if err := hostAllowed(r, f.hosts); err != nil {
		fail(w, err)
		return
	}
	if p := r.URL.EscapedPath(); path.Clean(p) != p { // nobody is sent elsewhere
		f.unrouted(w, r)
		return
	}
	f.mux.ServeHTTP(w, r)
}

func (f *web) serve(w http.ResponseWriter, req *http.Request, r *route) {
	c := &call{server: f.server, route: r, front: webCall{f, r, w, req}}
	if r.stream == nil {
		respond(w, f.server.answer(req.Context(), c))
		return
	}
	out := &patient{w: w, control: http.NewResponseController(w), media: r.media}
	// The time to read a request goes on while it is answered, and would end it.
	_ = out.control.SetReadDeadline(time.Time{})
	if err := f.server.stream(req.Context(), c, out); err != nil {
		if out.begun { // nobody takes half of it for the whole
			panic(http.ErrAbortHandler)
		}
		fail(w, err)
	}
}

// webCall is one request.
type webCall struct {
	web   *web
	route *route
	w     http.ResponseWriter
	req   *http.Request
}

func (f webCall) authenticate(a Authenticator) (access.Principal, error) {
	if err := f.allowed(); err != nil {
		return access.Principal{}, err
	}
	return a.Authenticate(f.req)
}

// allowed holds a request against what a page in a browser could send.
func (f webCall) allowed() error {
	switch {
	case f.route.method == http.MethodPost:
		return changeAllowed(f.req, f.web.crossOrigin)
	case f.route.action != access.Read || f.route.dear:
		return notEmbedded(f.req)
	default:
		return nil
	}
}

func (f webCall) peer() string { return access.OfRequest(f.req).Peer }

func (f webCall) params(r *route) (map[string]string, error) {
	query, err := url.ParseQuery(f.req.URL.RawQuery)
	if err != nil {
		return nil, Invalid("query", "cannot be read").Hinted("want NAME=VALUE, joined by &, with %% before what is escaped")
	}
	params := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch values := query[name]; {
		case !slices.Contains(r.params, name):
			return nil, Invalid(name, "is no parameter of this request").Hinted("there are: %s", cmp.Or(strings.Join(r.params, ", "), "none"))
		case len(values) > 1:
			return nil, Invalid(name, "is there twice")
		case values[0] == "":
			return nil, Invalid(name, "is empty").Hinted("leave it out, or give it a value")
		default:
			params[name] = values[0]
		}
	}
	for _, name := range r.named() {
		params[name] = f.req.PathValue(name)
	}
	return params, nil
}

func (f webCall) body() ([]byte, error) { return readBody(f.w, f.req) }

func (f webCall) keys() []string {
	keys := f.req.Header.Values(idempotencyHeader)
	if len(keys) == 1 && keys[0] == "" {
		return nil
	}
	return keys
}

// respond writes an answer of the API.
func respond(w http.ResponseWriter, r result) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	if p := r.problem; p != nil && p.Retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.Retry.Seconds()))))
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body)
}

func fail(w http.ResponseWriter, err error) { respond(w, resultOf(nil, err)) }

// streamStall is how long a reader may take none of a stream before it is broken off.
const streamStall = 30 * time.Second

// patient writes with a deadline for each part, not one for the whole.
type patient struct {
	w       http.ResponseWriter
	control *http.ResponseController
	media   string
	begun   bool
}

func (p *patient) Write(b []byte) (int, error) {
	if !p.begun {
		p.begun = true
		p.w.Header().Set("Content-Type", p.media)
		p.w.Header().Set("Cache-Control", "no-store")
	}
	// A writer without deadlines, as in tests, has no timeout to extend.
	_ = p.control.SetWriteDeadline(time.Now().Add(streamStall))
	return p.w.Write(b)
}

// unrouted answers what no route takes: with the methods that the path has, or
// that there is no such path.
func (f *web) unrouted(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		probe := *r
		probe.Method = method
		if _, pattern := f.mux.Handler(&probe); pattern != "/" && path.Clean(r.URL.EscapedPath()) == r.URL.EscapedPath() {
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
