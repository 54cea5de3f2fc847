package budget

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/policy"
)

var epoch = time.Unix(1_700_000_000, 0)

func dur(d time.Duration) policy.Duration { return policy.Duration(d) }

func TestSpend(t *testing.T) {
	twenty := policy.Budget{FallbackPercent: 20, Window: dur(time.Minute), MinRequests: 10}
	refuse := twenty
	refuse.Refuse = true
	cases := []struct {
		name      string
		cfg       policy.Budget
		ops       string // p the model answered, f the ladder is asked
		within    string // for each f: y or n
		fallbacks int64
	}{
		{"under the minimum", twenty, "fffffffff", "yyyyyyyyy", 9},
		{"at the minimum", twenty, "fffffffff" + "f", "yyyyyyyyyn", 10},
		{"within", twenty, "ppppppppff", "yy", 2},
		{"just over", twenty, "pppppppffp" + "f", "yyn", 3},
		{"refused ones are not spent", refuse, "ppppppppff" + "fffff" + "f", "yy" + "nnnny" + "n", 3},
		{"answered ones are", twenty, "ppppppppff" + "fffff", "yy" + "nnnnn", 7},
		{"all of them", policy.Budget{FallbackPercent: 100}, "ffffffffffffffffffffffffff", "yyyyyyyyyyyyyyyyyyyyyyyyyy", 26},
		{"none of them", policy.Budget{FallbackPercent: 0, MinRequests: 1}, "pf", "n", 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := New(c.cfg)
			got := ""
			for _, op := range c.ops {
				switch {
				case op == 'p':
					b.Observe(epoch)
				case b.Spend(epoch):
					got += "y"
				default:
					got += "n"
				}
			}
			if got != c.within {
				t.Errorf("within: %s, want %s", got, c.within)
			}
			if s := b.Snapshot(epoch); s.Fallbacks != c.fallbacks || s.Requests != int64(len(c.ops)) {
				t.Errorf("%+v, want %d fallbacks of %d", s, c.fallbacks, len(c.ops))
			}
		})
	}
}

// TestWindow holds the ring to a plain list of times.
func TestWindow(t *testing.T) {
	const window, width = time.Second, time.Second / slices
	r := rand.New(rand.NewPCG(1, 2))
	b := New(policy.Budget{FallbackPercent: 50, Window: dur(window)})
	type event struct {
		slice    int64
		fallback bool
	}
	var log []event
	now := epoch
	for step := range 20_000 {
		now = now.Add(time.Duration(r.IntN(20)) * time.Millisecond)
		if r.IntN(500) == 0 {
			now = now.Add(time.Duration(r.IntN(3000)) * time.Millisecond)
		}
		f := r.IntN(2) == 0
		if f {
			b.Spend(now)
		} else {
			b.Observe(now)
		}
		at := now.UnixNano() / int64(width)
		log = append(log, event{at, f})
		var want Snapshot
		for i := len(log) - 1; i >= 0 && at-log[i].slice < slices; i-- {
			want.Requests++
			if log[i].fallback {
				want.Fallbacks++
			}
		}
		if got := b.Snapshot(now); got.Requests != want.Requests || got.Fallbacks != want.Fallbacks {
			t.Fatalf("step %d: %+v, want %+v", step, got, want)
		}
	}
}

func TestReconfigure(t *testing.T) {
	var s Set
	cfg := policy.Budget{FallbackPercent: 10, Window: dur(time.Minute), MinRequests: 2}
	b := s.Get("r", cfg)
	b.Observe(epoch)
	b.Spend(epoch)
	cfg.FallbackPercent = 90
	if s.Get("r", cfg) != b || b.Snapshot(epoch).Requests != 2 {
		t.Error("another share lost the counts")
	}
	if !b.Spend(epoch) {
		t.Error("the new share was not applied")
	}
	cfg.Window = dur(time.Hour)
	s.Get("r", cfg)
	if got := b.Snapshot(epoch).Requests; got != 0 {
		t.Errorf("another window kept %d requests", got)
	}
	s.Forget("r")
	if s.Get("r", cfg) == b {
		t.Error("a forgotten route came back")
	}
}

func TestTimeGoesBack(t *testing.T) {
	b := New(policy.Budget{FallbackPercent: 50})
	b.Observe(epoch.Add(time.Hour))
	b.Observe(epoch)
	if got := b.Snapshot(epoch).Requests; got != 2 {
		t.Errorf("%d requests, want 2", got)
	}
}

func TestConcurrent(t *testing.T) {
	b := New(policy.Budget{FallbackPercent: 50, Window: dur(time.Hour)})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				b.Spend(epoch)
				b.Observe(epoch)
			}
		})
	}
	wg.Wait()
	if s := b.Snapshot(epoch); s.Requests != 16_000 || s.Fallbacks != 8_000 {
		t.Errorf("%+v", s)
	}
}
