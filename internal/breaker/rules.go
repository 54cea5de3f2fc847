package breaker

import (
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/time"
)

// Defaults of the fields of policy.Breaker that are 0.
const (
	DefaultFailures         = 5 // only where no rule at all is set
	DefaultRecovery         = 30 * time.Second
	DefaultHalfOpenRequests = 3
	DefaultMinRequests      = 10
	DefaultWindowRequests   = 100 // only where a rate has neither kind of window
)

// maxWindowRequests bounds the memory of a count window: a byte a request.
const maxWindowRequests = 100_000

// rules is a policy.Breaker with its defaults filled in. It is immutable.
type rules struct {
	failures         int // in a row; 0: not used
	recovery         time.Duration
	halfOpenRequests int
	ramp             time.Duration // 0: none

	window      windowShape
	minRequests int
	failurePct  float64 // 0: not used
	slowCall    time.Duration
	slowPct     float64 // 0: not used
}

// windowShape is the kind and length of a rate window: over requests or over
// time, and neither where no rate is used.
type windowShape struct {
	requests int
	time     time.Duration
}

// windowed reports whether results have to be kept for a rate.
func (r *rules) windowed() bool { return r.failurePct > 0 || r.slowPct > 0 }

// rulesOf fills in defaults and drops what makes no sense: a percentage under
// 0 or NaN is not used, a slow-call rate without a slow-call time neither. A
// length of time wins over a length in requests.
func rulesOf(cfg policy.Breaker) rules {
	r := rules{
		failures:         max(cfg.Failures, 0),
		recovery:         positive(cfg.Recovery.D(), DefaultRecovery),
		halfOpenRequests: positive(cfg.HalfOpenRequests, DefaultHalfOpenRequests),
		ramp:             max(cfg.Ramp.D(), 0),
		minRequests:      positive(cfg.MinRequests, DefaultMinRequests),
		slowCall:         cfg.SlowCall.D(),
	}
	if cfg.FailurePercent > 0 {
		r.failurePct = cfg.FailurePercent
	}
	if cfg.SlowCallPercent > 0 && cfg.SlowCall > 0 {
		r.slowPct = cfg.SlowCallPercent
	}
	if r.failures == 0 && !r.windowed() {
		r.failures = DefaultFailures
	}
	if !r.windowed() {
		return r
	}
	if cfg.Window > 0 {
		r.window.time = cfg.Window.D()
		return r
	}
	r.window.requests = min(positive(cfg.WindowRequests, DefaultWindowRequests), maxWindowRequests)
	r.minRequests = min(r.minRequests, r.window.requests)
	return r
}

func positive[T int | time.Duration](v, otherwise T) T {
	if v > 0 {
		return v
	}
	return otherwise
}
