package breaker

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/internal/policy"
)

func fail(t *testing.T, b *Breaker, n int) {
	t.Helper()
	for range n {
		p, ok := b.Allow()
		if !ok {
			t.Fatalf("refused in state %s", b.State())
		}
		p.Done(Failure, 0)
	}
}

func TestBreakerOnTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []Change
		b := New(policy.Breaker{Ramp: dur(10 * time.Second)}, nil)
		b.OnChange(func(c Change) { changes = append(changes, c) })
		fail(t, b, 5)
		if _, ok := b.Allow(); ok || b.State() != Open {
			t.Fatalf("asked while %s", b.State())
		}
		time.Sleep(DefaultRecovery)
		for range 3 {
			p, ok := b.Allow()
			if !ok {
				t.Fatal("refused after the recovery time")
			}
			p.Done(Success, 0)
		}
		if s := b.Snapshot(); s.State != Closed || s.Share != leastShare {
			t.Fatalf("%s with share %v, want closed with %v", s.State, s.Share, leastShare)
		}
		time.Sleep(5 * time.Second)
		if s := b.Snapshot(); s.Share != 0.5 {
			t.Errorf("share %v half way up the ramp", s.Share)
		}
		time.Sleep(5 * time.Second)
		if _, ok := b.Allow(); !ok {
			t.Error("refused after the ramp")
		}
		if b.door.Load()&doorOpen == 0 {
			t.Error("the fast path stayed shut after the ramp")
		}
		var got []Cause
		for i, c := range changes {
			got = append(got, c.Cause)
			if c.Generation != uint64(i+2) {
				t.Errorf("change %d has generation %d", i, c.Generation)
			}
		}
		want := []Cause{CauseConsecutive, CauseRecoveryOver, CauseHalfOpenSucceed}
		if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
			t.Errorf("told %v, want %v", got, want)
		}
		if s := b.Snapshot(); s.Refused != 1 || s.FailureTotal != 5 {
			t.Errorf("refused %d, failures %d, want 1 and 5", s.Refused, s.FailureTotal)
		}
	})
}

func TestFastPathSuccessResetsARow(t *testing.T) {
	b := New(policy.Breaker{Failures: 2}, nil)
	for range 3 {
		fail(t, b, 1)
		p, _ := b.Allow()
		p.Done(Success, 0)
	}
	if b.State() != Closed {
		t.Error("failures with successes between them opened it")
	}
	fail(t, b, 2)
	if b.State() != Open {
		t.Error("two in a row did not")
	}
}

func TestManual(t *testing.T) {
	cfg := policy.Breaker{Failures: 2, HalfOpenRequests: 1, Recovery: dur(time.Minute)}
	t.Run("open", func(t *testing.T) {
		b := New(cfg, nil)
		before, _ := b.Allow()
		b.ForceOpen()
		if _, ok := b.Allow(); ok || b.State() != Open {
			t.Fatal("asked while forced open")
		}
		b.Auto()
		if b.State() != HalfOpen {
			t.Fatalf("back as %s, want half_open", b.State())
		}
		before.Done(Failure, 0)
		if b.State() != HalfOpen {
			t.Fatal("a result from before counted")
		}
		p, _ := b.Allow()
		p.Done(Success, 0)
		if b.State() != Closed {
			t.Error("a good half-open request did not close it")
		}
	})
	t.Run("closed", func(t *testing.T) {
		b := New(cfg, nil)
		fail(t, b, 2)
		b.ForceClosed()
		told := 0
		b.OnChange(func(Change) { told++ })
		fail(t, b, 10)
		if s := b.Snapshot(); s.State != Closed || s.FailureTotal != 2 || told != 0 {
			t.Fatalf("forced closed it is %s, has counted %d failures and told of %d changes", s.State, s.FailureTotal, told)
		}
		b.Auto()
		if s := b.Snapshot(); s.State != Closed || s.Failures != 0 {
			t.Errorf("back as %s with %d failures", s.State, s.Failures)
		}
		fail(t, b, 2)
		if b.State() != Open {
			t.Error("does not open by itself any more")
		}
	})
	t.Run("observe", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := New(cfg, nil)
			b.ObserveOnly()
			fail(t, b, 5)
			s := b.Snapshot()
			if s.State != Open || s.WouldRefuse != 3 || s.Refused != 0 {
				t.Fatalf("%s, would have refused %d, refused %d; want open, 3, 0", s.State, s.WouldRefuse, s.Refused)
			}
			time.Sleep(time.Minute)
			p, ok := b.Allow()
			p.Done(Success, 0)
			if !ok || b.State() != Closed {
				t.Errorf("after recovery and a success: %s", b.State())
			}
		})
	})
	t.Run("told", func(t *testing.T) {
		b := New(cfg, nil)
		var got []Change
		b.OnChange(func(c Change) { got = append(got, c) })
		b.ForceOpen()
		b.ForceOpen()
		b.Auto()
		if len(got) != 2 || got[0].To != Open || got[1].To != HalfOpen || got[0].Cause != CauseManual {
			t.Errorf("told %+v", got)
		}
	})
}

