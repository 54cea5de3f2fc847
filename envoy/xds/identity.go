package xds

import (
	"context"
	"strings"
	"unicode"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// PeerNames returns the names in a TLS peer's verified certificate: its URIs,
// DNS names and common name. ok is false without TLS. A peer with TLS and
// without a certificate that was verified has no name, and ok is true: it may
// be nobody. It is meant as Options.Identity.
func PeerNames(ctx context.Context) (names []string, ok bool) {
	p, _ := peer.FromContext(ctx)
	if p == nil {
		return nil, false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil, false
	}
	if len(info.State.VerifiedChains) == 0 || len(info.State.PeerCertificates) == 0 {
		return nil, true
	}
	cert := info.State.PeerCertificates[0]
	for _, uri := range cert.URIs {
		names = append(names, uri.String())
	}
	names = append(names, cert.DNSNames...)
	if cert.Subject.CommonName != "" {
		names = append(names, cert.Subject.CommonName)
	}
	return names, true
}

// mayBe reports whether the peer may call itself node: by a name of its own, or
// by one below it, as in "payments/pod-7" for "payments".
func (i *identity) mayBe(node string) bool {
	if !i.proven {
		return true
	}
	for _, name := range i.names {
		if name != "" && (node == name || strings.HasPrefix(node, name+"/")) {
			return true
		}
	}
	return false
}

// admit checks the node that a proxy says it is.
func (i *identity) admit(node *corev3.Node) error {
	id := node.GetId()
	switch {
	case id == "":
		return deny(CauseNode, codes.InvalidArgument, "the first request of a stream must name the node: node.id is empty")
	case len(id) > maxNode:
		return deny(CauseNode, codes.InvalidArgument, "node.id has %d bytes, at most %d are allowed", len(id), maxNode)
	case strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) }):
		return deny(CauseNode, codes.InvalidArgument, "node.id has characters that cannot be printed")
	case !i.mayBe(id):
		return deny(CauseIdentity, codes.PermissionDenied, "node.id %q is none of the names in the peer's certificate, nor below one: %q", id, i.names)
	}
	return nil
}
