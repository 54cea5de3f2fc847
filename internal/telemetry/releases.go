package telemetry

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// ModelReleases is how one model stands, for a scrape.
type ModelReleases struct {
	Model      string         // namespace/name
	Generation uint64         // of its weights
	Weights    map[string]int // percent by version
	// Degraded: no version gets traffic. Stuck is why a person is needed, of a closed
	// set of words. Unproven: proxies that are expected to have the weights and have
	// not said so.
	Degraded bool
	Stuck    []string
	Unproven int
}

// Releases lets every model's releases be read at each scrape. Call it once.
func (m *Metrics) Releases(each func(emit func(ModelReleases))) {
	desc := func(d Metric) *prometheus.Desc { return prometheus.NewDesc(d.Name, d.Help, d.Labels, nil) }
	m.registry.MustRegister(&releaseCollector{
		each: each, max: m.caps.Names, weight: desc(releaseWeight), generation: desc(releaseGeneration),
		degraded: desc(releaseDegraded), stuck: desc(releaseStuck), unproven: desc(releaseUnproven),
	})
}

type releaseCollector struct {
	each                                          func(func(ModelReleases))
	max                                           int
	weight, generation, degraded, stuck, unproven *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *releaseCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.weight, c.generation, c.degraded, c.stuck, c.unproven} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *releaseCollector) Collect(out chan<- prometheus.Metric) {
	n := 0
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	flag := func(on bool) float64 {
		if on {
			return 1
		}
		return 0
	}
	c.each(func(r ModelReleases) {
		if n += 1 + len(r.Weights); n > c.max {
			return
		}
		model := strings.ToValidUTF8(r.Model, "?")
		for version, weight := range r.Weights {
			gauge(c.weight, float64(weight), model, strings.ToValidUTF8(version, "?"))
		}
		gauge(c.generation, float64(r.Generation), model)
		gauge(c.degraded, flag(r.Degraded), model)
		for _, why := range r.Stuck {
			gauge(c.stuck, 1, model, why)
		}
		gauge(c.unproven, float64(r.Unproven), model)
	})
}

// ReleaseRecord counts a record of a model's history, by its kind.
func (m *Metrics) ReleaseRecord(model, kind string) {
	m.records.WithLabelValues(m.names.admit(clean(model)), clean(kind)).Inc()
}

// ReleaseModel makes the series that alerts watch: one that first appears at 1 has
// no increase.
func (m *Metrics) ReleaseModel(model string, kinds ...string) {
	for _, kind := range kinds {
		m.records.WithLabelValues(m.names.admit(clean(model)), clean(kind))
	}
}

// Leading says whether this replica decides releases.
func (m *Metrics) Leading(yes bool) {
	m.leading.Set(0)
	if yes {
		m.leading.Set(1)
	}
}

// XDSDenied counts a proxy that was turned away.
func (m *Metrics) XDSDenied() { m.denied.Inc() }
