package telemetry

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// Values of the label source: what stands in x-safestate-source, refused for
// the 503 past a fallback budget, and cut for a stream that failed after its
// first content and was ended with an error event.
const (
	SourcePrimary     = "primary"
	SourceCache       = "cache"
	SourceFallback    = "fallback"
	SourceRules       = "rules"
	SourceSafeDefault = "safe_default"
	SourceRefused     = "refused"
	SourceCut         = "cut"
)

var sources = [...]string{SourcePrimary, SourceCache, SourceFallback, SourceRules, SourceSafeDefault, SourceRefused, SourceCut}

const (
	sourceCount   = len(sources)
	detectorSlots = 16 // at least len(verdict.Detectors)
)

// RouteMetrics counts for one policy. Its counters are looked up once and kept,
// so that counting an answer takes two array reads and an atomic add. Two
// RouteMetrics of the same route share their counters.
type RouteMetrics struct {
	metrics  *Metrics
	route    string
	admitted *labels // the route's model versions

	causes   [causeCount]prometheus.Counter
	rejected prometheus.Counter
	first    prometheus.Counter
	refuse   prometheus.Counter
	answer   prometheus.Counter
	took     [sourceCount]atomic.Pointer[prometheus.Observer]

	mu       sync.Mutex // held to add to versions
	versions atomic.Pointer[[]*versionCounters]
}

// versionCounters are the counters of one model version on one route, each
// made when it is first needed.
type versionCounters struct {
	model, version     string // as asked for
	modelLabel, vLabel string // as counted
	served             [sourceCount]atomic.Pointer[prometheus.Counter]
	found              [detectorSlots][2]atomic.Pointer[prometheus.Counter] // by detector, by mode
}

// Route returns the metrics of a policy's route. The series that the policy can
// be expected to touch start at 0.
func (m *Metrics) Route(p *policy.Policy) *RouteMetrics {
	route := m.routes.admit(p.Route)
	r := &RouteMetrics{
		metrics:  m,
		route:    route,
		admitted: m.versionsOf(route),
		rejected: m.rejected.WithLabelValues(route),
		first:    m.cacheFirst.WithLabelValues(route),
		refuse:   m.overBudget.WithLabelValues(route, "refuse"),
		answer:   m.overBudget.WithLabelValues(route, "answer"),
	}
	for c := range causeCount {
		r.causes[c] = m.uninspected.WithLabelValues(route, c.String())
	}
	r.versions.Store(&[]*versionCounters{})
	r.expect(p)
	return r
}

// Label returns the value of the label route, which is "other" past the cap.
func (r *RouteMetrics) Label() string { return r.route }

// Served counts an answer that went to the caller. model (namespace/name) and
// version are what answered, empty for rules and defaults; source is one of
// the Source constants; took is the time since the request's headers.
func (r *RouteMetrics) Served(model, version, source string, took time.Duration) {
	s := sourceIndex(source)
	if s < 0 {
		return
	}
	v := r.of(model, version)
	c := v.served[s].Load()
	if c == nil {
		c = r.openServed(v, s)
	}
	(*c).Inc()
	h := r.took[s].Load()
	if h == nil {
		h = r.openTook(s)
	}
	(*h).Observe(took.Seconds())
}

// Detection counts a finding in an answer of model's version, or in a request
// for it; enforced tells whether it changed the answer.
func (r *RouteMetrics) Detection(model, version string, d verdict.Detector, enforced bool) {
	i := detectorIndex(d)
	if i < 0 {
		return
	}
	v := r.of(model, version)
	mode := 0
	if enforced {
		mode = 1
	}
	c := v.found[i][mode].Load()
	if c == nil {
		c = r.openFound(v, i, mode)
	}
	(*c).Inc()
}

