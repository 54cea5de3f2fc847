package proxywasm_test

import (
	"fmt"
	"slices"

	"github.com/safestate/safestate/wasm/proxywasm"
	"github.com/safestate/safestate/wasm/proxywasm/abi"
	"github.com/safestate/safestate/wasm/proxywasm/types"
)

// fake is a host that notes what it is asked, and hands over what it is told.
type fake struct {
	calls  []string
	logged []string
	status map[string]abi.Status // of a host call that does not succeed
	hands  []byte                // what every call hands over
	token  uint32
	counts map[string]int64
}

func newFake() *fake {
	f := &fake{status: map[string]abi.Status{}, counts: map[string]int64{}}
	proxywasm.Emulate(f)
	return f
}

func (f *fake) note(name string, args ...any) abi.Status {
	f.calls = append(f.calls, fmt.Sprint(append([]any{name}, args...)...))
	return f.status[name]
}

func (f *fake) handed(name string, args ...any) ([]byte, abi.Status) {
	status := f.note(name, args...)
	return slices.Clone(f.hands), status
}

func (f *fake) Log(level abi.Level, message string) {
	f.logged = append(f.logged, message)
}
func (f *fake) SetTickPeriod(ms uint32) abi.Status         { return f.note("tick ", ms) }
func (f *fake) SetEffectiveContext(id uint32) abi.Status   { return f.note("effective ", id) }
func (f *fake) ContinueStream(s abi.Stream) abi.Status     { return f.note("continue ", s) }
func (f *fake) GetProperty(p string) ([]byte, abi.Status)  { return f.handed("property ", p) }
func (f *fake) GetPairs(k abi.Map) ([]byte, abi.Status)    { return f.handed("pairs ", k) }
func (f *fake) SetPairs(k abi.Map, b []byte) abi.Status    { return f.note("set pairs ", k, len(b)) }
func (f *fake) RemoveValue(k abi.Map, n string) abi.Status { return f.note("remove ", k, n) }
func (f *fake) AddValue(k abi.Map, n, v string) abi.Status { return f.note("add ", k, n, v) }

func (f *fake) GetBuffer(k abi.Buffer, start, size uint32) ([]byte, abi.Status) {
	return f.handed("buffer ", k, start, size)
}

func (f *fake) SetBuffer(k abi.Buffer, start, size uint32, b []byte) abi.Status {
	return f.note("set buffer ", k, " ", start, size, string(b))
}

func (f *fake) GetValue(k abi.Map, n string) ([]byte, abi.Status) { return f.handed("value ", k, n) }

func (f *fake) ReplaceValue(k abi.Map, n, v string) abi.Status { return f.note("replace ", k, n, v) }

func (f *fake) SendLocalResponse(code uint32, _ string, body, _ []byte, _ int32) abi.Status {
	return f.note("local ", code, string(body))
}

func (f *fake) HTTPCall(upstream string, headers, _, trailers []byte, ms uint32) (uint32, abi.Status) {
	return f.token, f.note("call ", upstream, len(headers), len(trailers), ms)
}

func (f *fake) GetSharedData(key string) ([]byte, uint32, abi.Status) {
	b, status := f.handed("shared ", key)
	return b, 7, status
}

func (f *fake) SetSharedData(key string, b []byte, cas uint32) abi.Status {
	return f.note("share ", key, string(b), cas)
}

func (f *fake) DefineMetric(k abi.Metric, name string) (uint32, abi.Status) {
	f.counts[name] += 0
	return uint32(len(f.counts)), f.note("define ", k, " ", name)
}

func (f *fake) IncrementMetric(id uint32, by int64) abi.Status {
	return f.note("increment ", id, " ", by)
}
func (f *fake) RecordMetric(id uint32, n uint64) abi.Status { return f.note("record ", id, " ", n) }
func (f *fake) GetMetric(id uint32) (uint64, abi.Status)    { return 42, f.note("metric ", id) }

