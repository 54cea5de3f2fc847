package proxywasm

import "github.com/safestate/safestate/wasm/proxywasm/abi"

// Metrics by the id that the host gave them. A metric of the same name is the
// same metric in all VMs.
type (
	// MetricCounter only grows.
	MetricCounter uint32
	// MetricGauge goes up and down.
	MetricGauge uint32
	// MetricHistogram takes samples.
	MetricHistogram uint32
)

// DefineCounterMetric makes a counter, and panics where the host refuses it.
func DefineCounterMetric(name string) MetricCounter { return MetricCounter(define(abi.Counter, name)) }

// DefineGaugeMetric makes a gauge, and panics where the host refuses it.
func DefineGaugeMetric(name string) MetricGauge { return MetricGauge(define(abi.Gauge, name)) }

// DefineHistogramMetric makes a histogram, and panics where the host refuses it.
func DefineHistogramMetric(name string) MetricHistogram {
	return MetricHistogram(define(abi.Histogram, name))
}

func define(kind abi.Metric, name string) uint32 {
	id, status := hostDefineMetric(kind, name)
	must("define metric "+name, status)
	return id
}

// Increment adds to the counter; 0 changes nothing.
func (m MetricCounter) Increment(offset uint64) {
	if offset != 0 { // which Envoy refuses
		must("increment a counter", hostIncrementMetric(uint32(m), int64(offset)))
	}
}

// Value reads the counter.
func (m MetricCounter) Value() uint64 { return value(uint32(m)) }

// Add adds to the gauge, or takes from it.
func (m MetricGauge) Add(offset int64) {
	must("add to a gauge", hostIncrementMetric(uint32(m), offset))
}

// Value reads the gauge.
func (m MetricGauge) Value() int64 { return int64(value(uint32(m))) }

// Record takes a sample.
func (m MetricHistogram) Record(sample uint64) {
	must("record a sample", hostRecordMetric(uint32(m), sample))
}

func value(id uint32) uint64 {
	v, status := hostGetMetric(id)
	must("read a metric", status)
	return v
}

func must(what string, status abi.Status) {
	if status != abi.OK {
		panic(what + ": " + failed(status).Error())
	}
}
