package access

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/safestate/safestate/internal/certtest"
)

const certFile = `clientCA: ca.pem
tokens:
- {name: bot, sha256: %s}
certificates:
- {name: deployer, uri: "spiffe://example.org/ns/ci/sa/deployer"}
- {name: ci, uri: "spiffe://example.org/ns/ci/sa/*"}
- {name: people, email: "*@example.org"}
- {name: hosts, dns: "*.ops.example.org"}
- {name: old, commonName: "old admin"}
people:
- {name: ann, is: ["cert:people:ann@example.org", "token:bot"]}
grants:
- {to: ["cert:deployer", "cert:ci", "cert:people", "cert:hosts", "cert:old", "token:bot"], roles: [viewer], models: ["*"]}
- {to: ["cert:people:ann@example.org"], roles: [responder], models: ["*"]}
- {to: [anonymous], roles: [viewer], models: ["*"]}
`

// world is an access file with an authority, and two servers that ask for
// certificates as ours do.
type world struct {
	ours, other *certtest.Authority
	http        *httptest.Server
	grpc        string
	roots       *x509.CertPool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{ours: certtest.New(t, "authority"), other: certtest.New(t, "authority"), roots: x509.NewCertPool()}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ca.pem"), string(w.ours.PEM))
	gate := open(t, dir, fmt.Sprintf(certFile, digestOf(t, bobToken)), Options{})

	der, key := issue(t, w.ours, holder{common: "server", server: true})
	w.roots.AddCert(w.ours.Cert)
	config := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2"},
	}
	w.http = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		p, err := gate.Authenticate(r)
		if err != nil {
			rw.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(rw, err)
			return
		}
		fmt.Fprint(rw, p.ID, " ", p.Person)
	}))
	w.http.TLS = config.Clone()
	w.http.StartTLS()
	t.Cleanup(w.http.Close)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		p, err := gate.AuthenticateRPC(stream.Context())
		if err != nil {
			return RPC(err)
		}
		return status.Error(codes.DataLoss, p.ID+" "+p.Person) // a status is the shortest answer
	}))
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	w.grpc = l.Addr().String()
	return w
}

// client is the TLS of a client with a certificate; none: without.
func (w *world) client(certificates ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: w.roots, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if len(certificates) == 0 {
			return &tls.Certificate{}, nil
		}
		return &certificates[0], nil // also where it is of an authority that the server does not name
	}}
}

// asks sends one request over each, and returns what they say of the asker.
func (w *world) asks(t *testing.T, authorization string, certificates ...tls.Certificate) (overHTTP, overRPC string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.http.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", authorization)
	}
	transport := &http.Transport{TLSClientConfig: w.client(certificates...)}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(w.grpc, grpc.WithTransportCredentials(credentials.NewTLS(w.client(certificates...))))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = conn.Invoke(ctx, "/any/Method", &emptypb.Empty{}, &emptypb.Empty{})
	return string(body), status.Convert(err).Message()
}

func pair(der []byte, key any, more ...[]byte) tls.Certificate {
	return tls.Certificate{Certificate: append([][]byte{der}, more...), PrivateKey: key}
}