// called reports how often a host call was made.
func (f *fake) called(call string) int {
	n := 0
	for _, c := range f.calls {
		if c == call {
			n++
		}
	}
	return n
}

// scripted is a filter whose every callback is a function of a test.
type scripted struct {
	vmStart     func() types.OnVMStartStatus
	pluginStart func() types.OnPluginStartStatus
	tick        func()
	made        func(id uint32) types.HttpContext
	recovered   func(callback string) types.Action // of the plugin
	plugins     []uint32
}

func (s *scripted) OnVMStart(int) types.OnVMStartStatus {
	if s.vmStart == nil {
		return types.OnVMStartStatusOK
	}
	return s.vmStart()
}

func (s *scripted) NewPluginContext(id uint32) types.PluginContext {
	s.plugins = append(s.plugins, id)
	return &scriptedPlugin{s, id}
}

type scriptedPlugin struct {
	*scripted
	id uint32
}

func (p *scriptedPlugin) OnPluginStart(int) types.OnPluginStartStatus {
	if p.pluginStart == nil {
		return types.OnPluginStartStatusOK
	}
	return p.pluginStart()
}

func (p *scriptedPlugin) OnTick() {
	if p.tick != nil {
		p.tick()
	}
}

func (p *scriptedPlugin) NewHttpContext(id uint32) types.HttpContext {
	if p.made == nil {
		return nil
	}
	return p.made(id)
}

func (p *scriptedPlugin) Recovered(callback string) types.Action {
	if p.recovered == nil {
		return types.ActionContinue
	}
	return p.recovered(callback)
}

// stream calls do in each of its callbacks, by its name in the ABI.
type stream struct {
	do   func(callback string) types.Action
	told func(callback string) types.Action
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	return s.do("proxy_on_request_headers")
}
func (s *stream) OnHttpRequestBody(int, bool) types.Action { return s.do("proxy_on_request_body") }
func (s *stream) OnHttpRequestTrailers(int) types.Action   { return s.do("proxy_on_request_trailers") }
func (s *stream) OnHttpResponseHeaders(int, bool) types.Action {
	return s.do("proxy_on_response_headers")
}
func (s *stream) OnHttpResponseBody(int, bool) types.Action { return s.do("proxy_on_response_body") }
func (s *stream) OnHttpResponseTrailers(int) types.Action   { return s.do("proxy_on_response_trailers") }
func (s *stream) OnHttpStreamDone()                         { s.do("proxy_on_delete") }
func (s *stream) Recovered(callback string) types.Action    { return s.told(callback) }

// start has a VM with one plugin, number 1.
func start(s *scripted) *fake {
	f := newFake()
	proxywasm.SetVMContext(s)
	proxywasm.ProxyOnVMStart(1, 0)
	proxywasm.ProxyOnConfigure(1, 0)
	return f
}

// callbacks are those of streams, as a host calls them.
var callbacks = map[string]func(id uint32) uint32{
	"proxy_on_request_headers":   func(id uint32) uint32 { return proxywasm.ProxyOnRequestHeaders(id, 3, 0) },
	"proxy_on_request_body":      func(id uint32) uint32 { return proxywasm.ProxyOnRequestBody(id, 3, 0) },
	"proxy_on_request_trailers":  func(id uint32) uint32 { return proxywasm.ProxyOnRequestTrailers(id, 3) },
	"proxy_on_response_headers":  func(id uint32) uint32 { return proxywasm.ProxyOnResponseHeaders(id, 3, 0) },
	"proxy_on_response_body":     func(id uint32) uint32 { return proxywasm.ProxyOnResponseBody(id, 3, 1) },
	"proxy_on_response_trailers": func(id uint32) uint32 { return proxywasm.ProxyOnResponseTrailers(id, 3) },
	"proxy_on_delete":            func(id uint32) uint32 { proxywasm.ProxyOnDelete(id); return 0 },
}
