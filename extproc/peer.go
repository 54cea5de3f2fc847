package extproc

import (
	"context"
	"crypto/tls"
	"slices"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/safestate/safestate/internal/signals/signalsv1"
)

// In a mesh every workload has a certificate, and may dial here where no NetworkPolicy
// keeps it out. Which proxy it is it says itself, and by proxies is counted what a
// version answers and who has a kill. So that none speaks for another namespace's, the
// namespaces have to be the same in both names: of the certificate
// (spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT, Istio's form) and of the proxy
// (TYPE~ADDRESS~NAME.NAMESPACE~DOMAIN, Istio's form of a node id).

// peerOf is the TLS of a gRPC peer; nil: there is none, or nobody asks.
func (s *Server) peerOf(ctx context.Context) *tls.ConnectionState {
	p, _ := peer.FromContext(ctx)
	if p == nil || !s.mesh {
		return nil
	}
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
		return &info.State
	}
	return nil
}

// speaksFor reports whether what a peer tells counts for a proxy. A refusal is counted.
// Without TLS the peer is on this machine, or whoever runs it has said that it does not
// matter. A certificate that is not a mesh's is of safestate's own authority, and speaks
// for proxies that are not a mesh's.
func (s *Server) speaksFor(by *tls.ConnectionState, node string) bool {
	if s.mayBe(by, node) {
		return true
	}
	s.metrics.ReportRefused()
	return false
}

// reportsFor is speaksFor of a filter's report: of its name, by which its counts are
// kept apart from those of others, and of every proxy that it counts for.
func (s *Server) reportsFor(by *tls.ConnectionState, m *signalsv1.Report) bool {
	node, _, _ := strings.Cut(m.Reporter, "/") // a filter is called NODE/wasm-NUMBER
	foreign := func(c *signalsv1.Counts) bool { return !s.mayBe(by, c.Node) }
	if s.mayBe(by, node) && !slices.ContainsFunc(m.Counts, foreign) {
		return true
	}
	s.metrics.ReportRefused()
	return false
}

// mayBe reports whether a peer may be a proxy.
func (s *Server) mayBe(by *tls.ConnectionState, node string) bool {
	if !s.mesh || by == nil {
		return true
	}
	shown, workload := workloadNamespace(by)
	said, proxy := proxyNamespace(node)
	return workload == proxy && shown == said
}

// workloadNamespace is the namespace in a peer's SPIFFE id, which counts where it is
// the only URI, as its standard says; false: it has none of Istio's form.
func workloadNamespace(by *tls.ConnectionState) (string, bool) {
	if len(by.PeerCertificates) == 0 || len(by.PeerCertificates[0].URIs) != 1 {
		return "", false
	}
	id := by.PeerCertificates[0].URIs[0]
	parts := strings.Split(id.Path, "/")
	if id.Scheme != "spiffe" || len(parts) != 5 || parts[0] != "" || parts[1] != "ns" || parts[3] != "sa" {
		return "", false
	}
	return parts[2], true
}

// proxyNamespace is the namespace in a node id; false: it is none of Istio's form. A
// pod's name may have dots, a namespace has none.
func proxyNamespace(node string) (string, bool) {
	parts := strings.Split(node, "~")
	if len(parts) != 4 {
		return "", false
	}
	return parts[2][strings.LastIndexByte(parts[2], '.')+1:], true
}
