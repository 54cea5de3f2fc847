package access

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// UserHeader carries the user that a client says it runs as. Nothing proves it:
// it is recorded as a claim of a local user, and decides nothing.
const UserHeader = "X-Safestate-User"

// Credentials are what a request brings along to say who asks.
type Credentials struct {
	// Authorization has every Authorization header, as it came.
	Authorization []string
	// Certificates are the peer's, its own first. The handshake proved that it has
	// the key, and nothing else.
	Certificates []*x509.Certificate
	Peer         string // the peer's address without a port, "unix", or "unknown"
	// Local says that the request comes from this machine, and that no proxy
	// passed it on.
	Local bool
	User  string // what UserHeader claims
}

// OfRequest reads a request's headers and peer, never its body.
func OfRequest(r *http.Request) Credentials {
	c := Credentials{Authorization: r.Header.Values("Authorization"), User: r.Header.Get(UserHeader), Peer: "unknown"}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		c.Peer = host
	}
	c.Local = loopback(c.Peer) && !passedOn(func(name string) bool { return r.Header.Get(name) != "" })
	if r.TLS != nil {
		c.Certificates = r.TLS.PeerCertificates
	}
	return c
}

// OfRPC reads the same of a gRPC call's context: metadata and peer. A peer on a
// Unix socket is local: the socket's mode says who may dial.
func OfRPC(ctx context.Context) Credentials {
	md, _ := metadata.FromIncomingContext(ctx)
	c := Credentials{Authorization: md.Get("authorization"), Peer: "unknown"}
	if users := md.Get(UserHeader); len(users) > 0 {
		c.User = users[0]
	}
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return c
	}
	near := false
	if p.Addr.Network() == "unix" {
		c.Peer, near = "unix", true
	} else if host, _, err := net.SplitHostPort(p.Addr.String()); err == nil {
		c.Peer, near = host, loopback(host)
	}
	c.Local = near && !passedOn(func(name string) bool { return len(md.Get(name)) > 0 })
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
		c.Certificates = info.State.PeerCertificates
	}
	return c
}

// forwarded are the headers by which proxies say that they are one. Envoy adds
// X-Request-Id and X-Forwarded-Proto where it adds nothing else.
var forwarded = []string{
	"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip",
	"X-Request-Id", "X-Envoy-Expected-Rq-Timeout-Ms", "X-Envoy-External-Address", "X-Envoy-Internal",
}

// passedOn reports whether a proxy was between: the request then comes from
// elsewhere, whatever address the proxy has.
func passedOn(has func(name string) bool) bool {
	for _, name := range forwarded {
		if has(name) {
			return true
		}
	}
	return false
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// maxToken is the most characters of a token.
const maxToken = 12 << 10

// bearer returns the token of the Authorization header; empty: there is none.
// More than one, another scheme and what is no token (RFC 6750, section 2.1) are
// refused, lest two readers take it for two things.
func bearer(headers []string) (string, error) {
	if len(headers) == 0 {
		return "", nil
	}
	if len(headers) > 1 {
		return "", header("is there twice")
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	token = strings.TrimLeft(token, " ")
	switch {
	case !strings.EqualFold(scheme, "Bearer"):
		return "", header("is of another kind; want Bearer TOKEN")
	case len(token) > maxToken:
		return "", header("has a token of over 12 KiB")
	case !IsToken(token):
		return "", header("has no token; want Bearer TOKEN")
	}
	return token, nil
}

func header(what string) *Refusal {
	return &Refusal{Class: Unauthenticated, Field: "Authorization", Message: what}
}

// IsToken reports whether text may be sent as a bearer token: whether it is a
// b64token.
func IsToken(text string) bool {
	body := strings.TrimRight(text, "=")
	for _, ch := range []byte(body) {
		switch {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9':
		case ch == '-', ch == '.', ch == '_', ch == '~', ch == '+', ch == '/':
		default:
			return false
		}
	}
	return body != ""
}
