package cache

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/breaker"
)

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

// TestRedisNeverDialsForARequest uses a connection that is gone: the client
// inside must not make another in the request's time.
func TestRedisNeverDialsForARequest(t *testing.T) {
	s := startRedis(t)
	r := connectRedis(t, patient(s.url()), nil)
	l, err := r.dial() // one that nobody closes behind our back
	if err != nil {
		t.Fatal(err)
	}
	defer l.client.Close()
	if err := l.client.Do(t.Context(), l.client.B().Ping().Build()).Error(); err != nil {
		t.Fatal(err)
	}
	l.cut()
	for range 3 {
		if err := l.client.Do(t.Context(), l.client.B().Ping().Build()).Error(); err == nil {
			t.Fatal("it dialed again")
		}
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
