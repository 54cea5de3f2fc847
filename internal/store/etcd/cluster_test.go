package etcd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// cluster is a real etcd in a process of its own, with TLS both ways and users:
// root, and "safestate", which may only use what is under /ours.
type cluster struct {
	*child
	dir     string
	options Options // of the user safestate
	root    Options
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	dir := t.TempDir()
	ca, cert, key := certificates(t, dir)
	c := &cluster{dir: filepath.Join(dir, "data")}
	c.child = startChild(t, "cluster", c.dir, ca, cert, key)
	endpoint := c.say(t, "ready")

	c.root = Options{Endpoints: []string{endpoint}, CA: ca, Cert: cert, Key: key, Lease: shortLease}
	admin := open(t, c.root)
	ctx := t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(admin.client.UserAdd(ctx, "root", "root's"))
	must(admin.client.UserGrantRole(ctx, "root", "root"))
	must(admin.client.RoleAdd(ctx, "ours"))
	must(admin.client.RoleGrantPermission(ctx, "ours", "/ours/", clientv3.GetPrefixRangeEnd("/ours/"),
		clientv3.PermissionType(clientv3.PermReadWrite)))
	must(admin.client.UserAdd(ctx, "safestate", "ours"))
	must(admin.client.UserGrantRole(ctx, "safestate", "ours"))
	must(admin.client.AuthEnable(ctx))

	c.root.User, c.root.PasswordFile = "root", write(t, dir, "root.password", "root's\n")
	c.options = c.root
	c.options.User, c.options.PasswordFile = "safestate", write(t, dir, "password", "ours\r\nthe second line is not read\n")
	c.options.Prefix = "/ours"
	return c
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// certificates are one pair for both sides, signed by itself.
func certificates(t *testing.T, dir string) (ca, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ours"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	cert = write(t, dir, "cert.pem", text("CERTIFICATE", der))
	return cert, cert, write(t, dir, "key.pem", text("PRIVATE KEY", secret))
}

// link is a TCP proxy that can be cut.
type link struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func newLink(t *testing.T, endpoint string) *link {
	t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	l := &link{to: u.Host}
	if l.listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.listener.Accept()
			if err != nil {
				return
			}
			go l.serve(conn)
		}
	}()
	t.Cleanup(func() { _ = l.listener.Close(); l.set(true) })
	return l
}

func (l *link) serve(conn net.Conn) {
	up, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", l.to)
	l.mu.Lock()
	if err != nil || l.cut {
		l.mu.Unlock()
		_ = conn.Close()
		return
	}
	l.conns = append(l.conns, conn, up)
	l.mu.Unlock()
	go func() { _, _ = io.Copy(up, conn); _ = up.Close() }()
	_, _ = io.Copy(conn, up)
	_ = conn.Close()
}

// set cuts the link or mends it.
func (l *link) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	for _, conn := range l.conns {
		_ = conn.Close()
	}
	l.conns = nil
}
