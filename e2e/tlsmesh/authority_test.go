package tlsmesh

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = encoded("CERTIFICATE", der)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func encoded(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// pair is where one side's files are: tls.crt, tls.key and ca.crt of a folder.
type pair struct{ cert, key, ca string }

func pairIn(dir string) pair {
	return pair{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt")}
}

// renew puts files in the place of those of a pair as renewals do, each by a
// rename: a certificate of a's for a name, and the authorities that its owner
// trusts.
func (a *authority) renew(to pair, name string, until time.Time, trusted ...*authority) {
	a.t.Helper()
	key := newKey(a.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	var authorities []byte
	for _, t := range trusted {
		authorities = append(authorities, t.pem...)
	}
	place(a.t, to.ca, authorities)
	place(a.t, to.key, encoded("EC PRIVATE KEY", private))
	place(a.t, to.cert, encoded("CERTIFICATE", der))
}

// place writes a file and moves it where it belongs.
func place(t *testing.T, path string, content []byte) {
	t.Helper()
	next := path + ".next"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

// issued is a new pair, valid for an hour, of one who trusts a.
func (a *authority) issued(name string) pair { return a.issuedUntil(name, time.Now().Add(time.Hour)) }

func (a *authority) issuedUntil(name string, until time.Time) pair {
	a.t.Helper()
	p := pairIn(a.t.TempDir())
	a.renew(p, name, until, a)
	return p
}

// proxyFlags are those of safestate render, serveFlags those of safestate serve.
func (p pair) proxyFlags() []string {
	return []string{"--tls-cert", p.cert, "--tls-key", p.key, "--tls-ca", p.ca}
}

func (p pair) serveFlags() []string {
	return []string{"--tls-cert", p.cert, "--tls-key", p.key, "--tls-client-ca", p.ca}
}