// Tokens counts the tokens that a model says an answer took. wasted: the answer
// failed and nobody got it whole.
func (r *RouteMetrics) Tokens(model, version string, prompt, completion int64, wasted bool) {
	v := r.of(model, version)
	outcome := "served"
	if wasted {
		outcome = "wasted"
	}
	for kind, n := range map[string]int64{"prompt": prompt, "completion": completion} {
		if n > 0 {
			r.metrics.tokens.WithLabelValues(r.route, v.modelLabel, v.vLabel, kind, outcome).Add(float64(n))
		}
	}
}

// Uninspected counts a request without a verdict.
func (r *RouteMetrics) Uninspected(c Cause) {
	if c >= 0 && c < causeCount {
		r.causes[c].Inc()
	}
}

// Rejected counts a request that was answered 400.
func (r *RouteMetrics) Rejected() { r.rejected.Inc() }

// CacheFirst counts an answer of a cache that was asked before the model, next
// to Served with SourceCache: such an answer is no failure.
func (r *RouteMetrics) CacheFirst() { r.first.Inc() }

// BudgetExhausted counts a failed answer past the fallback budget: refused
// with a 503, or answered all the same.
func (r *RouteMetrics) BudgetExhausted(refused bool) {
	if refused {
		r.refuse.Inc()
		return
	}
	r.answer.Inc()
}

// of returns a version's counters. A route has few, so a scan is quicker than
// a map.
func (r *RouteMetrics) of(model, version string) *versionCounters {
	for _, v := range *r.versions.Load() {
		if v.version == version && v.model == model {
			return v
		}
	}
	return r.add(model, version)
}

func (r *RouteMetrics) add(model, version string) *versionCounters {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.versions.Load()
	for _, v := range old {
		if v.version == version && v.model == model {
			return v
		}
	}
	v := &versionCounters{model: model, version: version}
	v.modelLabel, v.vLabel = clean(model), clean(version)
	if model != "" || version != "" {
		if r.admitted.admit(model+"\x00"+version) == other {
			// Past the cap all versions share one entry, which is kept under
			// the names "other": the scan stays short whatever is asked for.
			v.model, v.version = other, other
			v.modelLabel, v.vLabel = other, other
			for _, o := range old {
				if o.model == other && o.version == other {
					return o
				}
			}
		}
	}
	grown := append(append(make([]*versionCounters, 0, len(old)+1), old...), v)
	r.versions.Store(&grown)
	return v
}

func (r *RouteMetrics) openServed(v *versionCounters, s int) *prometheus.Counter {
	c := r.metrics.served.WithLabelValues(r.route, v.modelLabel, v.vLabel, sources[s])
	v.served[s].Store(&c)
	return &c
}

func (r *RouteMetrics) openTook(s int) *prometheus.Observer {
	h := r.metrics.answers.WithLabelValues(r.route, sources[s])
	r.took[s].Store(&h)
	return &h
}

func (r *RouteMetrics) openFound(v *versionCounters, detector, mode int) *prometheus.Counter {
	label := policy.Observe
	if mode == 1 {
		label = policy.Enforce
	}
	c := r.metrics.detections.WithLabelValues(r.route, v.modelLabel, v.vLabel, string(verdict.Detectors[detector]), string(label))
	v.found[detector][mode].Store(&c)
	return &c
}

func (m *Metrics) versionsOf(route string) *labels {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.versions[route]
	if !ok {
		l = newLabels(m.caps.Versions)
		m.versions[route] = l
	}
	return l
}

func sourceIndex(source string) int {
	switch source {
	case SourcePrimary:
		return 0
	case SourceCache:
		return 1
	case SourceFallback:
		return 2
	case SourceRules:
		return 3
	case SourceSafeDefault:
		return 4
	case SourceRefused:
		return 5
	case SourceCut:
		return 6
	}
	return -1
}

func detectorIndex(d verdict.Detector) int {
	for i, name := range verdict.Detectors {
		if name == d && i < detectorSlots {
			return i
		}
	}
	return -1
}
