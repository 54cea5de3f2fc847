// Package proxywasm binds the Proxy-Wasm ABI 0.2.1: host calls under the names
// and signatures of the Proxy-Wasm Go SDK, so that moving to the SDK is a
// change of imports, and the callbacks that a host calls.
//
// Built for wasip1 as c-shared, host calls are WebAssembly imports and the
// callbacks exports. Anywhere else the package compiles as well: host calls go
// to a Host (see Emulate), and the callbacks are functions to call.
//
// A VM has one thread. Nothing here is safe for concurrent use.
//
// # Contexts
//
// Only the callbacks that are used are exported, since each costs a crossing
// whether it does something or not. So contexts are made when they are first
// needed: a plugin's when the VM starts or it is configured, a stream's with
// its request headers. Which plugin a stream belongs to is not said without one
// more crossing: it is the one that was configured last. OnHttpStreamDone comes
// when the host deletes the stream.
//
// # Panics
//
// A panic in a callback is caught, logged with its text, and counted as
// safestate_wasm_recovered_total by callback. The context may say what then
// happens to its stream:
//
//	Recovered(callback string) types.Action
//
// A context without that method lets the stream go on. What cannot be caught
// (no memory, a stack without end) ends the VM.
package proxywasm
