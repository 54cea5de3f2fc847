package fallback

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/policy"
)

func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCredentials(t *testing.T) {
	var right atomic.Pointer[string]
	set := func(s string) { right.Store(&s) }
	set("Bearer one")
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != *right.Load() {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	path := filepath.Join(t.TempDir(), "token")
	cfg := v2(e)
	cfg.Credentials = path
	problems := make(chan error, 10)
	c := client(t, cfg, Options{OnProblem: func(err error) { problems <- err }})
	ask := func() *Error {
		_, err := c.Do(t.Context(), Request{Path: "/", Headers: headers{"authorization": *right.Load()}})
		var e *Error
		errors.As(err, &e)
		return e
	}
	if err := ask(); err == nil || err.Kind != Files {
		t.Fatalf("without a file: %v", err)
	}
	if err := <-problems; !errors.Is(err, os.ErrNotExist) {
		t.Errorf("told %v", err)
	}
	put(t, path, "Bearer one\n")
	until(t, func() bool { return ask() == nil })
	if err := <-problems; err != nil {
		t.Errorf("told %v once it was over", err)
	}
	// Rotated: a refusal has the file read again at once.
	set("Bearer two")
	put(t, path, "Bearer two")
	until(t, func() bool { return ask() == nil })
	// A file that is no header's value leaves the last good one.
	put(t, path, "Bearer\nx: y")
	c.rereadSoon()
	if err := <-problems; err == nil || strings.Contains(err.Error(), "Bearer") {
		t.Errorf("told %v", err)
	}
	if err := ask(); err != nil {
		t.Errorf("a bad file took the good credentials away: %v", err)
	}
}

// authority is a certificate authority of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// issue returns a certificate for a name and for 127.0.0.1 where asked.
func (a *authority) issue(t *testing.T, name string, loopback bool) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if loopback {
		tmpl.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &k.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder}))
}

func serveTLS(t *testing.T, cert, key string, clients *authority) policy.Endpoint {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			who = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		fmt.Fprint(w, who)
	}))
	s.Config.ErrorLog = quiet()
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if clients != nil {
		s.TLS.ClientAuth, s.TLS.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		s.TLS.ClientCAs.AddCert(clients.cert)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return endpointOf(t, s.URL)
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := newAuthority(t), newAuthority(t)
	ca := put(t, filepath.Join(dir, "ca.pem"), ours.pem)
	cert, key := ours.issue(t, "model.test", true)
	named, namedKey := ours.issue(t, "model.test", false)
	me, meKey := ours.issue(t, "safestate", false)
	meFile, meKeyFile := put(t, filepath.Join(dir, "me.pem"), me), put(t, filepath.Join(dir, "me.key"), meKey)
	foreign, foreignKey := theirs.issue(t, "model.test", true)
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	cases := []struct {
		name     string
		endpoint policy.Endpoint
		tls      policy.TLS
		body     string
		kind     Kind
	}{
		{"by address", serveTLS(t, cert, key, nil), policy.TLS{CAFile: ca}, "nobody", ""},
		{"by name", serveTLS(t, named, namedKey, nil), policy.TLS{CAFile: ca, ServerName: "model.test"}, "nobody", ""},
		{"another name", serveTLS(t, named, namedKey, nil), policy.TLS{CAFile: ca, ServerName: "other.test"}, "", TLS},
		{"another authority", serveTLS(t, foreign, foreignKey, nil), policy.TLS{CAFile: ca}, "", TLS},
		{"the system's authorities", serveTLS(t, cert, key, nil), policy.TLS{}, "", TLS},
		{"a server without TLS", plain, policy.TLS{CAFile: ca}, "", TLS},
		{"with a certificate", serveTLS(t, cert, key, ours), policy.TLS{CAFile: ca, CertFile: meFile, KeyFile: meKeyFile}, "safestate", ""},
		{"without the certificate", serveTLS(t, cert, key, ours), policy.TLS{CAFile: ca}, "", TLS},
		{"no CA file", serveTLS(t, cert, key, nil), policy.TLS{CAFile: filepath.Join(dir, "none")}, "", Files},
		{"a CA file without certificates", serveTLS(t, cert, key, nil), policy.TLS{CAFile: meKeyFile}, "", Files},
		{"a key without its certificate", serveTLS(t, cert, key, nil), policy.TLS{CAFile: ca, KeyFile: meKeyFile}, "", Files},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg := v2(c.endpoint)
			cfg.TLS = &c.tls
			a, err := client(t, cfg, Options{}).Do(t.Context(), Request{Path: "/"})
			var failed *Error
			switch {
			case c.kind == "" && err != nil:
				t.Errorf("got %v, want %q", err, c.body)
			case c.kind == "" && string(a.Body) != c.body:
				t.Errorf("got %q, want %q", a.Body, c.body)
			case c.kind != "" && (!errors.As(err, &failed) || failed.Kind != c.kind):
				t.Errorf("got %v, want %s", err, c.kind)
			}
		})
	}
}

func TestTLSFilesAreReadAgain(t *testing.T) {
	ours, old := newAuthority(t), newAuthority(t)
	cert, key := ours.issue(t, "model.test", true)
	ca := put(t, filepath.Join(t.TempDir(), "ca.pem"), old.pem)
	cfg := v2(serveTLS(t, cert, key, nil))
	cfg.TLS = &policy.TLS{CAFile: ca}
	c := client(t, cfg, Options{})
	if _, err := c.Do(t.Context(), Request{Path: "/"}); err == nil {
		t.Fatal("the old authority was believed")
	}
	put(t, ca, ours.pem)
	c.rereadSoon()
	until(t, func() bool { _, err := c.Do(t.Context(), Request{Path: "/"}); return err == nil })
	before := c.transport.Load()
	put(t, ca, "not a certificate")
	c.rereadSoon()
	if _, err := c.Do(t.Context(), Request{Path: "/"}); err != nil || c.transport.Load() != before {
		t.Errorf("a bad file took the good one's place: %v", err)
	}
}