func TestClientCertificates(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		by   *certtest.Authority
		h    holder
		want string
	}{
		"exact":                   {w.ours, holder{uris: []string{"spiffe://example.org/ns/ci/sa/deployer"}}, "cert:deployer cert:deployer"},
		"pattern":                 {w.ours, holder{uris: []string{"spiffe://example.org/ns/ci/sa/tester"}}, "cert:ci:spiffe://example.org/ns/ci/sa/tester cert:ci:spiffe://example.org/ns/ci/sa/tester"},
		"a part more":             {w.ours, holder{uris: []string{"spiffe://example.org/ns/ci/sa/tester/x"}}, "of nobody that the access file names"},
		"a part less":             {w.ours, holder{uris: []string{"spiffe://example.org/ns/ci/sa/"}}, "of nobody"},
		"another trust domain":    {w.ours, holder{uris: []string{"spiffe://example.org.evil/ns/ci/sa/deployer"}}, "of nobody"},
		"two SPIFFE IDs":          {w.ours, holder{uris: []string{"spiffe://example.org/ns/web/sa/x", "spiffe://example.org/ns/ci/sa/deployer"}}, "of nobody"},
		"email":                   {w.ours, holder{email: "ann@example.org"}, "cert:people:ann@example.org person:ann"},
		"another email":           {w.ours, holder{email: "bob@example.org"}, "cert:people:bob@example.org cert:people:bob@example.org"},
		"a foreign email":         {w.ours, holder{email: "ann@example.org.evil"}, "of nobody"},
		"dns, whatever its case":  {w.ours, holder{dns: "A.Ops.Example.org"}, "cert:hosts:a.ops.example.org cert:hosts:a.ops.example.org"},
		"dns of two parts":        {w.ours, holder{dns: "a.b.ops.example.org"}, "of nobody"},
		"common name":             {w.ours, holder{common: "old admin"}, "cert:old cert:old"},
		"common name, almost":     {w.ours, holder{common: "old adminx"}, "of nobody"},
		"an email as common name": {w.ours, holder{common: "ann@example.org"}, "of nobody"},
		"a proxy":                 {w.ours, holder{common: "envoy", dns: "envoy-1.example.org"}, "of nobody"},
		"another authority":       {w.other, holder{email: "ann@example.org"}, "it is of an unknown authority"},
		"ended":                   {w.ours, holder{email: "ann@example.org", ended: true}, "has expired"},
		"for servers":             {w.ours, holder{email: "ann@example.org", server: true}, "incompatible key usage"},
	} {
		der, key := issue(t, c.by, c.h)
		overHTTP, overRPC := w.asks(t, "", pair(der, key))
		for kind, got := range map[string]string{"HTTP": overHTTP, "gRPC": overRPC} {
			if !strings.Contains(got, c.want) {
				t.Errorf("%s over %s: %s, want %s", name, kind, got, c.want)
			}
		}
	}
}

func TestATokenDecidesBeforeACertificate(t *testing.T) {
	w := newWorld(t)
	der, key := issue(t, w.ours, holder{email: "bob@example.org"})
	for authorization, want := range map[string]string{
		"Bearer " + bobToken: "token:bot person:ann", // one person with two credentials
		"Bearer wrong":       "the token is not known",
		"Basic x":            "is of another kind",
	} {
		overHTTP, overRPC := w.asks(t, authorization, pair(der, key))
		if !strings.Contains(overHTTP, want) || !strings.Contains(overRPC, want) {
			t.Errorf("%s: %s; %s; want %s", authorization, overHTTP, overRPC, want)
		}
	}
	overHTTP, overRPC := w.asks(t, "")
	if overHTTP != "anonymous " || overRPC != "anonymous " {
		t.Errorf("without any: %q, %q", overHTTP, overRPC)
	}
}

// The chain may lead over an authority in between, which the client sends along.
func TestAChainIsFollowed(t *testing.T) {
	w := newWorld(t)
	between := certtest.New(t, "authority")
	template := *between.Cert
	template.Subject.CommonName = "between"
	der, err := x509.CreateCertificate(rand.Reader, &template, w.ours.Cert, &between.Key.PublicKey, w.ours.Key)
	if err != nil {
		t.Fatal(err)
	}
	if between.Cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	leaf, key := issue(t, between, holder{email: "ann@example.org"})
	if got, _ := w.asks(t, "", pair(leaf, key, der)); !strings.HasPrefix(got, "cert:people:ann@example.org") {
		t.Errorf("with the chain: %s", got)
	}
	if got, _ := w.asks(t, "", pair(leaf, key)); !strings.Contains(got, "unknown authority") {
		t.Errorf("without: %s", got)
	}
}
