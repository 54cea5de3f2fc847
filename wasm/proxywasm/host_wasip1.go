//go:build wasip1

package proxywasm

import (
	"unsafe"

	"github.com/safestate/safestate/wasm/proxywasm/abi"
)

// Where a host writes what it hands over. These are at fixed addresses: while
// a host call is under way the host calls ProxyOnMemoryAllocate, which may move
// the stack of the caller.
var out struct {
	data, size, number uint32
	wide               uint64
}

// handed are the buffers that the host has asked for in this call. They are
// held until the call has returned, since nothing else refers to them.
var handed [][]byte

// The most that a host gets in one piece. Past it the call fails, where the
// runtime would end the VM for want of memory.
const handedMost = 64 << 20

var nothing [1]byte

// spare is a buffer that was given back.
var spare []byte

// The largest buffer that is kept for the next call.
const spareMost = 1 << 20

func reuse(b []byte) {
	if c := cap(b); c > cap(spare) && c <= spareMost {
		spare = b[:0]
	}
}

// ProxyOnMemoryAllocate gives the host memory to hand something over in, or
// nil. It is called during a host call.
//
//go:wasmexport proxy_on_memory_allocate
func ProxyOnMemoryAllocate(size uint32) unsafe.Pointer {
	switch {
	case size == 0:
		return unsafe.Pointer(&nothing)
	case size > handedMost:
		return nil
	}
	var b []byte
	if uint64(size) <= uint64(cap(spare)) {
		b, spare = spare[:size], nil
	} else {
		b = make([]byte, size)
	}
	handed = append(handed, b)
	return unsafe.Pointer(unsafe.SliceData(b))
}

// taken returns what the host has handed over, if it is one of the buffers that
// it got.
func taken(status abi.Status) ([]byte, abi.Status) {
	data, size := out.data, out.size
	out.data, out.size = 0, 0
	buffers := handed
	handed = handed[:0]
	defer clear(buffers)
	if status != abi.OK || size == 0 {
		return nil, status
	}
	for _, b := range buffers {
		if address(b) == data && uint64(size) <= uint64(len(b)) {
			return b[:size], abi.OK
		}
	}
	return nil, abi.InternalFailure
}