func TestZeroPermit(t *testing.T) {
	var p Permit
	p.Done(Failure, time.Second)
}

func TestSet(t *testing.T) {
	var told []string
	s := NewSet(nil, func(key string, c Change) { told = append(told, key+" "+c.To.String()) })
	b := s.Get("fraud/v1", policy.Breaker{Failures: 1})
	if b != s.Get("fraud/v1", policy.Breaker{Failures: 1}) || b == s.Get("fraud/v2", policy.Breaker{}) {
		t.Fatal("a key does not name one breaker")
	}
	fail(t, b, 1)
	if again := s.Get("fraud/v1", policy.Breaker{Failures: 7}); again.State() != Open {
		t.Error("another threshold lost the state")
	}
	if b.m.rules.failures != 7 {
		t.Error("the new threshold was not applied")
	}
	if len(told) != 1 || told[0] != "fraud/v1 open" {
		t.Errorf("told %v", told)
	}
	seen := map[string]State{}
	s.Each(func(key string, snap Snapshot) { seen[key] = snap.State })
	if len(seen) != 2 || seen["fraud/v1"] != Open {
		t.Errorf("seen %v", seen)
	}
	if _, ok := s.Lookup("nobody"); ok {
		t.Error("Lookup made a breaker")
	}
	s.Forget("fraud/v1")
	if s.Get("fraud/v1", policy.Breaker{}).State() != Closed {
		t.Error("a forgotten key kept its state")
	}
}

// TestConcurrent has many callers of a thing that breaks and heals, and looks
// that no more half-open requests run at once than may.
func TestConcurrent(t *testing.T) {
	var clock atomic.Int64
	now := func() time.Time { return epoch.Add(time.Duration(clock.Load())) }
	b := New(policy.Breaker{Failures: 3, HalfOpenRequests: 2, Recovery: dur(time.Millisecond), Ramp: dur(time.Millisecond)}, now)
	var opened, closed atomic.Int64
	b.OnChange(func(c Change) {
		switch c.To {
		case Open:
			opened.Add(1)
		case Closed:
			closed.Add(1)
		case HalfOpen:
		}
	})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 20_000 {
				clock.Add(int64(time.Microsecond))
				p, ok := b.Allow()
				if !ok {
					continue
				}
				if slots := func() int { b.mu.Lock(); defer b.mu.Unlock(); return len(b.m.slots) }(); slots > 2 {
					t.Errorf("%d half-open requests at once", slots)
				}
				switch {
				case (i+worker)%97 == 0:
					// never finished
				case i/1000%2 == 0:
					p.Done(Success, 0)
				default:
					p.Done(Failure, 0)
				}
			}
		})
	}
	wg.Wait()
	if opened.Load() == 0 || closed.Load() == 0 {
		t.Errorf("opened %d times, closed %d times: the test looked at nothing", opened.Load(), closed.Load())
	}
}

func BenchmarkClosed(b *testing.B) {
	for name, cfg := range map[string]policy.Breaker{
		"consecutive": {},
		"count":       {FailurePercent: 50},
		"time":        {FailurePercent: 50, Window: dur(10 * time.Second)},
	} {
		b.Run(name, func(b *testing.B) {
			br := New(cfg, nil)
			b.ReportAllocs()
			for b.Loop() {
				p, _ := br.Allow()
				p.Done(Success, time.Millisecond)
			}
		})
	}
}

func TestAPolicyHoldsABreakerByHand(t *testing.T) {
	set := NewSet(time.Now, nil)
	cfg := policy.Breaker{Failures: 1, Recovery: policy.Duration(time.Hour), HalfOpenRequests: 1}
	asked := func(hold policy.Hold) bool {
		cfg.Hold = hold
		permit, ok := set.Get("k", cfg).Allow()
		permit.Done(Ignored, 0)
		return ok
	}
	if asked(policy.HoldOpen) {
		t.Error("held open, and asked")
	}
	permit, _ := set.Get("k", func() policy.Breaker { cfg.Hold = policy.HoldClosed; return cfg }()).Allow()
	permit.Done(Failure, 0)
	if !asked(policy.HoldClosed) {
		t.Error("held closed, and a failure opened it")
	}
	if !asked(policy.HoldNone) {
		t.Error("let go of, and not asked")
	}
}
