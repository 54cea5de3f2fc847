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
	// Local says that the request comes from this machine: that it was dialled from
	// a loopback address to a loopback address, and that no proxy has said that it
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
	own, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	c.Local = near(c.Peer) && near(hostOf(own)) && !passedOn(r.Header)
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
	here := false
	if p.Addr.Network() == "unix" {
		c.Peer, here = "unix", true
	} else if host := hostOf(p.Addr); host != "" {
		c.Peer, here = host, near(host) && near(hostOf(p.LocalAddr))
	}
	c.Local = here && !passedOn(md)
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
		c.Certificates = info.State.PeerCertificates
	}
	return c
}

// forwarded are the headers, and how those begin, by which proxies say that they
// are one. Envoy adds X-Request-Id and X-Forwarded-Proto where it adds nothing else.
var forwarded = []string{"forwarded", "via", "x-forwarded-", "x-real-ip", "x-request-id", "x-envoy-"}

// passedOn reports whether a proxy says that it was between: the request then comes
// from elsewhere, whatever address the proxy has. One that says nothing (nginx's
// proxy_pass, anything that passes on TCP) is not seen here.
func passedOn(headers map[string][]string) bool {
	for name := range headers {
		name = strings.ToLower(name)
		for _, word := range forwarded {
			if name == word || strings.HasSuffix(word, "-") && strings.HasPrefix(name, word) {
				return true
			}
		}
	}
	return false
}

// sidecar is whom Istio's proxy dials as, where it passes on what came from
// elsewhere: istio.io, "Inbound passthrough cluster".
const sidecar = "127.0.0.6"

// near reports whether an address is one that this machine alone has.
func near(host string) bool { return loopback(host) && host != sidecar }

// hostOf is an address without its port; empty: it has none.
func hostOf(a net.Addr) string {
	if a == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return ""
	}
	return host
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
