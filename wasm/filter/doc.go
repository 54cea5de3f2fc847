// Package filter is safestate inside Envoy: the detection, the rules and the safe
// defaults of the processor, as a Proxy-Wasm filter.
//
// The flow of one request, each file a part of it:
//
//	stream.go    the request: which policy, is the model to be asked at all
//	answer.go    a whole answer: held, judged, let go or replaced
//	events.go    a streamed answer: judged as it comes
//	replace.go   what answers in the place of a failed answer
//	escalate.go  rungs that take a network: asked of safestate's own upstream
//	count.go     metrics, breakers, and what the control plane is told
//	vm.go        what all streams of a worker share; the clock
//
// A healthy answer costs host calls and nothing else: nothing leaves Envoy. A VM
// lives on one worker thread, so nothing here is safe for concurrent use, and
// nothing needs to be: Envoy calls a VM from its worker alone. What is counted,
// what a breaker has seen and what a budget has spent is one worker's.
package filter
