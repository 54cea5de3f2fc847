package telemetry

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Bulkheads lets every concurrency limit be read at each scrape: each calls
// emit once for a limit, with the requests inside it now and those refused
// since it was made. Call it once.
func (m *Metrics) Bulkheads(each func(emit func(name string, inFlight int, refused uint64))) {
	m.registry.MustRegister(&bulkheadCollector{each: each, max: m.caps.Names,
		inFlight: prometheus.NewDesc(bulkheadInFlight.Name, bulkheadInFlight.Help, bulkheadInFlight.Labels, nil),
		rejected: prometheus.NewDesc(bulkheadRejected.Name, bulkheadRejected.Help, bulkheadRejected.Labels, nil)})
}

type bulkheadCollector struct {
	each               func(func(string, int, uint64))
	max                int
	inFlight, rejected *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *bulkheadCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.inFlight
	out <- c.rejected
}

// Collect implements prometheus.Collector.
func (c *bulkheadCollector) Collect(out chan<- prometheus.Metric) {
	n := 0
	c.each(func(name string, inFlight int, refused uint64) {
		if n++; n > c.max {
			return
		}
		name = strings.ToValidUTF8(name, "?")
		out <- prometheus.MustNewConstMetric(c.inFlight, prometheus.GaugeValue, float64(inFlight), name)
		out <- prometheus.MustNewConstMetric(c.rejected, prometheus.CounterValue, float64(refused), name)
	})
}
