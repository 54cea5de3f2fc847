package dataplane

import (
	"net"
	"sync"
	"testing"
)

var handedOut struct {
	sync.Mutex
	ports map[int]bool
}

// FreePort returns a port of 127.0.0.1 that nobody listens on and that no
// other call of this process got.
func FreePort(t testing.TB) int {
	t.Helper()
	handedOut.Lock()
	defer handedOut.Unlock()
	if handedOut.ports == nil {
		handedOut.ports = map[int]bool{}
	}
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr, ok := l.Addr().(*net.TCPAddr)
		_ = l.Close()
		if ok && !handedOut.ports[addr.Port] {
			handedOut.ports[addr.Port] = true
			return addr.Port
		}
	}
	t.Fatal("no free port")
	return 0
}