func address(b []byte) uint32 { return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

//go:wasmimport env proxy_log
//go:noescape
func proxyLog(level uint32, message string) uint32

func hostLog(level abi.Level, message string) { proxyLog(uint32(level), message) }

//go:wasmimport env proxy_set_tick_period_milliseconds
func proxySetTickPeriod(period uint32) uint32

func hostSetTickPeriod(period uint32) abi.Status { return abi.Status(proxySetTickPeriod(period)) }

//go:wasmimport env proxy_set_effective_context
func proxySetEffectiveContext(id uint32) uint32

func hostSetEffectiveContext(id uint32) abi.Status { return abi.Status(proxySetEffectiveContext(id)) }

//go:wasmimport env proxy_continue_stream
func proxyContinueStream(stream uint32) uint32

func hostContinueStream(stream abi.Stream) abi.Status {
	return abi.Status(proxyContinueStream(uint32(stream)))
}

//go:wasmimport env proxy_get_property
//go:noescape
func proxyGetProperty(path string, data, size *uint32) uint32

func hostGetProperty(path string) ([]byte, abi.Status) {
	return taken(abi.Status(proxyGetProperty(path, &out.data, &out.size)))
}

//go:wasmimport env proxy_get_buffer_bytes
//go:noescape
func proxyGetBuffer(kind, start, length uint32, data, size *uint32) uint32

func hostGetBuffer(kind abi.Buffer, start, size uint32) ([]byte, abi.Status) {
	return taken(abi.Status(proxyGetBuffer(uint32(kind), start, size, &out.data, &out.size)))
}

//go:wasmimport env proxy_set_buffer_bytes
//go:noescape
func proxySetBuffer(kind, start, length uint32, data string) uint32

func hostSetBuffer(kind abi.Buffer, start, size uint32, data []byte) abi.Status {
	return abi.Status(proxySetBuffer(uint32(kind), start, size, view(data)))
}

//go:wasmimport env proxy_get_header_map_pairs
//go:noescape
func proxyGetPairs(kind uint32, data, size *uint32) uint32

func hostGetPairs(kind abi.Map) ([]byte, abi.Status) {
	return taken(abi.Status(proxyGetPairs(uint32(kind), &out.data, &out.size)))
}

//go:wasmimport env proxy_set_header_map_pairs
//go:noescape
func proxySetPairs(kind uint32, pairs string) uint32

func hostSetPairs(kind abi.Map, pairs []byte) abi.Status {
	return abi.Status(proxySetPairs(uint32(kind), view(pairs)))
}

//go:wasmimport env proxy_get_header_map_value
//go:noescape
func proxyGetValue(kind uint32, key string, data, size *uint32) uint32

func hostGetValue(kind abi.Map, key string) ([]byte, abi.Status) {
	return taken(abi.Status(proxyGetValue(uint32(kind), key, &out.data, &out.size)))
}

//go:wasmimport env proxy_add_header_map_value
//go:noescape
func proxyAddValue(kind uint32, key, value string) uint32

func hostAddValue(kind abi.Map, key, value string) abi.Status {
	return abi.Status(proxyAddValue(uint32(kind), key, value))
}

//go:wasmimport env proxy_replace_header_map_value
//go:noescape
func proxyReplaceValue(kind uint32, key, value string) uint32

func hostReplaceValue(kind abi.Map, key, value string) abi.Status {
	return abi.Status(proxyReplaceValue(uint32(kind), key, value))
}

//go:wasmimport env proxy_remove_header_map_value
//go:noescape
func proxyRemoveValue(kind uint32, key string) uint32

func hostRemoveValue(kind abi.Map, key string) abi.Status {
	return abi.Status(proxyRemoveValue(uint32(kind), key))
}

//go:wasmimport env proxy_send_local_response
//go:noescape
func proxySendLocalResponse(code uint32, details, body, headers string, grpcStatus int32) uint32

func hostSendLocalResponse(code uint32, body, headers []byte, grpcStatus int32) abi.Status {
	return abi.Status(proxySendLocalResponse(code, "", view(body), view(headers), grpcStatus))
}

//go:wasmimport env proxy_http_call
//go:noescape
func proxyHTTPCall(upstream, headers, body, trailers string, timeout uint32, token *uint32) uint32

func hostHTTPCall(upstream string, headers, body, trailers []byte, timeout uint32) (uint32, abi.Status) {
	status := proxyHTTPCall(upstream, view(headers), view(body), view(trailers), timeout, &out.number)
	return out.number, abi.Status(status)
}

//go:wasmimport env proxy_get_shared_data
//go:noescape
func proxyGetSharedData(key string, data, size, cas *uint32) uint32

func hostGetSharedData(key string) ([]byte, uint32, abi.Status) {
	out.number = 0
	value, status := taken(abi.Status(proxyGetSharedData(key, &out.data, &out.size, &out.number)))
	return value, out.number, status
}

//go:wasmimport env proxy_set_shared_data
//go:noescape
func proxySetSharedData(key, value string, cas uint32) uint32

func hostSetSharedData(key string, value []byte, cas uint32) abi.Status {
	return abi.Status(proxySetSharedData(key, view(value), cas))
}

//go:wasmimport env proxy_define_metric
//go:noescape
func proxyDefineMetric(kind uint32, name string, id *uint32) uint32

func hostDefineMetric(kind abi.Metric, name string) (uint32, abi.Status) {
	status := proxyDefineMetric(uint32(kind), name, &out.number)
	return out.number, abi.Status(status)
}

//go:wasmimport env proxy_increment_metric
func proxyIncrementMetric(id uint32, offset int64) uint32

func hostIncrementMetric(id uint32, offset int64) abi.Status {
	return abi.Status(proxyIncrementMetric(id, offset))
}

//go:wasmimport env proxy_record_metric
func proxyRecordMetric(id uint32, sample uint64) uint32

func hostRecordMetric(id uint32, sample uint64) abi.Status {
	return abi.Status(proxyRecordMetric(id, sample))
}

//go:wasmimport env proxy_get_metric
//go:noescape
func proxyGetMetric(id uint32, value *uint64) uint32

func hostGetMetric(id uint32) (uint64, abi.Status) {
	status := proxyGetMetric(id, &out.wide)
	return out.wide, abi.Status(status)
}
