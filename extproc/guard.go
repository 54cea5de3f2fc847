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
	version      breaker.Permit
	dependencies []dependencyPermit
	bulkhead     *bulkhead.Bulkhead
	held         bool
}

type dependencyPermit struct {
	name   string
	permit breaker.Permit
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
	e.permits.ignore()
	return f
}

func (e *exchange) takePermits() verdict.Finding {
	p := &e.permits
	if b := e.version.breaker; b != nil {
		permit, ok := b.Allow()
		if !ok {
			return verdict.Finding{Code: verdict.BreakerOpen, Detail: e.version.Model + "/" + e.version.Name}
		}
		p.version, p.held = permit, true
	}
	for i := range e.route.dependencies {
		d := &e.route.dependencies[i]
		permit, ok := d.breaker.Allow()
		if !ok {
			return verdict.Finding{Code: verdict.BreakerOpen, Detail: d.name, Dependency: d.name}
		}
		p.dependencies = append(p.dependencies, dependencyPermit{d.name, permit})
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
func (p *permits) succeed(took time.Duration) { p.settle(breaker.Success, "", took) }

// fail settles the permits of an answer that failed. Where the policy names
// the dependency that made it fail, the failure is the dependency's and not
// the version's.
func (p *permits) fail(f verdict.Finding, took time.Duration) {
	p.settle(breaker.Failure, f.Dependency, took)
}

// ignore settles the permits of a request that says nothing about the model.
func (p *permits) ignore() { p.settle(breaker.Ignored, "", 0) }

func (p *permits) settle(o breaker.Outcome, blamed string, took time.Duration) {
	if p.held {
		p.held = false
		own := o
		if blamed != "" {
			own = breaker.Ignored
		}
		p.version.Done(own, took)
	}
	for _, d := range p.dependencies {
		theirs := o
		if o == breaker.Failure && d.name != blamed {
			theirs = breaker.Ignored
		}
		d.permit.Done(theirs, took)
	}
	p.dependencies = p.dependencies[:0]
}

// release gives the place in the bulkhead back, at the end of the request.
func (p *permits) release() {
	p.ignore()
	if p.bulkhead != nil {
		p.bulkhead.Release()
		p.bulkhead = nil
	}
}
