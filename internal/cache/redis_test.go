package cache

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/policy"
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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	s := &server{t: t, port: port, args: args}
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
	line, err := bufio.NewReader(conn).ReadString('\n')
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

func TestRedis(t *testing.T) {
	s := startRedis(t)
	suite(t, connectRedis(t, patient(s.url()), nil))
}

func TestRedisExpires(t *testing.T) {
	s := startRedis(t)
	r := connectRedis(t, patient(s.url()), nil)
	if err := r.Set(t.Context(), keyOf("v1", "a"), entryOf("x"), 100*24*time.Hour); err != nil {
		t.Fatal(err)
	}
	until(t, "the entry", func() bool { return r.Stats().Sets == 1 })
	var ms int64
	fmt.Sscanf(s.command("PTTL", r.entryName(keyOf("v1", "a"))), ":%d", &ms)
	if left := time.Duration(ms) * time.Millisecond; left > MaxTTL || left < MaxTTL-time.Minute {
		t.Errorf("kept for %s, want %s", left, MaxTTL)
	}
}

// TestRedisValues has values in Redis that the store did not write so.
func TestRedisValues(t *testing.T) {
	s := startRedis(t)
	r := connectRedis(t, patient(s.url()), nil)
	a := keyOf("v1", "a")
	good := string(appendEntry(nil, a, entryOf("good")))
	cases := []struct {
		name    string
		value   string
		counted func(Stats) uint64
	}{
		{"good", good, func(s Stats) uint64 { return s.Hits }},
		{"empty", "", func(s Stats) uint64 { return s.Misses - s.Corrupt - s.Mismatches }},
		{"garbage", "garbage", func(s Stats) uint64 { return s.Corrupt }},
		{"cut", good[:len(good)-1], func(s Stats) uint64 { return s.Corrupt }},
		{"another format", "sfc\x02" + good[4:], func(s Stats) uint64 { return s.Corrupt }},
		{"another key's", string(appendEntry(nil, keyOf("v1", "b"), entryOf("b"))), func(s Stats) uint64 { return s.Mismatches }},
		{"far too long", string(appendEntry(nil, a, entryOf(strings.Repeat("x", 1<<20)))), func(s Stats) uint64 { return s.Corrupt }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s.command("SET", r.entryName(a), c.value)
			before := c.counted(r.Stats())
			_, ok, err := r.Get(t.Context(), a)
			if err != nil || ok != (c.name == "good") {
				t.Errorf("found %v, %v", ok, err)
			}
			if c.counted(r.Stats()) != before+1 {
				t.Errorf("counted %+v", r.Stats())
			}
		})
	}
	s.command("DEL", r.entryName(a))
	s.command("LPUSH", r.entryName(a), "x")
	if _, ok, err := r.Get(t.Context(), a); ok || err == nil {
		t.Errorf("a list in the entry's place: %v, %v", ok, err)
	}
	if r.Breaker().State() != breaker.Closed || !r.Connected() {
		t.Error("an error reply was held against Redis")
	}
}

// TestRedisStartsLater needs no Redis to start, and finds it once it is there.
func TestRedisStartsLater(t *testing.T) {
	s := startRedis(t)
	s.kill()
	links := make(chan error, 100)
	opt := patient(s.url())
	opt.OnLink = func(err error) { links <- err }
	r, err := NewRedis(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	if err := <-links; err == nil {
		t.Error("told of a connection to nothing")
	}
	for range 100 {
		if _, _, err := r.Get(t.Context(), keyOf("v1", "a")); !errors.Is(err, ErrAway) {
			t.Fatalf("got %v", err)
		}
		if err := r.Set(t.Context(), keyOf("v1", "a"), entryOf("x"), time.Minute); !errors.Is(err, ErrAway) {
			t.Fatalf("set: %v", err)
		}
	}
	if st := r.Stats(); st.Asked != 0 || st.Refused != 200 || r.Breaker().State() != breaker.Closed {
		t.Errorf("asked %d, refused %d, breaker %s", st.Asked, st.Refused, r.Breaker().State())
	}
	s.start()
	if err := <-links; err != nil {
		t.Errorf("told %v", err)
	}
	if _, _, err := r.Get(t.Context(), keyOf("v1", "a")); err != nil {
		t.Error(err)
	}
}

// TestRedisHung stops the process. Of hundreds of requests one waits for the
// deadline, and none in the periods after: nobody shakes hands.
func TestRedisHung(t *testing.T) {
	s := startRedis(t)
	var c clock
	r := connectRedis(t, brisk(s.url()), &c)
	key := keyOf("v1", "a")
	s.command("SET", r.entryName(key), string(appendEntry(nil, key, entryOf("x"))))
	until(t, "a hit", func() bool { c.advance(DefaultPeriod); _, ok, _ := r.Get(t.Context(), key); return ok })
	s.pause()
	asked := r.Stats().Asked
	for period := range 5 {
		for range 100 {
			if _, ok, err := r.Get(t.Context(), key); ok || err == nil {
				t.Fatal("an answer of a stopped process")
			}
		}
		if n := r.Stats().Asked - asked; n != 1 {
			t.Fatalf("period %d: %d requests have waited, want 1", period, n)
		}
		c.advance(DefaultPeriod)
	}
	s.resume()
	until(t, "the store to connect again", r.Connected)
	until(t, "a hit", func() bool { c.advance(DefaultPeriod); _, ok, _ := r.Get(t.Context(), key); return ok })
	if st := r.Breaker().State(); st != breaker.Closed {
		t.Errorf("breaker %s", st)
	}
}

// TestRedisHungManyAtOnce has everybody in flight when it happens.
func TestRedisHungManyAtOnce(t *testing.T) {
	s := startRedis(t)
	var c clock
	r := connectRedis(t, brisk(s.url()), &c)
	s.pause()
	asked := r.Stats().Asked
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 20 {
				_, _, _ = r.Get(context.Background(), keyOf("v1", "a"))
			}
		})
	}
	wg.Wait()
	if n := r.Stats().Asked - asked; n < 1 || n > 50 {
		t.Errorf("%d of 1000 requests have waited, want at most the 50 in flight", n)
	}
	if r.Breaker().State() != breaker.Open {
		t.Errorf("breaker %s", r.Breaker().State())
	}
}

