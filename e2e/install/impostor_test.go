package install

import (
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
)

// TestAMeshDoesNotSayWhoControls: a server with a certificate of the mesh's authorities,
// for the very name of the control plane, is told nothing by a processor and tells it
// nothing.
func TestAMeshDoesNotSayWhoControls(t *testing.T) {
	for name, c := range map[string]struct {
		of       func(*cell) *authority
		believed bool
	}{
		"of safestate's own authority": {func(c *cell) *authority { return c.own }, true},
		"of the mesh's":                {func(c *cell) *authority { return c.mesh }, false},
	} {
		t.Run(name, func(t *testing.T) {
			cell := newCell(t)
			asked, address := posing(t, c.of(cell))
			cell.run("Deployment", "safestate-processor", "safestate-processor-0", "--control", address)
			if c.believed {
				dataplane.Eventually(t, patience, "the processor goes on talking", func() bool { return asked.Load() > 0 })
				return
			}
			over := time.Now().Add(5 * time.Second) // dialled several times by then
			dataplane.Eventually(t, patience, "some time is over", func() bool { return time.Now().After(over) })
			if n := asked.Load(); n > 0 {
				t.Errorf("the processor has gone on talking %d times", n)
			}
		})
	}
}

// posing is a server for the control plane's names, and how often somebody has gone on
// talking to it behind the handshake.
func posing(t *testing.T, of *authority) (asked *atomic.Int64, address string) {
	t.Helper()
	cert, key := of.issue("", hostOfControl, "localhost")
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	asked = &atomic.Int64{}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func(conn net.Conn) {
				defer func() { _ = conn.Close() }() // it has been heard
				if n, _ := conn.Read(make([]byte, 16)); n > 0 {
					asked.Add(1)
				}
			}(conn)
		}
	}()
	return asked, l.Addr().String()
}
