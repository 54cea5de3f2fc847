package emulator

import (
	"context"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/safestate/safestate/wasm/proxywasm/abi"
)

// memory is a module's, in a host call. A reference that is out of bounds makes
// it fail, and the host call with it.
type memory struct {
	ctx    context.Context
	module api.Module
	// allocate is looked up once: each look makes a stack of its own.
	allocate api.Function
	lie      func(data, size uint32) (uint32, uint32) // nil: hand tells the truth
	failed   bool
}

// read copies bytes.
func (m *memory) read(at, size uint64) []byte {
	b, ok := m.module.Memory().Read(uint32(at), uint32(size))
	m.failed = m.failed || !ok
	return append([]byte(nil), b...)
}

func (m *memory) text(at, size uint64) string { return string(m.read(at, size)) }

func (m *memory) number(at uint64, value uint32) {
	m.failed = m.failed || !m.module.Memory().WriteUint32Le(uint32(at), value)
}

// hand gives bytes to the module, in memory that the module allocates. No bytes
// are a null pointer.
func (m *memory) hand(b []byte, at, size uint64) {
	var data uint64
	if len(b) > 0 {
		stack := [1]uint64{uint64(len(b))}
		err := m.allocate.CallWithStack(m.ctx, stack[:])
		if data = stack[0]; err != nil || data == 0 || !m.module.Memory().Write(uint32(data), b) {
			m.failed = true
			return
		}
	}
	told, length := uint32(data), uint32(len(b))
	if m.lie != nil {
		told, length = m.lie(told, length)
	}
	m.number(at, told)
	m.number(size, length)
}

// hostCall is a host call: its arguments, and the machine that it is for.
type hostCall func(h *machine, m *memory, a []uint64) abi.Status

const i32, i64 = api.ValueTypeI32, api.ValueTypeI64

func words(n int) []api.ValueType {
	out := make([]api.ValueType, n)
	for i := range out {
		out[i] = i32
	}
	return out
}

// exportHost makes the host calls of the ABI that modules here use.
func exportHost(ctx context.Context, r wazero.Runtime) error {
	b := r.NewHostModuleBuilder("env")
	export := func(name string, params []api.ValueType, call hostCall) {
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(
			func(ctx context.Context, module api.Module, stack []uint64) {
				h, ok := ctx.Value(machineKey{}).(*machine)
				if !ok {
					stack[0] = uint64(abi.InternalFailure)
					return
				}
				if h.allocate == nil {
					h.allocate = module.ExportedFunction("proxy_on_memory_allocate")
				}
				m := &memory{ctx: ctx, module: module, allocate: h.allocate, lie: h.lie}
				status := call(h, m, stack)
				if m.failed {
					status = abi.InvalidMemoryAccess
				}
				stack[0] = uint64(status)
			}), params, words(1)).Export(name)
	}
	for _, c := range hostCalls {
		export(c.name, c.params, c.call)
	}
	_, err := b.Instantiate(ctx)
	return err
}

