package telemetry

import (
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// expect opens the series that a policy will touch, at 0: a counter that first
// appears at 1 has no increase in Prometheus, and a rare failure is just what
// must not be missed.
func (r *RouteMetrics) expect(p *policy.Policy) {
	nobody := r.of("", "")
	for i := range p.Ladder {
		switch rung := &p.Ladder[i]; {
		case rung.Fallback != nil:
			fallback := r.of(rung.Fallback.Model, rung.Fallback.Version)
			r.openServed(fallback, sourceIndex(SourceFallback))
			if p.Stream != nil {
				r.openServed(fallback, sourceIndex(SourceCut))
			}
		case rung.Rules != nil:
			r.openServed(nobody, sourceIndex(SourceRules))
		case rung.SafeDefault != nil:
			r.openServed(nobody, sourceIndex(SourceSafeDefault))
		}
	}
	for _, v := range p.Versions {
		model := v.Model
		if model == "" {
			model = p.Model
		}
		c := r.of(model, v.Name)
		r.openServed(c, sourceIndex(SourcePrimary))
		if p.Stream != nil {
			r.openServed(c, sourceIndex(SourceCut))
		}
		for _, d := range p.Ladder {
			if d.Cache != nil {
				r.openServed(c, sourceIndex(SourceCache))
			}
		}
		for d, mode := range detectorModes(p) {
			i := detectorIndex(d)
			if i < 0 {
				continue
			}
			if mode.Enforces() && p.Mode.Enforces() {
				r.openFound(c, i, 1)
			}
			if !mode.Enforces() || !p.FullyEnforced() {
				r.openFound(c, i, 0)
			}
		}
	}
}

// detectorModes lists the detectors that are on; where one has entries of both
// modes the enforcing one stands.
func detectorModes(p *policy.Policy) map[verdict.Detector]policy.Mode {
	d := &p.Detect
	on := map[verdict.Detector]policy.Mode{}
	add := func(name verdict.Detector, mode policy.Mode) {
		if on[name] != policy.Enforce {
			on[name] = mode
		}
	}
	if d.NonFinite != nil {
		add(verdict.NonFinite, d.NonFinite.Mode)
	}
	if d.Broken != nil {
		add(verdict.Broken, d.Broken.Mode)
	}
	if d.Late != nil {
		add(verdict.Late, d.Late.Mode)
	}
	for i := range d.Confidence {
		add(verdict.Confidence, d.Confidence[i].Mode)
	}
	if d.Contract != nil {
		add(verdict.Contract, d.Contract.Mode)
	}
	if d.Constant != nil {
		add(verdict.Constant, d.Constant.Mode)
	}
	if c := d.Chat; c != nil {
		for _, mode := range []policy.Mode{c.Refusal, c.ContentFilter, c.Choices, c.Format} {
			if mode != "" {
				add(verdict.Chat, mode)
			}
		}
	}
	for i := range d.CEL {
		add(verdict.CEL, d.CEL[i].Mode)
	}
	for i := range d.Dependencies {
		mode := d.Dependencies[i].Mode
		if mode == "" {
			mode = policy.Enforce
		}
		add(verdict.Dependency, mode)
	}
	for i := range d.Request {
		add(verdict.Request, d.Request[i].Mode)
	}
	if p.Breaker != nil || p.MaxConcurrent > 0 || p.Budget != nil {
		add(verdict.Guard, policy.Enforce)
	}
	return on
}
