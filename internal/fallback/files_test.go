package fallback

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/safestate/safestate/internal/certtest"
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

// issue returns a certificate for a name, and for 127.0.0.1 where asked.
func issue(t *testing.T, a *certtest.Authority, name string, loopback bool) (cert, key string) {
	t.Helper()
	says := certtest.Named(name)
	if !loopback {
		says.IPAddresses = nil
	}
	c, k := a.Issue(t, says)
	return string(c), string(k)
}

func serveTLS(t *testing.T, cert, key string, clients *certtest.Authority) policy.Endpoint {
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
		s.TLS.ClientCAs.AddCert(clients.Cert)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return endpointOf(t, s.URL)
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := certtest.New(t, "ours"), certtest.New(t, "another")
	ca := put(t, filepath.Join(dir, "ca.pem"), string(ours.PEM))
	cert, key := issue(t, ours, "model.test", true)
	named, namedKey := issue(t, ours, "model.test", false)
	me, meKey := issue(t, ours, "safestate", false)
	meFile, meKeyFile := put(t, filepath.Join(dir, "me.pem"), me), put(t, filepath.Join(dir, "me.key"), meKey)
	foreign, foreignKey := issue(t, theirs, "model.test", true)
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
	ours, old := certtest.New(t, "ours"), certtest.New(t, "another")
	cert, key := issue(t, ours, "model.test", true)
	ca := put(t, filepath.Join(t.TempDir(), "ca.pem"), string(old.PEM))
	cfg := v2(serveTLS(t, cert, key, nil))
	cfg.TLS = &policy.TLS{CAFile: ca}
	c := client(t, cfg, Options{})
	if _, err := c.Do(t.Context(), Request{Path: "/"}); err == nil {
		t.Fatal("the old authority was believed")
	}
	put(t, ca, string(ours.PEM))
	c.rereadSoon()
	until(t, func() bool { _, err := c.Do(t.Context(), Request{Path: "/"}); return err == nil })
	before := c.transport.Load()
	put(t, ca, "not a certificate")
	c.rereadSoon()
	if _, err := c.Do(t.Context(), Request{Path: "/"}); err != nil || c.transport.Load() != before {
		t.Errorf("a bad file took the good one's place: %v", err)
	}
}
