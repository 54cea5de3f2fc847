package telemetry

import (
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Caps bounds label values; a zero field takes the default.
type Caps struct {
	Routes   int // distinct routes; default 500
	Versions int // distinct model versions of one route, over the process's life; default 64
	Names    int // distinct breakers and bulkheads, each; default 2000
}

func (c Caps) withDefaults() Caps {
	if c.Routes <= 0 {
		c.Routes = 500
	}
	if c.Versions <= 0 {
		c.Versions = 64
	}
	if c.Names <= 0 {
		c.Names = 2000
	}
	return c
}

// Metrics holds every metric of one process, in a registry of its own.
type Metrics struct {
	registry *prometheus.Registry
	caps     Caps

	served       *prometheus.CounterVec
	detections   *prometheus.CounterVec
	uninspected  *prometheus.CounterVec
	rejected     *prometheus.CounterVec
	cacheFirst   *prometheus.CounterVec
	tokens       *prometheus.CounterVec
	answers      *prometheus.HistogramVec
	processor    prometheus.Observer
	messages     [phaseCount]prometheus.Counter
	streams      prometheus.Gauge
	rungs        *prometheus.HistogramVec
	transitions  *prometheus.CounterVec
	overBudget   *prometheus.CounterVec
	lookups      *prometheus.CounterVec
	writes       *prometheus.CounterVec
	refreshes    *prometheus.CounterVec
	reloads      *prometheus.CounterVec
	lastSuccess  prometheus.Gauge
	mistakes     prometheus.Gauge
	xds          *prometheus.CounterVec
	denied       prometheus.Counter
	unheard      prometheus.Counter
	refusals     [RefusalCount]prometheus.Counter
	notified     *prometheus.CounterVec
	records      *prometheus.CounterVec
	leading      prometheus.Gauge
	linesDropped prometheus.Counter
	traceErrors  prometheus.Counter

	routes  *labels
	names   *labels // of breakers
	unknown [causeCount]prometheus.Counter

	mu       sync.Mutex
	versions map[string]*labels // by route label
}

// NewMetrics makes the registry and everything in it. version is this build's,
// for safestate_build_info.
func NewMetrics(version string, caps Caps) *Metrics {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	caps = caps.withDefaults()
	m := &Metrics{
		registry:     r,
		caps:         caps,
		served:       counterVec(r, predictionServed),
		detections:   counterVec(r, detections),
		uninspected:  counterVec(r, uninspected),
		rejected:     counterVec(r, rejected),
		cacheFirst:   counterVec(r, cacheFirst),
		tokens:       counterVec(r, tokens),
		answers:      histogramVec(r, answerSeconds),
		processor:    histogramVec(r, processorSeconds).WithLabelValues(),
		streams:      gaugeVec(r, extprocStreams).WithLabelValues(),
		rungs:        histogramVec(r, rungSeconds),
		transitions:  counterVec(r, breakerTransitions),
		overBudget:   counterVec(r, budgetExhausted),
		lookups:      counterVec(r, cacheLookups),
		writes:       counterVec(r, cacheWrites),
		refreshes:    counterVec(r, refreshes),
		reloads:      counterVec(r, configReloads),
		lastSuccess:  gaugeVec(r, configLastSuccess).WithLabelValues(),
		mistakes:     gaugeVec(r, configErrors).WithLabelValues(),
		xds:          counterVec(r, xdsResponses),
		denied:       counterVec(r, xdsDenied).WithLabelValues(),
		unheard:      counterVec(r, reportsRefused).WithLabelValues(),
		notified:     counterVec(r, notifications),
		records:      counterVec(r, releaseRecords),
		leading:      gaugeVec(r, releaseLeading).WithLabelValues(),
		linesDropped: counterVec(r, logDropped).WithLabelValues(),
		traceErrors:  counterVec(r, traceExportFailures).WithLabelValues(),
		routes:       newLabels(caps.Routes),
		names:        newLabels(caps.Names),
		versions:     map[string]*labels{},
	}
	gaugeVec(r, buildInfo).WithLabelValues(version, runtime.Version()).Set(1)
	messages := counterVec(r, extprocMessages)
	for p := range phaseCount {
		m.messages[p] = messages.WithLabelValues(p.String())
	}
	refusals := counterVec(r, policiesRefused)
	for c := range RefusalCount {
		m.refusals[c] = refusals.WithLabelValues(c.String())
	}
	for c := range causeCount {
		m.unknown[c] = m.uninspected.WithLabelValues("", c.String())
	}
	// A series that first appears at 1 has no increase: alerts would miss the
	// first event.
	for _, outcome := range []Outcome{OK, Error} {
		m.reloads.WithLabelValues(outcome.String())
		m.refreshes.WithLabelValues(outcome.String())
	}
	for _, kind := range []string{"listener", "route", "cluster", "endpoint", other} {
		m.xds.WithLabelValues(kind, "ack")
		m.xds.WithLabelValues(kind, "nack")
	}
	return m
}

// Handler serves the metrics in Prometheus's formats.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// Registry is where a caller may add collectors of its own.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Message counts one message from Envoy.
func (m *Metrics) Message(p Phase) {
	if p >= 0 && p < phaseCount {
		m.messages[p].Inc()
	}
}

// StreamOpened and StreamClosed count the requests open at the processor.
func (m *Metrics) StreamOpened() { m.streams.Inc() }

// StreamClosed is the other half of StreamOpened.
func (m *Metrics) StreamClosed() { m.streams.Dec() }

// ProcessorTime records safestate's own time for one answer: what it spent on
// all messages, without waiting for the model or for a networked rung.
func (m *Metrics) ProcessorTime(d time.Duration) { m.processor.Observe(d.Seconds()) }

// Uninspected counts a request without a verdict whose route's metrics are not
// at hand. route is the label, or empty when it is not known.
func (m *Metrics) Uninspected(route string, c Cause) {
	if c < 0 || c >= causeCount {
		return
	}
	if route == "" {
		m.unknown[c].Inc()
		return
	}
	m.uninspected.WithLabelValues(m.routes.admit(route), c.String()).Inc()
}
