package main

import (
	"math"
	"strings"

	"github.com/safestate/safestate/wasm/emulator"
	"github.com/safestate/safestate/wasm/filter"
	"github.com/safestate/safestate/wasm/proxywasm"
	"github.com/safestate/safestate/wasm/proxywasm/abi"
)

// anyHost answers every host call with what its script says.
type anyHost struct {
	*script
	route    emulator.Route
	panicked string
	calls    uint32
}

// run calls callbacks of a few streams in any order.
func (h *anyHost) run() {
	proxywasm.Emulate(h)
	proxywasm.SetVMContext(filter.NewVMContext())
	if proxywasm.ProxyOnVMStart(1, 0) == 0 || proxywasm.ProxyOnConfigure(1, uint32(h.byte())) == 0 {
		return // a plugin that refuses to start is never called
	}
	for steps := 0; len(h.rest) > 0 && steps < 200; steps++ {
		id, n, end := uint32(h.n(5))+2, uint32(h.byte()), uint32(h.n(2))
		switch h.n(10) {
		case 0, 1:
			proxywasm.ProxyOnRequestHeaders(id, n, end)
		case 2:
			proxywasm.ProxyOnRequestBody(id, n, end)
		case 3:
			proxywasm.ProxyOnRequestTrailers(id, n)
		case 4:
			proxywasm.ProxyOnResponseHeaders(id, n, end)
		case 5, 6:
			proxywasm.ProxyOnResponseBody(id, n<<h.n(20), end)
		case 7:
			proxywasm.ProxyOnResponseTrailers(id, n)
		case 8:
			proxywasm.ProxyOnHTTPCallResponse(1, uint32(h.n(int(h.calls)+1))*4, n, n, end)
		case 9:
			if end == 0 {
				proxywasm.ProxyOnTick(1)
			} else {
				proxywasm.ProxyOnDelete(id)
			}
		}
	}
	for id := range uint32(8) {
		proxywasm.ProxyOnDelete(id)
	}
}

func (h *anyHost) Log(_ abi.Level, message string) {
	if strings.HasPrefix(message, "panic in ") {
		h.panicked = message
	}
}

// status is mostly success.
func (h *anyHost) status() abi.Status {
	if b := h.byte(); b > 230 {
		return abi.Status(b % 14)
	}
	return abi.OK
}

func (h *anyHost) bytes(good func() string) ([]byte, abi.Status) {
	if h.n(4) > 0 {
		return []byte(good()), h.status()
	}
	return []byte(h.text()), h.status()
}

func (h *anyHost) GetProperty(path string) ([]byte, abi.Status) {
	return h.bytes(func() string {
		if i := strings.LastIndexByte(path, 0); strings.Contains(path, "route_metadata") {
			return h.route.Metadata["safestate"][path[i+1:]]
		}
		return h.pick(h.route.Cluster, "via_upstream", "127.0.0.1:1", "node")
	})
}

func (h *anyHost) GetBuffer(abi.Buffer, uint32, uint32) ([]byte, abi.Status) {
	return h.bytes(h.body)
}

func (h *anyHost) GetPairs(abi.Map) ([]byte, abi.Status) {
	return h.bytes(func() string {
		return string(abi.AppendPairs(nil, h.headers([2]string{":status", "200"}, [2]string{":method", "POST"}, [2]string{":path", question.Path})))
	})
}

func (h *anyHost) GetValue(abi.Map, string) ([]byte, abi.Status) {
	return h.bytes(func() string { return h.header()[1] })
}

func (h *anyHost) SetTickPeriod(uint32) abi.Status                         { return abi.OK }
func (h *anyHost) SetEffectiveContext(uint32) abi.Status                   { return h.status() }
func (h *anyHost) ContinueStream(abi.Stream) abi.Status                    { return h.status() }
func (h *anyHost) SetBuffer(abi.Buffer, uint32, uint32, []byte) abi.Status { return h.status() }
func (h *anyHost) SetPairs(abi.Map, []byte) abi.Status                     { return h.status() }
func (h *anyHost) AddValue(abi.Map, string, string) abi.Status             { return h.status() }
func (h *anyHost) ReplaceValue(abi.Map, string, string) abi.Status         { return h.status() }
func (h *anyHost) RemoveValue(abi.Map, string) abi.Status                  { return h.status() }
func (h *anyHost) SetSharedData(string, []byte, uint32) abi.Status         { return h.status() }
func (h *anyHost) IncrementMetric(uint32, int64) abi.Status                { return abi.OK }
func (h *anyHost) RecordMetric(uint32, uint64) abi.Status                  { return abi.OK }
func (h *anyHost) GetMetric(uint32) (uint64, abi.Status)                   { return math.MaxUint64, abi.OK }
func (h *anyHost) DefineMetric(abi.Metric, string) (uint32, abi.Status) {
	return uint32(h.byte()), abi.OK
}
func (h *anyHost) GetSharedData(string) ([]byte, uint32, abi.Status) {
	b, status := h.bytes(h.text)
	return b, uint32(h.byte()), status
}

func (h *anyHost) SendLocalResponse(uint32, string, []byte, []byte, int32) abi.Status {
	return h.status()
}

func (h *anyHost) HTTPCall(string, []byte, []byte, []byte, uint32) (uint32, abi.Status) {
	h.calls++
	return h.calls * 4, h.status()
}
