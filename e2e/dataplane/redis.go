package dataplane

import (
	"bufio"
	"fmt"
	"net"
	"testing"
	"time"
)

// StartRedis starts a Redis without persistence on a port and waits until it
// answers.
func StartRedis(t testing.TB, port int) *Process {
	t.Helper()
	path, err := Redis()
	if err != nil {
		t.Fatal(err)
	}
	p := Spawn(t, "redis", path, "--port", fmt.Sprint(port), "--bind", "127.0.0.1",
		"--save", "", "--appendonly", "no", "--dir", t.TempDir())
	Eventually(t, startWithin, "Redis answers", func() bool {
		if p.Exited() {
			t.Fatalf("Redis ended\n%s", tail(p.Log(), 4<<10))
		}
		return RedisDo(port, "PING") == "+PONG"
	})
	return p
}

// RedisDo sends one inline command and returns the first line of the reply;
// "" where there is none within a second.
func RedisDo(port int, command string) string {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return ""
	}
	defer func() { _ = conn.Close() }()
	if conn.SetDeadline(time.Now().Add(time.Second)) != nil {
		return ""
	}
	if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
		return ""
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return ""
	}
	return line[:len(line)-2]
}
