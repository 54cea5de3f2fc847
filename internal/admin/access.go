package admin

import (
	"net"
	"net/http"
	"regexp"
	"slices"
)

// Role is what a principal may do.
type Role string

const (
	// Viewer may read.
	Viewer Role = "viewer"
	// Operator may release, roll back and deregister proxies.
	Operator Role = "operator"
)

// Principal is who asks.
type Principal struct {
	Name  string // as history records it
	Roles []Role
	// Lacking says why it has no other role and how to get it: it is told where
	// one is missing.
	Lacking string
}

func (p Principal) has(role Role) bool { return slices.Contains(p.Roles, role) }

// Authenticator says who asks. It is safe for concurrent use.
type Authenticator interface {
	// Authenticate reads the request's peer and headers, never its body. An
	// error that is no Problem is answered with status 401.
	Authenticate(r *http.Request) (Principal, error)
}

// UserHeader carries the user that the client says it runs as. Nothing proves
// it: it is recorded as a claim.
const UserHeader = "X-Safestate-User"

var userName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@\\+-]{0,63}$`)

// Loopback trusts this machine: a peer on a loopback address has all roles,
// any other may read. A request that a proxy has passed on comes from elsewhere,
// whatever address the proxy has.
type Loopback struct{}

// Authenticate never fails but for a name that could not be recorded.
func (Loopback) Authenticate(r *http.Request) (Principal, error) {
	const lacking = "changes are accepted from this machine only: run the command where safestate runs, or through a tunnel to it"
	if !fromLoopback(r) {
		return Principal{Name: "remote:" + peer(r), Roles: []Role{Viewer}, Lacking: lacking}, nil
	}
	p := Principal{Name: "local", Roles: []Role{Viewer, Operator}}
	if user := r.Header.Get(UserHeader); user != "" {
		if !userName.MatchString(user) {
			return Principal{}, Invalid(UserHeader, "is no user's name: want at most 64 letters, digits, and any of . _ @ \\ + -")
		}
		p.Name = "local:" + user + " (claimed)"
	}
	return p, nil
}

// forwarded are the headers by which proxies say that they are one.
// Envoy adds X-Request-Id and X-Forwarded-Proto where it adds nothing else.
var forwarded = []string{
	"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip",
	"X-Request-Id", "X-Envoy-Expected-Rq-Timeout-Ms", "X-Envoy-External-Address", "X-Envoy-Internal",
}

func fromLoopback(r *http.Request) bool {
	for _, name := range forwarded {
		if r.Header.Get(name) != "" {
			return false
		}
	}
	ip := net.ParseIP(peer(r))
	return ip != nil && ip.IsLoopback()
}

func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return "unknown"
	}
	return host
}
