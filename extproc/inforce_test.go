package extproc

import (
	"testing"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/ladder"
	"github.com/safestate/safestate/internal/policy"
)

// TestARevertedPolicyHasItsOwnSettings: breakers outlive policies, and have the settings
// of the one that requests come with.
func TestARevertedPolicyHasItsOwnSettings(t *testing.T) {
	p := newProxy(t)
	before := fraud(func(p *policy.Policy) {
		p.Breaker = &policy.Breaker{Failures: 5, Recovery: policy.Duration(time.Minute), HalfOpenRequests: 1}
	})
	between := fraud(func(p *policy.Policy) {
		p.Breaker = &policy.Breaker{Failures: 5, Recovery: policy.Duration(time.Minute), HalfOpenRequests: 1, Hold: policy.HoldOpen}
	})
	comes := func(pol *policy.Policy) breaker.Manual {
		t.Helper()
		text, err := pol.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		r, err := p.server.routes.get(&carried{policy: string(text), route: pol.Route})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range r.versions {
			b, ok := p.server.routes.state.Breakers.Lookup(ladder.BreakerKeyVersion(v.Model, v.Name))
			if !ok || b != v.breaker {
				t.Fatal("the version has another breaker")
			}
			return b.Manual()
		}
		t.Fatal("no versions")
		return 0
	}
	for i, c := range []struct {
		pol  *policy.Policy
		want breaker.Manual
	}{{before, breaker.Automatic}, {between, breaker.ForcedOpen}, {before, breaker.Automatic}, {between, breaker.ForcedOpen}} {
		if got := comes(c.pol); got != c.want {
			t.Errorf("policy %d: the breaker is %s, want %s", i, got, c.want)
		}
	}
}
