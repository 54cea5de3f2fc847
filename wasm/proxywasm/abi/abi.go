// Package abi has the numbers of the Proxy-Wasm ABI 0.2.1 and the form in
// which header pairs cross between a module and its host.
// Source: github.com/proxy-wasm/spec, abi-versions/v0.2.1.
package abi

// Status is what a host call returns.
type Status uint32

// The statuses that Envoy gives.
const (
	OK                  Status = 0
	NotFound            Status = 1
	BadArgument         Status = 2
	InvalidMemoryAccess Status = 6
	Empty               Status = 7
	CasMismatch         Status = 8
	InternalFailure     Status = 10
	Unimplemented       Status = 12
)

// Buffer names bytes that the host has.
type Buffer uint32

// The buffers that are used.
const (
	RequestBody         Buffer = 0
	ResponseBody        Buffer = 1
	CallResponseBody    Buffer = 4
	VMConfiguration     Buffer = 6
	PluginConfiguration Buffer = 7
)

// Map names headers or trailers that the host has.
type Map uint32

// The maps that are used.
const (
	RequestHeaders       Map = 0
	RequestTrailers      Map = 1
	ResponseHeaders      Map = 2
	ResponseTrailers     Map = 3
	CallResponseHeaders  Map = 6
	CallResponseTrailers Map = 7
)

// Stream names the direction that goes on after a pause.
type Stream uint32

// The two directions of a stream.
const (
	Request  Stream = 0
	Response Stream = 1
)

// Metric is the kind of a metric.
type Metric uint32

// The kinds of metrics.
const (
	Counter   Metric = 0
	Gauge     Metric = 1
	Histogram Metric = 2
)

// Level is the level of a log line.
type Level uint32

// The levels of log lines.
const (
	Trace    Level = 0
	Debug    Level = 1
	Info     Level = 2
	Warn     Level = 3
	Error    Level = 4
	Critical Level = 5
)
