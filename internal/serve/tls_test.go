package serve

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/certtest"
)

// authority signs certificates for one test, and has its own in a file.
type authority struct {
	*certtest.Authority
	t    *testing.T
	file string
}

func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{certtest.New(t, name), t, filepath.Join(dir, name+".pem")}
	place(t, a.file, a.PEM)
	return a
}

// issue writes a certificate and its key for a name, for both directions.
func (a *authority) issue(dir, name string) (cert, key string) {
	a.t.Helper()
	certPEM, keyPEM := a.Issue(a.t, certtest.Named(name))
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	place(a.t, cert, certPEM)
	place(a.t, key, keyPEM)
	return cert, key
}

// dial shakes hands with a server of config, and returns the name that the
// server showed.
func dial(t *testing.T, config *tls.Config, ca *authority, cert, key string) (string, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	served := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			err = conn.(*tls.Conn).HandshakeContext(t.Context())
			_ = conn.Close()
		}
		served <- err
	}()
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	client := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", NextProtos: []string{"h2"}}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		client.Certificates = []tls.Certificate{pair}
	}
	conn, err := tls.Dial("tcp", l.Addr().String(), client)
	var name string
	if err == nil {
		name = conn.ConnectionState().PeerCertificates[0].Subject.CommonName
		_ = conn.Close()
	}
	if err := <-served; err != nil {
		return name, err
	}
	return name, err
}

func TestTLSAsksForACertificate(t *testing.T) {
	dir := t.TempDir()
	ca, other := newAuthority(t, dir, "ca"), newAuthority(t, dir, "other-ca")
	cert, key := ca.issue(dir, "server")
	config, err := TLSFiles{Cert: cert, Key: key, ClientCA: ca.file}.config(func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	good, goodKey := ca.issue(dir, "proxy")
	if name, err := dial(t, config, ca, good, goodKey); err != nil || name != "server" {
		t.Errorf("a proxy of our own: %q, %v", name, err)
	}
	if _, err := dial(t, config, ca, "", ""); err == nil {
		t.Error("a peer without a certificate was let in")
	}
	stranger, strangerKey := other.issue(dir, "stranger")
	if _, err := dial(t, config, ca, stranger, strangerKey); err == nil {
		t.Error("a peer with somebody else's certificate was let in")
	}
}

func TestTLSTakesARenewedCertificate(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir, "ca")
	cert, key := ca.issue(dir, "server")
	files := TLSFiles{Cert: cert, Key: key, ClientCA: ca.file}
	first, err := files.read()
	if err != nil {
		t.Fatal(err)
	}
	var told []error
	k := &keeper{files: files, onError: func(err error) { told = append(told, err) }, current: first, stamp: files.stamp(), looked: time.Now()}
	name := func(after time.Duration) string {
		leaf, err := x509.ParseCertificate(k.get(time.Now().Add(after)).Certificates[0].Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.Subject.CommonName
	}

	if err := os.WriteFile(cert, []byte("half a renewal"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := name(recheckFiles); got != "server" || len(told) != 1 {
		t.Errorf("%s after half a renewal, told %v", got, told)
	}
	nextCert, nextKey := ca.issue(dir, "renewed")
	for from, to := range map[string]string{nextCert: cert, nextKey: key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	if got := name(recheckFiles + time.Second); got != "server" {
		t.Errorf("%s before the files are looked at again", got)
	}
	if got := name(3 * recheckFiles); got != "renewed" || len(told) != 1 {
		t.Errorf("%s after the renewal, told %v", got, told)
	}
}

func TestTLSMistakes(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir, "ca")
	cert, key := ca.issue(dir, "server")
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		files TLSFiles
		want  string
	}{
		"no key":                {TLSFiles{Cert: cert, ClientCA: ca.file}, "give all three or none"},
		"no authority":          {TLSFiles{Cert: cert, Key: key}, "give all three or none"},
		"a file that is not":    {TLSFiles{Cert: dir + "/none.pem", Key: key, ClientCA: ca.file}, "no such file"},
		"another one's key":     {TLSFiles{Cert: cert, Key: func() string { _, k := ca.issue(dir, "x"); return k }(), ClientCA: ca.file}, "private key does not match"},
		"an empty authority":    {TLSFiles{Cert: cert, Key: key, ClientCA: empty}, "has no certificate"},
		"no proxies' authority": {TLSFiles{Cert: cert, Key: key, ClientCA: ca.file, ProxyCA: dir + "/none.pem"}, "--tls-proxy-ca"},
		"an empty one":          {TLSFiles{Cert: cert, Key: key, ClientCA: ca.file, ProxyCA: empty}, "--tls-proxy-ca"},
		"an authority missing":  {TLSFiles{Cert: cert, Key: key, ClientCA: dir + "/none.pem"}, "--tls-client-ca"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := c.files.config(nil); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
