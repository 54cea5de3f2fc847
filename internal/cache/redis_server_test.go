package cache

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/porttest"
)

// server is a real Redis on a free port of loopback, stopped with the test.
type server struct {
	t    *testing.T
	port string
	args []string
	cmd  *exec.Cmd
}

func redisServer(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("REDIS_SERVER"); bin != "" {
		return bin
	}
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("no redis-server found: install Redis 6.2 or later (Debian: redis-server), or name the binary in REDIS_SERVER")
	}
	return bin
}

func startRedis(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{t: t, port: strconv.Itoa(porttest.Free(t)), args: args}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *server) addr() string { return "127.0.0.1:" + s.port }
func (s *server) url() string  { return "redis://" + s.addr() }

// start runs the server and waits until it accepts connections.
func (s *server) start() {
	s.t.Helper()
	args := append([]string{
		"--port", s.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.t.TempDir(), "--daemonize", "no",
	}, s.args...)
	s.cmd = exec.Command(redisServer(s.t), args...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // not even a killed test leaves it behind
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	until(s.t, "Redis to start", func() bool {
		conn, err := net.Dial("tcp", s.addr())
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
}

func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// pause stops the process and waits until the kernel says so.
func (s *server) pause() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		s.t.Fatal(err)
	}
	until(s.t, "state T", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
		if err != nil {
			return false
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		return strings.HasPrefix(rest, "T")
	})
}

func (s *server) resume() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		s.t.Fatal(err)
	}
}

// command speaks to the server past the store under test. A word with blanks
// is sent as it is.
func (s *server) command(words ...string) string {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr())
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	fmt.Fprintf(conn, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(w), w)
	}
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	if err == nil && strings.HasPrefix(line, "$") {
		line, err = r.ReadString('\n') // the text behind its length
	}
	if err != nil || strings.HasPrefix(line, "-") {
		s.t.Fatalf("%s: %q %v", words[0], line, err)
	}
	return line
}

// clock is a breaker's clock that a test moves.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_700_000_000, c.offset.Load()) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

// patient has a deadline that a loaded machine does not miss.
func patient(url string) RedisOptions {
	return RedisOptions{URL: url, Deadline: 10 * time.Second, MaxEntryBytes: 5000}
}

// brisk is for tests of a Redis that does miss it.
func brisk(url string) RedisOptions {
	o := patient(url)
	o.Deadline = 50 * time.Millisecond
	return o
}

func connectRedis(t *testing.T, opt RedisOptions, c *clock) *Redis {
	t.Helper()
	now := time.Now
	if c != nil {
		now = c.now
	}
	r, err := newRedis(opt, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	until(t, "the store to connect", r.Connected)
	return r
}
