package bulkhead

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestPlaces(t *testing.T) {
	cases := []struct {
		name    string
		limit   int
		ops     string // a acquire, r release, digits resize
		last    bool   // what the last acquire said
		taken   int
		refused uint64
	}{
		{"free", 2, "aa", true, 2, 0},
		{"full", 2, "aaa", false, 2, 1},
		{"given back", 1, "aara", true, 1, 1},
		{"no limit", 0, "aaaaaaaaaa", true, 10, 0},
		{"a negative limit is none", -1, "aaa", true, 3, 0},
		{"a release too many", 1, "rraa", false, 1, 1},
		{"grown", 1, "aa2a", true, 2, 1},
		{"shrunk", 3, "aaa1ra", false, 2, 1},
		{"shrunk and drained", 3, "aaa1rrra", true, 1, 0},
		{"limit lifted", 1, "a0aaa", true, 4, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := New(c.limit)
			var last bool
			for _, op := range c.ops {
				switch op {
				case 'a':
					last = b.TryAcquire()
				case 'r':
					b.Release()
				default:
					b.Resize(int(op - '0'))
				}
			}
			if last != c.last || b.InFlight() != c.taken || b.Refused() != c.refused {
				t.Errorf("last %v, in flight %d, refused %d; want %v, %d, %d", last, b.InFlight(), b.Refused(), c.last, c.taken, c.refused)
			}
		})
	}
}

func TestNeverOverTheLimit(t *testing.T) {
	const limit = 3
	b := New(limit)
	var inside, most atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 5000 {
				if !b.TryAcquire() {
					continue
				}
				n := inside.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				inside.Add(-1)
				b.Release()
			}
		})
	}
	wg.Wait()
	if most.Load() > limit || b.InFlight() != 0 {
		t.Errorf("%d at once with a limit of %d, %d left at the end", most.Load(), limit, b.InFlight())
	}
}

func TestSet(t *testing.T) {
	var s Set
	b := s.Get("fraud", 1)
	b.TryAcquire()
	if again := s.Get("fraud", 2); again != b || again.Limit() != 2 || again.InFlight() != 1 {
		t.Errorf("another limit gave %d places with %d taken", again.Limit(), again.InFlight())
	}
	seen := 0
	s.Each(func(string, *Bulkhead) { seen++ })
	if seen != 1 {
		t.Errorf("%d keys, want 1", seen)
	}
	s.Forget("fraud")
	if s.Get("fraud", 1) == b {
		t.Error("a forgotten key came back")
	}
}
