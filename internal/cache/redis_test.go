package cache

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/policy"
)

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