// TestRedisKilled loses the process and gets it back on the same port.
func TestRedisKilled(t *testing.T) {
	s := startRedis(t)
	var c clock
	r := connectRedis(t, brisk(s.url()), &c)
	for round := range 3 {
		asked := r.Stats().Asked
		s.kill()
		for range 100 {
			_, _, _ = r.Get(t.Context(), keyOf("v1", "a"))
		}
		if n := r.Stats().Asked - asked; n > 1 {
			t.Errorf("round %d: %d requests asked a dead Redis", round, n)
		}
		until(t, "the connection to be given up", func() bool { return !r.Connected() })
		s.start()
		until(t, "the store to connect again", r.Connected)
		until(t, "an answer", func() bool {
			c.advance(DefaultPeriod)
			_, _, err := r.Get(t.Context(), keyOf("v1", "a"))
			return err == nil
		})
	}
}

// slowly passes connections on to addr and holds back what comes from there.
func slowly(t *testing.T, addr string, by time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	pass := func(to, from net.Conn, by time.Duration) {
		defer func() { _ = to.Close(); _ = from.Close() }()
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			<-time.After(by)
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", addr)
			if err != nil {
				_ = in.Close()
				continue
			}
			wg.Go(func() { pass(out, in, 0) })
			wg.Go(func() { pass(in, out, by) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

// TestRedisSlow has a Redis that shakes hands and is then always late: one
// request a period pays for that.
func TestRedisSlow(t *testing.T) {
	s := startRedis(t)
	opt := brisk("redis://" + slowly(t, s.addr(), 150*time.Millisecond))
	var c clock
	r := connectRedis(t, opt, &c)
	for period := range 4 {
		until(t, "the store to connect again", r.Connected)
		asked := r.Stats().Asked
		for range 50 {
			if _, _, err := r.Get(t.Context(), keyOf("v1", "a")); err == nil {
				t.Fatal("an answer in time")
			}
		}
		if n := r.Stats().Asked - asked; n != 1 {
			t.Errorf("period %d: %d requests have waited, want 1", period, n)
		}
		c.advance(DefaultPeriod)
	}
}

// TestRedisCallerLeaves: a caller who leaves is no failure of Redis.
func TestRedisCallerLeaves(t *testing.T) {
	s := startRedis(t)
	r := connectRedis(t, patient(s.url()), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := r.Get(ctx, keyOf("v1", "a")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if r.Breaker().State() != breaker.Closed {
		t.Error("it opened the breaker")
	}
}

func TestRedisBacklog(t *testing.T) {
	s := startRedis(t)
	opt := patient(s.url())
	opt.BacklogBytes = 3000
	r := connectRedis(t, opt, nil)
	s.pause()
	body := strings.Repeat("x", 1000)
	full := 0
	for i := range 10 {
		if err := r.Set(t.Context(), keyOf("v1", fmt.Sprint(i)), entryOf(body), time.Minute); errors.Is(err, ErrBacklog) {
			full++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if full != 8 {
		t.Errorf("%d of 10 entries of 1 KB found no room in 3 KB, want 8", full)
	}
	s.resume()
	until(t, "the backlog to drain", func() bool { return r.backlog.Load() == 0 })
	if st := r.Stats(); st.Sets != 2 || st.SetErrors != 8 {
		t.Errorf("counted %+v", st)
	}
}

// TestRedisPurgeReachesReplicas has two stores on one Redis, and a purge while
// that is away.
func TestRedisPurgeReachesReplicas(t *testing.T) {
	s := startRedis(t)
	one, two := connectRedis(t, patient(s.url()), nil), connectRedis(t, patient(s.url()), nil)
	key := keyOf("v1", "a")
	put := func() {
		t.Helper()
		s.command("SET", one.entryName(key), string(appendEntry(nil, key, entryOf("x"))))
	}
	has := func(r *Redis) bool {
		t.Helper()
		_, ok, err := r.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	put()
	if !has(one) || !has(two) {
		t.Fatal("not there")
	}
	if err := one.Purge(t.Context(), "default/fraud", "v1"); err != nil {
		t.Fatal(err)
	}
	if has(one) || has(two) {
		t.Error("there after the purge")
	}
	// An earlier mark that comes later changes nothing.
	score := s.command("ZSCORE", DefaultPrefix+purgesKey, target{"default/fraud", "v1"}.name())
	two.pending[target{"default/fraud", "v1"}] = time.Now().Add(-time.Hour)
	if err := two.tellPurges(t.Context(), two.link.Load()); err != nil {
		t.Fatal(err)
	}
	if again := s.command("ZSCORE", DefaultPrefix+purgesKey, target{"default/fraud", "v1"}.name()); again != score {
		t.Errorf("the mark went from %q to %q", score, again)
	}

	s.kill()
	until(t, "the connections to be given up", func() bool {
		_, _, _ = one.Get(t.Context(), key)
		_, _, _ = two.Get(t.Context(), key)
		return !one.Connected() && !two.Connected()
	})
	if err := one.Purge(t.Context(), "default/fraud", ""); !errors.Is(err, ErrAway) {
		t.Errorf("a purge without Redis: %v", err)
	}
	s.start()
	until(t, "the purge to be told", func() bool {
		one.mu.Lock()
		defer one.mu.Unlock()
		return len(one.pending) == 0
	})
	put()
	until(t, "the other replica to ask again", func() bool { _, _, err := two.Get(t.Context(), key); return err == nil })
	if has(two) {
		t.Error("the other replica has not heard of the purge")
	}
}

func TestRedisPassword(t *testing.T) {
	s := startRedis(t, "--requirepass", "right")
	path := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("wrong\n")
	links := make(chan error, 100)
	opt := patient(s.url())
	opt.PasswordFile, opt.OnLink = path, func(err error) { links <- err }
	r, err := NewRedis(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	if err := <-links; err == nil || strings.Contains(err.Error(), "wrong\n") {
		t.Errorf("with a wrong password: %v", err)
	}
	write("right\n")
	until(t, "the store to connect", r.Connected)
	if _, _, err := r.Get(t.Context(), keyOf("v1", "a")); err != nil {
		t.Error(err)
	}
}

// TestRedisCloseWhileConnecting has a peer that accepts and says nothing.
func TestRedisCloseWhileConnecting(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	r, err := NewRedis(patient("redis://" + l.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	r.Close()
	if err := r.Set(t.Context(), keyOf("v1", "a"), entryOf("x"), time.Minute); !errors.Is(err, ErrClosed) {
		t.Errorf("set after Close: %v", err)
	}
	if _, _, err := r.Get(t.Context(), keyOf("v1", "a")); !errors.Is(err, ErrAway) {
		t.Errorf("get after Close: %v", err)
	}
}

func TestRedisURL(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:6379", "http://h", "redis://h:6379/x", "redis://user:secret@h:6379/x", "redis://h?addr=other:1"} {
		r, err := NewRedis(RedisOptions{URL: url})
		if err == nil {
			r.Close()
			t.Errorf("%q was accepted", url)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestRedisOwnBreaker(t *testing.T) {
	s := startRedis(t)
	var changes atomic.Int64
	opt := brisk(s.url())
	opt.Breaker = policy.Breaker{Failures: 2, Recovery: policy.Duration(time.Hour), HalfOpenRequests: 1}
	opt.OnChange = func(breaker.Change) { changes.Add(1) }
	r := connectRedis(t, opt, nil)
	r.Breaker().ForceOpen()
	asked := r.Stats().Asked
	if _, _, err := r.Get(t.Context(), keyOf("v1", "a")); !errors.Is(err, ErrAway) || r.Stats().Asked != asked {
		t.Errorf("asked by hand's order not to: %v", err)
	}
	r.Breaker().ForceClosed()
	if changes.Load() != 2 {
		t.Errorf("told of %d changes", changes.Load())
	}
}
