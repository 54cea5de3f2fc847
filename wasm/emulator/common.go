package emulator

import "github.com/safestate/safestate/wasm/proxywasm/abi"

// common is what the workers of an Envoy share.
type common struct {
	metrics map[string]*metric
	data    map[string]shared
	cas     uint32
}

type metric struct {
	kind  abi.Metric
	value int64
}

type shared struct {
	value []byte
	cas   uint32
}

func newCommon() *common {
	return &common{metrics: map[string]*metric{}, data: map[string]shared{}}
}

func (c *common) share(key string, value []byte) {
	c.cas++
	c.data[key] = shared{value: append([]byte(nil), value...), cas: c.cas}
}

func (m *machine) GetSharedData(key string) ([]byte, uint32, abi.Status) {
	m.host.crossed["proxy_get_shared_data"]++
	d, ok := m.host.common.data[key]
	if !ok {
		return nil, 0, abi.NotFound
	}
	return append([]byte(nil), d.value...), d.cas, abi.OK
}

func (m *machine) SetSharedData(key string, value []byte, cas uint32) abi.Status {
	m.host.crossed["proxy_set_shared_data"]++
	if d, ok := m.host.common.data[key]; cas != 0 && ok && d.cas != cas {
		return abi.CasMismatch
	}
	m.host.common.share(key, value)
	return abi.OK
}

// DefineMetric gives a new id each time: a name is the metric, an id only the
// VM's word for it. The low bits of an id are the kind.
func (m *machine) DefineMetric(kind abi.Metric, name string) (uint32, abi.Status) {
	m.host.crossed["proxy_define_metric"]++
	if kind > abi.Histogram {
		return 0, abi.BadArgument
	}
	all := m.host.common.metrics
	if all[name] == nil {
		all[name] = &metric{kind: kind}
	}
	m.nextMetric[kind] += 4
	id := m.nextMetric[kind] | uint32(kind)
	m.metrics[id] = all[name]
	return id, abi.OK
}

func (m *machine) IncrementMetric(id uint32, offset int64) abi.Status {
	m.host.crossed["proxy_increment_metric"]++
	v := m.metrics[id]
	switch {
	case v == nil:
		return abi.NotFound
	case v.kind == abi.Histogram, v.kind == abi.Counter && offset <= 0:
		return abi.BadArgument
	}
	v.value += offset
	return abi.OK
}

func (m *machine) RecordMetric(id uint32, sample uint64) abi.Status {
	m.host.crossed["proxy_record_metric"]++
	v := m.metrics[id]
	switch {
	case v == nil:
		return abi.NotFound
	case v.kind == abi.Gauge:
		v.value = int64(sample)
	default:
		v.value += int64(sample)
	}
	return abi.OK
}

func (m *machine) GetMetric(id uint32) (uint64, abi.Status) {
	m.host.crossed["proxy_get_metric"]++
	v := m.metrics[id]
	switch {
	case v == nil:
		return 0, abi.NotFound
	case v.kind == abi.Histogram:
		return 0, abi.BadArgument
	}
	return uint64(v.value), abi.OK
}
