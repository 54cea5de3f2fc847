//go:build !race

// The race detector makes sync.Pool forget at random what it was given.

package detect

import (
	"testing"

	"github.com/safestate/safestate/internal/policy"
)

// Whole events pass as the bytes that were fed, and nothing is allocated.
func TestStreamPassesInPlace(t *testing.T) {
	p := chatPolicy(policy.Enforce)
	d := compiled(t, p)
	s := d.Stream(chatExchange(chatPath, `{"model":"m","stream":true,"logprobs":true}`))
	s.Feed([]byte(events(role, lp("a", "-0.1"))))
	b := []byte(events(lp("b", "-0.2"), lp("c", "-0.3")))
	b = append(b, ": comment\r\n\r\n"...)
	allocs := testing.AllocsPerRun(100, func() {
		if step := s.Feed(b); &step.Pass[0] != &b[0] || len(step.Pass) != len(b) || !step.Verdict.Clean() {
			t.Fatalf("%q %s", step.Pass, said(step.Verdict))
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	// Nor where every event is cut.
	cut := len(b) / 2
	allocs = testing.AllocsPerRun(100, func() {
		if a, z := s.Feed(b[:cut]), s.Feed(b[cut:]); len(a.Pass)+len(z.Pass) != len(b) || !z.Verdict.Clean() {
			t.Fatalf("%q %s", z.Pass, said(z.Verdict))
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations where events are cut", allocs)
	}
}