var hostCalls = []struct {
	name   string
	params []api.ValueType
	call   hostCall
}{
	{"proxy_log", words(3), func(h *machine, m *memory, a []uint64) abi.Status {
		h.Log(abi.Level(a[0]), m.text(a[1], a[2]))
		return abi.OK
	}},
	{"proxy_set_tick_period_milliseconds", words(1), func(h *machine, _ *memory, a []uint64) abi.Status {
		return h.SetTickPeriod(uint32(a[0]))
	}},
	{"proxy_set_effective_context", words(1), func(h *machine, _ *memory, a []uint64) abi.Status {
		return h.SetEffectiveContext(uint32(a[0]))
	}},
	{"proxy_continue_stream", words(1), func(h *machine, _ *memory, a []uint64) abi.Status {
		return h.ContinueStream(abi.Stream(a[0]))
	}},
	{"proxy_get_property", words(4), func(h *machine, m *memory, a []uint64) abi.Status {
		b, status := h.GetProperty(m.text(a[0], a[1]))
		return m.handIf(status, b, a[2], a[3])
	}},
	{"proxy_get_buffer_bytes", words(5), func(h *machine, m *memory, a []uint64) abi.Status {
		b, status := h.GetBuffer(abi.Buffer(a[0]), uint32(a[1]), uint32(a[2]))
		return m.handIf(status, b, a[3], a[4])
	}},
	{"proxy_set_buffer_bytes", words(5), func(h *machine, m *memory, a []uint64) abi.Status {
		return h.SetBuffer(abi.Buffer(a[0]), uint32(a[1]), uint32(a[2]), m.read(a[3], a[4]))
	}},
	{"proxy_get_header_map_pairs", words(3), func(h *machine, m *memory, a []uint64) abi.Status {
		b, status := h.GetPairs(abi.Map(a[0]))
		return m.handIf(status, b, a[1], a[2])
	}},
	{"proxy_set_header_map_pairs", words(3), func(h *machine, m *memory, a []uint64) abi.Status {
		return h.SetPairs(abi.Map(a[0]), m.read(a[1], a[2]))
	}},
	{"proxy_get_header_map_value", words(5), func(h *machine, m *memory, a []uint64) abi.Status {
		b, status := h.GetValue(abi.Map(a[0]), m.text(a[1], a[2]))
		return m.handIf(status, b, a[3], a[4])
	}},
	{"proxy_add_header_map_value", words(5), func(h *machine, m *memory, a []uint64) abi.Status {
		return h.AddValue(abi.Map(a[0]), m.text(a[1], a[2]), m.text(a[3], a[4]))
	}},
	{"proxy_replace_header_map_value", words(5), func(h *machine, m *memory, a []uint64) abi.Status {
		return h.ReplaceValue(abi.Map(a[0]), m.text(a[1], a[2]), m.text(a[3], a[4]))
	}},
	{"proxy_remove_header_map_value", words(3), func(h *machine, m *memory, a []uint64) abi.Status {
		return h.RemoveValue(abi.Map(a[0]), m.text(a[1], a[2]))
	}},
	{"proxy_send_local_response", words(8), func(h *machine, m *memory, a []uint64) abi.Status {
		return h.SendLocalResponse(uint32(a[0]), m.text(a[1], a[2]), m.read(a[3], a[4]), m.read(a[5], a[6]), int32(a[7]))
	}},
	{"proxy_http_call", words(10), func(h *machine, m *memory, a []uint64) abi.Status {
		token, status := h.HTTPCall(m.text(a[0], a[1]), m.read(a[2], a[3]), m.read(a[4], a[5]), m.read(a[6], a[7]), uint32(a[8]))
		m.number(a[9], token)
		return status
	}},
	{"proxy_get_shared_data", words(5), func(h *machine, m *memory, a []uint64) abi.Status {
		b, cas, status := h.GetSharedData(m.text(a[0], a[1]))
		if status == abi.OK {
			m.number(a[4], cas)
		}
		return m.handIf(status, b, a[2], a[3])
	}},
	{"proxy_set_shared_data", words(5), func(h *machine, m *memory, a []uint64) abi.Status {
		return h.SetSharedData(m.text(a[0], a[1]), m.read(a[2], a[3]), uint32(a[4]))
	}},
	{"proxy_define_metric", words(4), func(h *machine, m *memory, a []uint64) abi.Status {
		id, status := h.DefineMetric(abi.Metric(a[0]), m.text(a[1], a[2]))
		m.number(a[3], id)
		return status
	}},
	{"proxy_increment_metric", []api.ValueType{i32, i64}, func(h *machine, _ *memory, a []uint64) abi.Status {
		return h.IncrementMetric(uint32(a[0]), int64(a[1]))
	}},
	{"proxy_record_metric", []api.ValueType{i32, i64}, func(h *machine, _ *memory, a []uint64) abi.Status {
		return h.RecordMetric(uint32(a[0]), a[1])
	}},
	{"proxy_get_metric", words(2), func(h *machine, m *memory, a []uint64) abi.Status {
		value, status := h.GetMetric(uint32(a[0]))
		m.failed = m.failed || !m.module.Memory().WriteUint64Le(uint32(a[1]), value)
		return status
	}},
}

// handIf gives bytes to the module if the host call has any.
func (m *memory) handIf(status abi.Status, b []byte, at, size uint64) abi.Status {
	if status == abi.OK {
		m.hand(b, at, size)
	}
	return status
}
