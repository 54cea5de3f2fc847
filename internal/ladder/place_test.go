package ladder

import (
	"testing"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/bulkhead"
	"github.com/safestate/safestate/internal/policy"
)

func TestAPlaceIsLeftOnce(t *testing.T) {
	h := bulkhead.New(2)
	b := breaker.New(policy.Breaker{Failures: 2, Recovery: policy.Duration(time.Hour), HalfOpenRequests: 1}, nil)
	one, _ := enter(b, h)
	two, ok := enter(b, h)
	if _, third := enter(b, h); !ok || third || h.InFlight() != 2 {
		t.Fatalf("%d places taken", h.InFlight())
	}
	for range 3 {
		one.leave(breaker.Failure, 0)
	}
	if h.InFlight() != 1 || b.State() != breaker.Closed {
		t.Errorf("left three times: %d places taken, the breaker is %v", h.InFlight(), b.State())
	}
	two.leave(breaker.Failure, 0)
	if _, ok := enter(b, h); ok || h.InFlight() != 0 || b.State() != breaker.Open {
		t.Errorf("an open breaker: %v, %d places taken", ok, h.InFlight())
	}
	free, ok := enter(nil, nil)
	if !ok {
		t.Fatal("nothing bounds it")
	}
	free.leave(breaker.Success, 0)
}
