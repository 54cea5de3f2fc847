package telemetry

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/safestate/safestate/internal/breaker"
)

// BreakerState is where a breaker stands, as safestate_breaker_state has it.
type BreakerState int

// The states. The last three are set by a person.
const (
	BreakerClosed   BreakerState = iota
	BreakerRamping               // closed, and letting only a share through yet
	BreakerHalfOpen              // some requests find out whether the model is back
	BreakerOpen
	BreakerHeldClosed
	BreakerObserving // counts, and lets everything through
	BreakerHeldOpen
	breakerStateCount
)

var breakerStateNames = [breakerStateCount]string{
	"closed", "ramping", "half_open", "open", "held_closed", "observing", "held_open",
}

// String returns the value of the label to.
func (s BreakerState) String() string {
	if s < 0 || s >= breakerStateCount {
		return other
	}
	return breakerStateNames[s]
}

func stateOf(s breaker.State, m breaker.Manual, share float64) BreakerState {
	switch {
	case m == breaker.ForcedOpen:
		return BreakerHeldOpen
	case m == breaker.ForcedClosed:
		return BreakerHeldClosed
	case m == breaker.Observing:
		return BreakerObserving
	case s == breaker.Open:
		return BreakerOpen
	case s == breaker.HalfOpen:
		return BreakerHalfOpen
	case share < 1:
		return BreakerRamping
	}
	return BreakerClosed
}

// BreakerChanged counts a change of the breaker of a key; it fits
// breaker.NewSet. A key is a kind (version, rung or dependency), a slash and a
// name.
func (m *Metrics) BreakerChanged(key string, c breaker.Change) {
	kind, name := splitKey(key)
	m.transitions.WithLabelValues(m.names.admit(name), kind, stateOf(c.To, c.Manual, 1).String()).Inc()
}

// Breakers lets the state of every breaker of the set be read at each scrape,
// so that one that went away is gone from the metrics too. Call it once.
func (m *Metrics) Breakers(s *breaker.Set) {
	m.registry.MustRegister(&breakerCollector{set: s, max: m.caps.Names,
		desc: prometheus.NewDesc(breakerState.Name, breakerState.Help, breakerState.Labels, nil)})
}

type breakerCollector struct {
	set  *breaker.Set
	max  int
	desc *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *breakerCollector) Describe(out chan<- *prometheus.Desc) { out <- c.desc }

// Collect implements prometheus.Collector. Past the cap breakers that are not
// closed come first: one gauge cannot stand for several.
func (c *breakerCollector) Collect(out chan<- prometheus.Metric) {
	type row struct {
		kind, name string
		state      BreakerState
	}
	var closed, rest []row
	c.set.Each(func(key string, s breaker.Snapshot) {
		r := row{state: stateOf(s.State, s.Manual, s.Share)}
		r.kind, r.name = splitKey(key)
		if r.state == BreakerClosed {
			closed = append(closed, r)
			return
		}
		rest = append(rest, r)
	})
	for i, r := range append(rest, closed...) {
		if i >= c.max {
			return
		}
		out <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(r.state), r.name, r.kind)
	}
}

func splitKey(key string) (kind, name string) {
	key = strings.ToValidUTF8(key, "?")
	kind, name, _ = strings.Cut(key, "/")
	switch kind {
	case "version", "rung", "dependency":
		return kind, name
	}
	return other, key
}
