package extproc

import (
	"strconv"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/bulkhead"
	"github.com/safestate/safestate/internal/verdict"
)

// permits are what an exchange holds while its model is asked: one of the
// version's breaker, one of each named dependency's, a place in the bulkhead.
// Each is settled exactly once.
type permits struct {
	breaker.Permits
	bulkhead *bulkhead.Bulkhead
}

// guard asks breakers and bulkhead whether the model may be asked. What it
// finds while the request is only observed is counted and changes nothing.
func (e *exchange) guard() verdict.Finding {
	f := e.takePermits()
	if broken := e.route.policy.Detect.Broken; !e.routed && !f.Found() && broken != nil && broken.Mode.Enforces() {
		f = verdict.Finding{Code: verdict.BrokenUnavailable, Detail: "no version has a weight"}
	}
	if !f.Found() {
		return f
	}
	f.Enforced = true
	e.countFinding(f)
	if !e.enforced {
		return verdict.Finding{}
	}
	e.permits.Ignore()
	return f
}

func (e *exchange) takePermits() verdict.Finding {
	p := &e.permits
	if dependency, ok := p.Take(e.version.breaker, e.route.dependencies); !ok {
		return verdict.OpenBreaker(e.version.Version, dependency)
	}
	if b := e.route.bulkhead; b != nil {
		if !b.TryAcquire() {
			return verdict.Finding{Code: verdict.BulkheadFull, Detail: strconv.Itoa(b.Limit())}
		}
		p.bulkhead = b
	}
	return verdict.Finding{}
}

// succeed settles the permits of an answer that was clean.
func (p *permits) succeed(took time.Duration) { p.Settle(breaker.Success, "", took) }

// fail settles the permits of an answer that failed. Where the policy names
// the dependency that made it fail, the failure is the dependency's and not
// the version's.
func (p *permits) fail(f verdict.Finding, took time.Duration) {
	p.Settle(breaker.Failure, f.Dependency, took)
}

// release gives the place in the bulkhead back, at the end of the request.
func (p *permits) release() {
	p.Ignore()
	if p.bulkhead != nil {
		p.bulkhead.Release()
		p.bulkhead = nil
	}
}
