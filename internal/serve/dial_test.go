package serve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"testing"
)

// A replica that dials another goes by the files as they are: the first handshake
// is with certificates of one authority, the second with those of another.
func TestWhoDialsTakesRenewedFiles(t *testing.T) {
	dir := t.TempDir()
	before, after := newAuthority(t, dir, "before"), newAuthority(t, dir, "after")
	cert, key := before.issue(dir, "replica")
	files := TLSFiles{Cert: cert, Key: key, ClientCA: before.file}
	client, err := files.client()
	if err != nil {
		t.Fatal(err)
	}
	client = client.Clone()
	for _, ca := range []*authority{before, after} {
		nextCert, nextKey := ca.issue(dir, "renewed")
		for from, to := range map[string]string{nextCert: cert, nextKey: key, ca.file: before.file} {
			text, err := os.ReadFile(from)
			if err == nil {
				err = os.WriteFile(to, text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		serverCert, serverKey := ca.issue(dir, "server")
		pair, err := tls.LoadX509KeyPair(serverCert, serverKey)
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AddCert(ca.Cert)
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
			Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2"},
		})
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() {
			conn, err := l.Accept()
			if err == nil {
				err = conn.(*tls.Conn).HandshakeContext(context.Background())
				_ = conn.Close()
			}
			served <- err
		}()
		raw, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn, _, err := client.ClientHandshake(t.Context(), "127.0.0.1", raw)
		if err == nil {
			_ = conn.Close()
		}
		if other := <-served; err != nil || other != nil {
			t.Errorf("with the files of %s: %v, %v", ca.file, err, other)
		}
		_ = l.Close()
	}
	if err := os.WriteFile(cert, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := files.client(); err == nil {
		t.Error("files that cannot be read are taken")
	}
}
