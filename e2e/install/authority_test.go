package install

import (
	"crypto/x509"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/safestate/safestate/internal/certtest"
)

// authority signs certificates, as cert-manager's issuer does, or istiod.
type authority struct {
	*certtest.Authority
	t *testing.T
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	return &authority{certtest.New(t, name), t}
}

// issue is a certificate and its key, in PEM, for DNS names on this machine, or for
// one SPIFFE ID.
func (a *authority) issue(spiffe string, names ...string) (cert, key []byte) {
	a.t.Helper()
	says := x509.Certificate{DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	if spiffe != "" {
		id, err := url.Parse(spiffe)
		if err != nil {
			a.t.Fatal(err)
		}
		says = x509.Certificate{URIs: []*url.URL{id}}
	}
	return a.Issue(a.t, says)
}

// secret is the folder of a Secret with a certificate for names.
func (a *authority) secret(names ...string) string {
	a.t.Helper()
	cert, key := a.issue("", names...)
	return folder(a.t, map[string]string{"tls.crt": string(cert), "tls.key": string(key), "ca.crt": string(a.PEM)})
}

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
