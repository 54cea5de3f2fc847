package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Outcome is how a part's work ended; which part uses which is in the metric's
// help.
type Outcome string

// The outcomes. Answered, Missed, Failed and Skipped are a rung's.
const (
	OK      Outcome = "ok"
	Error   Outcome = "error"
	Skipped Outcome = "skipped"
	Dropped Outcome = "dropped"

	Hit   Outcome = "hit"
	Stale Outcome = "stale"
	Miss  Outcome = "miss"

	Answered Outcome = "answered"
	Missed   Outcome = "missed"
	Failed   Outcome = "failed"
)

// String returns the label value, which is "other" for a value outside the
// closed set.
func (o Outcome) String() string {
	switch o {
	case OK, Error, Skipped, Dropped, Hit, Stale, Miss, Answered, Missed, Failed:
		return string(o)
	}
	return other
}

// Rung records how one rung went: source is one of the Source constants,
// outcome one of answered, missed, failed and skipped.
func (m *Metrics) Rung(source string, outcome Outcome, took time.Duration) {
	if sourceIndex(source) < 0 {
		source = other
	}
	m.rungs.WithLabelValues(source, outcome.String()).Observe(took.Seconds())
}

// Stores of the cache.
const (
	StoreMemory = "memory"
	StoreRedis  = "redis"
)

// CacheLookup counts a lookup: Hit, Stale, Miss, Error or Skipped.
func (m *Metrics) CacheLookup(store string, o Outcome) {
	m.lookups.WithLabelValues(store, o.String()).Inc()
}

// CacheWrite counts an answer offered to the cache: OK, Error, Skipped or
// Dropped.
func (m *Metrics) CacheWrite(store string, o Outcome) {
	m.writes.WithLabelValues(store, o.String()).Inc()
}

// CacheSize lets the in-process cache be read at every scrape. Call it once.
func (m *Metrics) CacheSize(entries, bytes func() float64) {
	m.gaugeFunc(cacheEntries, entries)
	m.gaugeFunc(cacheBytes, bytes)
}

// BodiesInFlight lets the bytes of bodies held be read at every scrape. Call
// it once.
func (m *Metrics) BodiesInFlight(bytes func() float64) { m.gaugeFunc(bodiesBytes, bytes) }

func (m *Metrics) gaugeFunc(g Metric, f func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: g.Name, Help: g.Help}, f))
}

// Refresh counts an out-of-band refresh of a safe default: OK or Error.
func (m *Metrics) Refresh(o Outcome) { m.refreshes.WithLabelValues(o.String()).Inc() }

// ConfigApplied counts a load that now runs.
func (m *Metrics) ConfigApplied(at time.Time) {
	m.reloads.WithLabelValues(OK.String()).Inc()
	m.lastSuccess.Set(float64(at.UnixNano()) / 1e9)
	m.mistakes.Set(0)
}

// ConfigRejected counts a load that was refused for so many mistakes; the last
// good state stays.
func (m *Metrics) ConfigRejected(mistakes int) {
	m.reloads.WithLabelValues(Error.String()).Inc()
	m.mistakes.Set(float64(max(mistakes, 1)))
}

// XDSAck and XDSNack count what an Envoy said to a resource type, given as its
// type URL.
func (m *Metrics) XDSAck(typeURL string) { m.xds.WithLabelValues(resourceKind(typeURL), "ack").Inc() }

// XDSNack counts a refusal.
func (m *Metrics) XDSNack(typeURL string) {
	m.xds.WithLabelValues(resourceKind(typeURL), "nack").Inc()
}

// Proxies lets the number of subscribed Envoys be read at every scrape. Call it
// once.
func (m *Metrics) Proxies(count func() float64) { m.gaugeFunc(xdsProxies, count) }

func resourceKind(typeURL string) string {
	switch typeURL {
	case "type.googleapis.com/envoy.config.listener.v3.Listener":
		return "listener"
	case "type.googleapis.com/envoy.config.route.v3.RouteConfiguration":
		return "route"
	case "type.googleapis.com/envoy.config.cluster.v3.Cluster":
		return "cluster"
	case "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment":
		return "endpoint"
	}
	return other
}
