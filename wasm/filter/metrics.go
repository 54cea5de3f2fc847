package filter

import "github.com/safestate/safestate/wasm/proxywasm"

// metrics are the worker's counters. Counting touches memory only; what was counted
// goes to Envoy with the next tick, so that a request costs no host call for it. A
// VM that is lost takes up to a tick's counts with it.
type metrics struct {
	all   map[string]*counter
	dirty []*counter
}

// label is one label of a metric. The bootstrap that safestate renders takes labels
// out of names again.
type label struct{ name, value string }

// counter is one series.
type counter struct {
	metrics *metrics
	name    string
	defined bool
	id      proxywasm.MetricCounter
	pending uint64
	refused bool // by the host: it is not counted
}

// counter returns the series of a name and labels; the same each time.
//
//go:noinline // at twelve places it is 20 KB of the module
func (m *metrics) counter(name string, labels ...label) *counter {
	text := name
	for _, l := range labels {
		text += ";." + l.name + "=." + l.value + ";."
	}
	if c, ok := m.all[text]; ok {
		return c
	}
	if m.all == nil {
		m.all = map[string]*counter{}
	}
	c := &counter{metrics: m, name: text}
	m.all[text] = c
	return c
}

func (c *counter) add(n uint64) {
	if c.pending == 0 {
		c.metrics.dirty = append(c.metrics.dirty, c)
	}
	c.pending += n
}

// flush tells Envoy what has been counted.
func (m *metrics) flush() {
	for _, c := range m.dirty {
		c.flush()
	}
	m.dirty = m.dirty[:0]
}

func (c *counter) flush() {
	defer func() {
		if p := recover(); p != nil { // as the SDK has it
			c.refused = true
			proxywasm.LogError("safestate: the host takes no counter " + c.name)
		}
	}()
	n := c.pending
	c.pending = 0
	if c.refused {
		return
	}
	if !c.defined {
		c.id, c.defined = proxywasm.DefineCounterMetric(c.name), true
	}
	c.id.Increment(n)
}
