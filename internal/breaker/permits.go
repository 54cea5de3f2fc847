package breaker

import "github.com/safestate/safestate/internal/time"

// DependencyKey is the key of the breaker of a dependency that a model's policy
// names. model is namespace/name.
func DependencyKey(model, name string) string { return "dependency/" + model + "/" + name }

// Dependency is a named dependency with its breaker.
type Dependency struct {
	Name    string
	Breaker *Breaker
}

// Permits are what one request holds while its model is asked: one of the version's
// breaker, and one of each named dependency's. Each is settled exactly once. The zero
// value holds none. It is used by one goroutine.
type Permits struct {
	version      Permit
	held         bool
	dependencies []dependencyPermit
}

type dependencyPermit struct {
	name   string
	permit Permit
}

// Take asks the breakers whether the model may be asked. version may be nil: there is
// none. Where one refuses, blocked is the dependency's name, or empty for the version;
// what was taken before that is held.
func (p *Permits) Take(version *Breaker, dependencies []Dependency) (blocked string, ok bool) {
	if version != nil {
		permit, ok := version.Allow()
		if !ok {
			return "", false
		}
		p.version, p.held = permit, true
	}
	for i := range dependencies {
		d := &dependencies[i]
		permit, ok := d.Breaker.Allow()
		if !ok {
			return d.Name, false
		}
		p.dependencies = append(p.dependencies, dependencyPermit{d.Name, permit})
	}
	return "", true
}

// Settle settles what is held. Where blamed names the dependency that made an answer
// fail, the failure is the dependency's and not the version's.
func (p *Permits) Settle(o Outcome, blamed string, took time.Duration) {
	if p.held {
		p.held = false
		own := o
		if blamed != "" {
			own = Ignored
		}
		p.version.Done(own, took)
	}
	for _, d := range p.dependencies {
		theirs := o
		if o == Failure && d.name != blamed {
			theirs = Ignored
		}
		d.permit.Done(theirs, took)
	}
	p.dependencies = p.dependencies[:0]
}

// Ignore settles the permits of a request that says nothing about the model.
func (p *Permits) Ignore() { p.Settle(Ignored, "", 0) }

// Names of the states in which a breaker is not closed, as hosts report them.
const (
	ReportedOpen     = "open"
	ReportedHalfOpen = "half_open"
	ReportedRamp     = "ramp"
)

// Reported names the state that requests meet; empty: closed.
func (s Snapshot) Reported() string {
	switch {
	case s.State == Open:
		return ReportedOpen
	case s.State == HalfOpen:
		return ReportedHalfOpen
	case s.Share < 1:
		return ReportedRamp
	}
	return ""
}
