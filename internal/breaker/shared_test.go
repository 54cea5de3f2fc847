package breaker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/internal/policy"
)

func TestTrip(t *testing.T) {
	recovery := policy.Duration(10 * time.Second)
	for _, c := range []struct {
		name   string
		asked  time.Duration // of Trip
		lasts  time.Duration // that the breaker is open
		before func(*testing.T, *Breaker)
	}{
		{"for the recovery time", 0, 10 * time.Second, nil},
		{"for less", 3 * time.Second, 3 * time.Second, nil},
		{"never for longer than the recovery time", time.Hour, 10 * time.Second, nil},
		{"a negative time is none", -time.Second, 10 * time.Second, nil},
		{"on the ramp", 0, 10 * time.Second, func(t *testing.T, b *Breaker) {
			fail(t, b, 5)
			time.Sleep(10 * time.Second)
			p, _ := b.Allow()
			p.Done(Success, 0)
			if s := b.Snapshot(); s.State != Closed || s.Share >= 1 {
				t.Fatal("not on the ramp")
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var last Change
				b := New(policy.Breaker{Recovery: recovery, HalfOpenRequests: 1, Ramp: policy.Duration(time.Minute)}, nil)
				b.OnChange(func(c Change) { last = c })
				if c.before != nil {
					c.before(t, b)
				}
				if !b.Trip(c.asked) {
					t.Fatal("not opened")
				}
				if last.To != Open || last.Cause != CauseShared {
					t.Errorf("told %+v", last)
				}
				if b.Trip(c.asked) {
					t.Error("opened a second time")
				}
				time.Sleep(c.lasts - time.Nanosecond)
				if _, ok := b.Allow(); ok {
					t.Error("asked too early")
				}
				time.Sleep(time.Nanosecond)
				p, ok := b.Allow()
				if !ok || b.State() != HalfOpen {
					t.Fatalf("refused after %s, in state %s", c.lasts, b.State())
				}
				if b.Trip(0) {
					t.Error("a half-open breaker was opened by the others")
				}
				p.Done(Failure, 0)
				time.Sleep(10*time.Second - time.Nanosecond)
				if _, ok := b.Allow(); ok {
					t.Error("its own failure did not open it for the whole recovery time")
				}
			})
		})
	}
}

func TestTripLeavesWhatIsHeldByHand(t *testing.T) {
	b := New(policy.Breaker{}, nil)
	for _, hold := range []func(){b.ForceClosed, b.ForceOpen} {
		hold()
		held := b.State()
		if b.Trip(0) || b.State() != held {
			t.Errorf("held %s, and now %s", held, b.State())
		}
	}
	b = New(policy.Breaker{}, nil)
	b.ObserveOnly()
	if !b.Trip(0) || b.State() != Open {
		t.Error("an observed breaker did not note it")
	}
	if _, ok := b.Allow(); !ok || b.Snapshot().WouldRefuse != 1 {
		t.Error("an observed breaker refused, or did not count")
	}
}
