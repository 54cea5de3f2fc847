package access

import (
	"context"
	"net/http"
	"regexp"
)

// Loopback is who asks where there is no access file: it trusts this machine. A
// local peer has all roles, any other may read. The zero value is ready, and
// safe for concurrent use.
type Loopback struct{}

// Authenticate says who sends a request. It fails for a name only that could not
// be recorded.
func (Loopback) Authenticate(r *http.Request) (Principal, error) { return byAddress(OfRequest(r)) }

// AuthenticateRPC says who makes a gRPC call.
func (Loopback) AuthenticateRPC(ctx context.Context) (Principal, error) {
	return byAddress(OfRPC(ctx))
}

// Approvals of a second person are not asked for: everybody here is one.
func (Loopback) Approvals(Target) int { return 0 }

func byAddress(c Credentials) (Principal, error) {
	everything := Scope{Models: []Pattern{"*"}}
	if c.Local {
		return local(c, []Grant{{Roles(), everything}})
	}
	p := anonymous(c, []Grant{{[]Role{Viewer}, everything}})
	p.Lacking = "changes are accepted from this machine only: run the command where safestate runs, or through a tunnel to it"
	return p, nil
}

// anonymous is who brings nothing along.
func anonymous(c Credentials, grants []Grant) Principal {
	return Principal{ID: "anonymous", Name: "remote:" + c.Peer, How: HowNone, Address: c.Peer, Grants: grants}
}

// UserPattern is what UserHeader may have.
const UserPattern = `^[A-Za-z0-9][A-Za-z0-9._@\\+-]{0,63}$`

var userName = regexp.MustCompile(UserPattern)

// IsUser reports whether a name may be sent as UserHeader.
func IsUser(name string) bool { return userName.MatchString(name) }

// local is whoever is on this machine: one person, whatever name is claimed.
func local(c Credentials, grants []Grant) (Principal, error) {
	p := Principal{ID: "local", Name: "local", Person: "local", How: "local", Address: c.Peer, Grants: grants}
	if c.User == "" {
		return p, nil
	}
	if !userName.MatchString(c.User) {
		return Principal{}, &Refusal{Class: Malformed, Field: UserHeader,
			Message: "is no user's name: want at most 64 letters, digits, and any of . _ @ \\ + -"}
	}
	p.Name = "local:" + c.User + " (claimed)"
	return p, nil
}
