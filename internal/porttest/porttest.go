// Package porttest finds ports for the servers of tests.
package porttest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// The kernel takes ports for outgoing connections from 32768 on. One of those would
// be somebody's as soon as the server that it was found for is down: a test that
// kills a server and starts it again needs the port twice.
const (
	lowest = 20_000
	beyond = 32_768
)

// Free returns a port of 127.0.0.1 for one test's use: nobody listens at it, and no
// other call has got it, in this process or another one, until the test ends. The
// claim is the UDP port of the same number, which is held meanwhile: two Envoys
// would share a TCP port without either noticing. It fails the test if it finds
// none. Safe for concurrent use.
func Free(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := lowest + rand.IntN(beyond-lowest)
		address := fmt.Sprintf("127.0.0.1:%d", port)
		claim, err := net.ListenPacket("udp", address)
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			_ = claim.Close()
			continue
		}
		_ = l.Close()
		t.Cleanup(func() { _ = claim.Close() })
		return port
	}
	t.Fatal("no free port")
	return 0
}

// Address is 127.0.0.1 with a port as Free finds it.
func Address(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", Free(t))
}
