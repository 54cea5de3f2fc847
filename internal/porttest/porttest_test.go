package porttest

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
)

func TestFree(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		var low int
		if _, err := fmt.Sscan(strings.TrimSpace(string(text)), &low); err != nil {
			t.Fatal(err)
		}
		if low < beyond {
			t.Skipf("the kernel of this machine takes ports from %d on", low)
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	found := map[int]bool{}
	for range 200 {
		wg.Go(func() {
			port := Free(t)
			mu.Lock()
			defer mu.Unlock()
			if found[port] || port < lowest || port >= beyond {
				t.Errorf("port %d; before it came %d others", port, len(found))
			}
			found[port] = true
		})
	}
	wg.Wait()
}

func TestClaimEnds(t *testing.T) {
	var address string
	t.Run("claimed", func(t *testing.T) {
		address = Address(t)
		if l, err := net.ListenPacket("udp", address); err == nil {
			_ = l.Close()
			t.Errorf("%s is free to others", address)
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
	})
	l, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal("the claim outlives its test:", err)
	}
	_ = l.Close()
}
