// Package types has the contexts and values of package proxywasm, under the
// names of the Proxy-Wasm Go SDK.
package types

import "errors"

// Action says what the host does with a stream after a callback.
type Action uint32

const (
	// ActionContinue lets it go on.
	ActionContinue Action = 0
	// ActionPause holds it, and what of its body comes is buffered by the host.
	ActionPause Action = 1
)

// OnVMStartStatus is the outcome of VMContext.OnVMStart.
type OnVMStartStatus bool

const (
	// OnVMStartStatusOK lets the VM run.
	OnVMStartStatusOK OnVMStartStatus = true
	// OnVMStartStatusFailed has the host refuse the VM.
	OnVMStartStatusFailed OnVMStartStatus = false
)

// OnPluginStartStatus is the outcome of PluginContext.OnPluginStart.
type OnPluginStartStatus bool

const (
	// OnPluginStartStatusOK lets the plugin run.
	OnPluginStartStatusOK OnPluginStartStatus = true
	// OnPluginStartStatusFailed has the host refuse the plugin's configuration.
	OnPluginStartStatusFailed OnPluginStartStatus = false
)

// What a host call can come back with besides success.
var (
	// ErrorStatusNotFound: there is no such header, property, buffer or key.
	ErrorStatusNotFound = errors.New("the host does not have it")
	// ErrorStatusBadArgument: the host refused an argument, or the call is not
	// possible in this callback.
	ErrorStatusBadArgument = errors.New("the host refused an argument")
	// ErrorStatusEmpty: the queue is empty.
	ErrorStatusEmpty = errors.New("the host's queue is empty")
	// ErrorStatusCasMismatch: the key was changed by another VM since it was read.
	ErrorStatusCasMismatch = errors.New("the shared data was changed since it was read")
	// ErrorInternalFailure: the host failed, or handed over what cannot be read.
	ErrorInternalFailure = errors.New("the host failed")
	// ErrorUnimplemented: the host does not have this call.
	ErrorUnimplemented = errors.New("the host does not have this call")
)
