// Package certtest signs certificates for tests.
package certtest

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// Authority signs certificates. It is safe for concurrent use.
type Authority struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
	PEM  []byte // of Cert
}

// New is an authority that is valid for a day, from an hour ago on.
func New(t testing.TB, name string) *Authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a := &Authority{Key: newKey(t)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.Key.PublicKey, a.Key)
	if err != nil {
		t.Fatal(err)
	}
	if a.Cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.PEM = encoded("CERTIFICATE", der)
	return a
}

// Sign signs what a certificate says, and gives it with its key. What it leaves out
// is: valid for an hour around now, for both sides of TLS.
func (a *Authority) Sign(t testing.TB, says x509.Certificate) (der []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	says.SerialNumber = serial()
	if says.NotBefore.IsZero() {
		says.NotBefore = time.Now().Add(-2 * time.Hour)
	}
	if says.NotAfter.IsZero() {
		says.NotAfter = time.Now().Add(time.Hour)
	}
	says.KeyUsage = cmp.Or(says.KeyUsage, x509.KeyUsageDigitalSignature)
	if says.ExtKeyUsage == nil {
		says.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	key = newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &says, a.Cert, &key.PublicKey, a.Key)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

// Issue is Sign with both in PEM.
func (a *Authority) Issue(t testing.TB, says x509.Certificate) (cert, key []byte) {
	t.Helper()
	der, private := a.Sign(t, says)
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return encoded("CERTIFICATE", der), encoded("PRIVATE KEY", text)
}

// Named says the name of somebody on this machine, as a subject and as DNS has it.
func Named(name string) x509.Certificate {
	return x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
}

func serial() *big.Int { return big.NewInt(time.Now().UnixNano()) }

func newKey(t testing.TB) *ecdsa.PrivateKey {
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
