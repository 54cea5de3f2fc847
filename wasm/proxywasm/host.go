//go:build !wasip1

package proxywasm

import "github.com/safestate/safestate/wasm/proxywasm/abi"

// Host is what a module's host calls go to where it is no module. It may keep
// nothing that it is given, and what it returns is the caller's. Header pairs
// cross in their encoded form.
type Host interface {
	Log(level abi.Level, message string)
	SetTickPeriod(milliseconds uint32) abi.Status
	SetEffectiveContext(id uint32) abi.Status
	ContinueStream(stream abi.Stream) abi.Status
	// GetProperty has the parts of the path separated by NULs.
	GetProperty(path string) ([]byte, abi.Status)
	GetBuffer(kind abi.Buffer, start, size uint32) ([]byte, abi.Status)
	SetBuffer(kind abi.Buffer, start, size uint32, data []byte) abi.Status
	GetPairs(kind abi.Map) ([]byte, abi.Status)
	SetPairs(kind abi.Map, pairs []byte) abi.Status
	GetValue(kind abi.Map, key string) ([]byte, abi.Status)
	AddValue(kind abi.Map, key, value string) abi.Status
	ReplaceValue(kind abi.Map, key, value string) abi.Status
	RemoveValue(kind abi.Map, key string) abi.Status
	SendLocalResponse(code uint32, details string, body, headers []byte, grpcStatus int32) abi.Status
	HTTPCall(upstream string, headers, body, trailers []byte, milliseconds uint32) (token uint32, status abi.Status)
	GetSharedData(key string) (value []byte, cas uint32, status abi.Status)
	SetSharedData(key string, value []byte, cas uint32) abi.Status
	DefineMetric(kind abi.Metric, name string) (id uint32, status abi.Status)
	IncrementMetric(id uint32, offset int64) abi.Status
	RecordMetric(id uint32, sample uint64) abi.Status
	GetMetric(id uint32) (uint64, abi.Status)
}

var host Host

// Emulate makes a VM without contexts whose host is h, and has it run. The
// function that it returns has that VM run again after another did.
func Emulate(h Host) (enter func()) {
	m := &machine{}
	enter = func() { host, vm = h, m }
	enter()
	return enter
}

// reuse spoils the buffer, so that who still refers to it is found out.
func reuse(b []byte) {
	for i := range b {
		b[i] = spoiled
	}
}

const spoiled = 0xdb

func hostLog(level abi.Level, message string)       { host.Log(level, message) }
func hostSetTickPeriod(period uint32) abi.Status    { return host.SetTickPeriod(period) }
func hostSetEffectiveContext(id uint32) abi.Status  { return host.SetEffectiveContext(id) }
func hostContinueStream(s abi.Stream) abi.Status    { return host.ContinueStream(s) }
func hostGetProperty(p string) ([]byte, abi.Status) { return host.GetProperty(p) }

func hostGetBuffer(kind abi.Buffer, start, size uint32) ([]byte, abi.Status) {
	return host.GetBuffer(kind, start, size)
}

func hostSetBuffer(kind abi.Buffer, start, size uint32, data []byte) abi.Status {
	return host.SetBuffer(kind, start, size, data)
}

func hostGetPairs(kind abi.Map) ([]byte, abi.Status)       { return host.GetPairs(kind) }
func hostSetPairs(kind abi.Map, pairs []byte) abi.Status   { return host.SetPairs(kind, pairs) }
func hostRemoveValue(kind abi.Map, key string) abi.Status  { return host.RemoveValue(kind, key) }
func hostAddValue(kind abi.Map, key, v string) abi.Status  { return host.AddValue(kind, key, v) }
func hostGetMetric(id uint32) (uint64, abi.Status)         { return host.GetMetric(id) }
func hostIncrementMetric(id uint32, by int64) abi.Status   { return host.IncrementMetric(id, by) }
func hostRecordMetric(id uint32, sample uint64) abi.Status { return host.RecordMetric(id, sample) }

func hostGetValue(kind abi.Map, key string) ([]byte, abi.Status) {
	return host.GetValue(kind, key)
}

func hostReplaceValue(kind abi.Map, key, value string) abi.Status {
	return host.ReplaceValue(kind, key, value)
}

func hostSendLocalResponse(code uint32, body, headers []byte, grpcStatus int32) abi.Status {
	return host.SendLocalResponse(code, "", body, headers, grpcStatus)
}

func hostHTTPCall(upstream string, headers, body, trailers []byte, timeout uint32) (uint32, abi.Status) {
	return host.HTTPCall(upstream, headers, body, trailers, timeout)
}

func hostGetSharedData(key string) ([]byte, uint32, abi.Status) { return host.GetSharedData(key) }

func hostSetSharedData(key string, value []byte, cas uint32) abi.Status {
	return host.SetSharedData(key, value, cas)
}

func hostDefineMetric(kind abi.Metric, name string) (uint32, abi.Status) {
	return host.DefineMetric(kind, name)
}
