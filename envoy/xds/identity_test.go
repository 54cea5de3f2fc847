package xds

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// TestIdentity: a proxy is who the transport says, or below; where that vouches
// for nobody, any name is taken.
func TestIdentity(t *testing.T) {
	names, proven := []string{"spiffe://example/ns/a", "edge", ""}, true
	o := Options{Identity: func(context.Context) ([]string, bool) { return names, proven }}
	both(t, o, func(l *lab, delta bool) {
		l.set(weights(1, 1))
		names, proven = []string{"spiffe://example/ns/a", "edge", ""}, true
		for node, ok := range map[string]bool{
			"edge": true, "spiffe://example/ns/a": true, "spiffe://example/ns/a/pod-1": true,
			"edge-2": false, "spiffe://example/ns/ab": false, "spiffe://example/ns": false, "other": false, "/x": false,
		} {
			c := l.dial(node, delta)
			c.ask(clusters)
			if ok {
				c.take(clusters)
				continue
			}
			if err := c.closed(); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "none of the names") {
				l.Errorf("%s: the stream ended with %v", node, err)
			}
			c.nothing("it is somebody else")
		}
		if n := len(l.journal.denied); n != 5 || len(l.Proxies()) != 3 {
			l.Errorf("the observer was told of %d, the ledger has %+v", n, l.Proxies())
		}
		names = nil
		c := l.dial("edge", delta)
		c.ask(clusters)
		if err := c.closed(); status.Code(err) != codes.PermissionDenied {
			l.Errorf("without a name: the stream ended with %v", err)
		}
		proven = false
		c = l.dial("anybody", delta)
		c.ask(clusters)
		c.take(clusters)
	})
}

// TestNodes: what cannot be a name in a ledger is none, and a stream is of one
// proxy.
func TestNodes(t *testing.T) {
	both(t, Options{}, func(l *lab, delta bool) {
		l.set(weights(1, 1))
		for node, want := range map[string]string{
			"":                               "node.id is empty",
			strings.Repeat("n", maxNode+1):   "at most 256 are allowed",
			"\x1b[2Jproxy":                   "cannot be printed",
			"proxy\nproxy: silent for 1000h": "cannot be printed",
		} {
			c := l.dial(node, delta)
			c.ask(clusters)
			if err := c.closed(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), want) {
				l.Errorf("%q: the stream ended with %v", node, err)
			}
		}
		for _, told := range l.journal.denied {
			if len(told) > 1000 || strings.ContainsAny(told, "\x1b\n") {
				l.Errorf("the observer was told %q", told)
			}
		}
		c := l.dial("n", delta)
		c.ask(clusters)
		c.take(clusters)
		c.node, c.first = "other", true
		c.ask(listeners)
		if err := c.closed(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "changed") {
			l.Errorf("another name: the stream ended with %v", err)
		}
	})
}

// TestPeerNames reads them from a verified certificate only.
func TestPeerNames(t *testing.T) {
	spiffe, _ := url.Parse("spiffe://example/edge")
	cert := &x509.Certificate{URIs: []*url.URL{spiffe}, DNSNames: []string{"edge.example"}, Subject: pkix.Name{CommonName: "edge"}}
	with := func(info credentials.AuthInfo) context.Context {
		return peer.NewContext(context.Background(), &peer.Peer{AuthInfo: info})
	}
	certs := []*x509.Certificate{cert}
	for name, c := range map[string]struct {
		ctx  context.Context
		want []string
		ok   bool
	}{
		"no peer":    {context.Background(), nil, false},
		"no TLS":     {with(nil), nil, false},
		"anonymous":  {with(credentials.TLSInfo{}), nil, true},
		"unverified": {with(credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: certs}}), nil, true},
		"verified": {
			with(credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: certs, VerifiedChains: [][]*x509.Certificate{certs}}}),
			[]string{"spiffe://example/edge", "edge.example", "edge"}, true,
		},
	} {
		if got, ok := PeerNames(c.ctx); ok != c.ok || !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q %v", name, got, ok)
		}
	}
}
