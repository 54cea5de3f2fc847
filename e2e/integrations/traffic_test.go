package integrations

import (
	"testing"
	"time"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/telemetry"
	"github.com/safestate/safestate/internal/verdict"
)

const (
	model     = "default/fraud"
	candidate = "canary-1"
	// long is for how long there is traffic before anybody asks: some windows.
	long = 5 * time.Minute
)

// processor is a real one's metrics.
type processor struct {
	metrics *telemetry.Metrics
	route   *telemetry.RouteMetrics
}

func newProcessor(mode policy.Mode) *processor {
	p := &processor{metrics: telemetry.NewMetrics("test", telemetry.Caps{})}
	p.route = p.metrics.Route(&policy.Policy{
		Route: model + "/score", Model: model, Mode: mode,
		Versions: map[string]policy.Version{"a": {Name: "primary"}, "b": {Name: "stable"}, "c": {Name: candidate}},
		Detect:   policy.Detect{NonFinite: &policy.NonFinite{Mode: policy.Enforce}},
		Breaker:  &policy.Breaker{},
		Ladder:   []policy.Rung{{SafeDefault: &policy.SafeDefault{}}},
	})
	return p
}

// clean counts answers of a version that were good, and took so long.
func (p *processor) clean(version string, n int, took time.Duration) {
	for range n {
		p.route.Served(model, version, telemetry.SourcePrimary, took)
	}
}

// failed counts requests for a version that the ladder answered.
func (p *processor) failed(version string, n int, by verdict.Detector) {
	for range n {
		p.route.Detection(model, version, by, true)
		p.route.Served("", "", telemetry.SourceSafeDefault, 10*time.Millisecond)
	}
}

// observed counts answers that a detector would have failed.
func (p *processor) observed(version string, n int, by verdict.Detector) {
	for range n {
		p.route.Detection(model, version, by, false)
		p.route.Served(model, version, telemetry.SourcePrimary, 10*time.Millisecond)
	}
}

// under has Prometheus see traffic: tick is called before each scrape, and says whose
// metrics are scraped, nil: nobody's.
func under(t testing.TB, tick func(i int) *processor) *prometheus {
	t.Helper()
	p := newPrometheus(t)
	for i := range int(long / every) {
		if target := tick(i); target != nil {
			p.scrape(t, target.metrics.Handler())
		}
		p.now = p.now.Add(every)
	}
	return p
}

// steady is traffic that is the same in each tick, at one processor.
func steady(mode policy.Mode, tick func(*processor)) func(int) *processor {
	p := newProcessor(mode)
	return func(i int) *processor {
		if i > 0 { // the first scrape has the series at 0
			tick(p)
		}
		return p
	}
}

// outcome is what is made of a value: passed, failed, or that there is none.
type outcome string

const (
	passed outcome = "passed"
	failed outcome = "failed"
	none   outcome = "none"
)

// traffics are what an analysis may find, and what has to come of it: of the share of
// bad answers, of the share that the ladder answered, and of the latency.
var traffics = map[string]struct {
	tick                                      func() func(int) *processor
	bad, ladder, latency                      outcome
	flaggerBad, flaggerLadder, flaggerLatency outcome // where Flagger, which has no minimum of answers, finds another
}{
	"well": {tick: func() func(int) *processor {
		return steady(policy.Enforce, func(p *processor) {
			p.clean("primary", 90, 20*time.Millisecond)
			p.clean(candidate, 10, 20*time.Millisecond)
		})
	}, bad: passed, ladder: passed, latency: passed},
	"a fifth of its answers bad": {tick: func() func(int) *processor {
		return steady(policy.Enforce, func(p *processor) {
			p.clean("primary", 90, 20*time.Millisecond)
			p.clean(candidate, 8, 20*time.Millisecond)
			p.failed(candidate, 2, verdict.NonFinite)
		})
	}, bad: failed, ladder: failed, latency: passed},
	"every answer bad, none of its own": {tick: func() func(int) *processor {
		return steady(policy.Enforce, func(p *processor) { p.failed(candidate, 10, verdict.Late) })
	}, bad: failed, ladder: failed, latency: none},
	"its breaker open": {tick: func() func(int) *processor {
		return steady(policy.Enforce, func(p *processor) {
			p.clean("primary", 90, 20*time.Millisecond)
			p.failed(candidate, 10, verdict.Guard)
		})
	}, bad: none, ladder: failed, latency: passed},
	"bad requests of callers": {tick: func() func(int) *processor {
		return steady(policy.Enforce, func(p *processor) {
			p.clean(candidate, 99, 20*time.Millisecond)
			p.failed(candidate, 3, verdict.Request)
		})
	}, bad: passed, ladder: passed, latency: passed},
	"the other version bad": {tick: func() func(int) *processor {
		return steady(policy.Enforce, func(p *processor) {
			p.failed("primary", 90, verdict.NonFinite)
			p.clean(candidate, 10, 20*time.Millisecond)
		})
	}, bad: passed, ladder: passed, latency: passed},
	"slow": {tick: func() func(int) *processor {
		return steady(policy.Enforce, func(p *processor) {
			p.clean("primary", 95, 20*time.Millisecond)
			p.clean(candidate, 5, 2*time.Second)
		})
	}, bad: passed, ladder: passed, latency: failed},
	"no request of it": {tick: func() func(int) *processor {
		return steady(policy.Enforce, func(p *processor) { p.clean("primary", 100, 20*time.Millisecond) })
	}, bad: none, ladder: none, latency: passed},
	"no request at all": {tick: func() func(int) *processor {
		return steady(policy.Enforce, func(*processor) {})
	}, bad: none, ladder: none, latency: none},
	"one answer, and that was bad": {tick: func() func(int) *processor {
		p := newProcessor(policy.Enforce)
		return func(i int) *processor {
			if i == int(long/every)-2 {
				p.failed(candidate, 1, verdict.NonFinite)
			}
			return p
		}
	}, bad: none, ladder: none, latency: none, flaggerBad: failed, flaggerLadder: failed, flaggerLatency: none},
	"three answers, and all were good": {tick: func() func(int) *processor {
		p := newProcessor(policy.Enforce)
		return func(i int) *processor {
			if i == int(long/every)-2 {
				p.clean(candidate, 3, 20*time.Millisecond)
			}
			return p
		}
	}, bad: none, ladder: none, latency: none, flaggerBad: passed, flaggerLadder: passed, flaggerLatency: none},
	"a policy that observes": {tick: func() func(int) *processor {
		return steady(policy.Observe, func(p *processor) {
			p.clean(candidate, 5, 20*time.Millisecond)
			p.observed(candidate, 5, verdict.NonFinite)
		})
	}, bad: none, ladder: none, latency: passed},
	"a processor that was restarted": {tick: func() func(int) *processor {
		var p *processor
		return func(i int) *processor {
			if i%4 == 0 {
				p = newProcessor(policy.Enforce)
			}
			p.clean(candidate, 8, 20*time.Millisecond)
			p.failed(candidate, 8, verdict.NonFinite)
			return p
		}
	}, bad: failed, ladder: failed, latency: passed},
	"nobody is scraped": {tick: func() func(int) *processor {
		return func(int) *processor { return nil }
	}, bad: none, ladder: none, latency: none},
	"nobody is scraped any more": {tick: func() func(int) *processor {
		p := newProcessor(policy.Enforce)
		return func(i int) *processor {
			p.clean(candidate, 8, 20*time.Millisecond)
			p.failed(candidate, 8, verdict.NonFinite)
			if i > int(long/every)/3 {
				return nil
			}
			return p
		}
	}, bad: none, ladder: none, latency: none},
}
