package proxywasm

import (
	"github.com/safestate/safestate/wasm/proxywasm/abi"
	"github.com/safestate/safestate/wasm/proxywasm/types"
)

// ProxyABIVersion tells the host which ABI this is.
//
//go:wasmexport proxy_abi_version_0_2_1
func ProxyABIVersion() {}

// ProxyOnVMStart returns 0 where the VM refuses to start.
//
//go:wasmexport proxy_on_vm_start
func ProxyOnVMStart(pluginID, configurationSize uint32) (started uint32) {
	vm.begin(pluginID)
	defer rescue("proxy_on_vm_start", 0, &started)
	if vm.context == nil || vm.join(pluginID) == nil {
		return 0
	}
	return truth(bool(vm.context.OnVMStart(int(configurationSize))))
}

// ProxyOnConfigure returns 0 where the plugin refuses its configuration.
//
//go:wasmexport proxy_on_configure
func ProxyOnConfigure(pluginID, configurationSize uint32) (started uint32) {
	vm.begin(pluginID)
	defer rescue("proxy_on_configure", 0, &started)
	context := vm.join(pluginID)
	if context == nil {
		return 0
	}
	return truth(bool(context.OnPluginStart(int(configurationSize))))
}

// ProxyOnTick calls a plugin's OnTick.
//
//go:wasmexport proxy_on_tick
func ProxyOnTick(pluginID uint32) {
	vm.begin(pluginID)
	defer rescue("proxy_on_tick", pluginID, nil)
	if context := vm.plugin(pluginID); context != nil {
		context.OnTick()
	}
}

// ProxyOnRequestHeaders makes the stream's context and returns its action.
//
//go:wasmexport proxy_on_request_headers
func ProxyOnRequestHeaders(id, numHeaders, endOfStream uint32) (action uint32) {
	vm.begin(id)
	defer rescue("proxy_on_request_headers", id, &action)
	context := enter(id)
	if context == nil {
		return uint32(types.ActionContinue)
	}
	return uint32(context.OnHttpRequestHeaders(int(numHeaders), endOfStream != 0))
}

// enter makes a stream's context, or returns nil where its plugin wants none.
func enter(id uint32) (context types.HttpContext) {
	plugin := vm.current()
	if plugin == nil {
		return nil
	}
	vm.streams.take(id) // one that was never deleted
	s := vm.streams.put(id)
	defer func() {
		if context == nil { // there is none, or there was a panic
			vm.streams.take(id)
		}
	}()
	context = plugin.NewHttpContext(id)
	s.context = context
	return context
}

// ProxyOnRequestBody returns the stream's action. A stream without a context
// goes on, here as in the other callbacks.
//
//go:wasmexport proxy_on_request_body
func ProxyOnRequestBody(id, bodySize, endOfStream uint32) (action uint32) {
	s := vm.streams.get(id)
	if s == nil {
		return uint32(types.ActionContinue)
	}
	vm.begin(id)
	defer rescue("proxy_on_request_body", id, &action)
	return uint32(s.context.OnHttpRequestBody(int(bodySize), endOfStream != 0))
}

// ProxyOnRequestTrailers returns the stream's action.
//
//go:wasmexport proxy_on_request_trailers
func ProxyOnRequestTrailers(id, numTrailers uint32) (action uint32) {
	s := vm.streams.get(id)
	if s == nil {
		return uint32(types.ActionContinue)
	}
	vm.begin(id)
	defer rescue("proxy_on_request_trailers", id, &action)
	return uint32(s.context.OnHttpRequestTrailers(int(numTrailers)))
}

// ProxyOnResponseHeaders returns the stream's action.
//
//go:wasmexport proxy_on_response_headers
func ProxyOnResponseHeaders(id, numHeaders, endOfStream uint32) (action uint32) {
	s := vm.streams.get(id)
	if s == nil {
		return uint32(types.ActionContinue)
	}
	vm.begin(id)
	defer rescue("proxy_on_response_headers", id, &action)
	return uint32(s.context.OnHttpResponseHeaders(int(numHeaders), endOfStream != 0))
}

// ProxyOnResponseBody returns the stream's action.
//
//go:wasmexport proxy_on_response_body
func ProxyOnResponseBody(id, bodySize, endOfStream uint32) (action uint32) {
	s := vm.streams.get(id)
	if s == nil {
		return uint32(types.ActionContinue)
	}
	vm.begin(id)
	defer rescue("proxy_on_response_body", id, &action)
	return uint32(s.context.OnHttpResponseBody(int(bodySize), endOfStream != 0))
}

// ProxyOnResponseTrailers returns the stream's action.
//
//go:wasmexport proxy_on_response_trailers
func ProxyOnResponseTrailers(id, numTrailers uint32) (action uint32) {
	s := vm.streams.get(id)
	if s == nil {
		return uint32(types.ActionContinue)
	}
	vm.begin(id)
	defer rescue("proxy_on_response_trailers", id, &action)
	return uint32(s.context.OnHttpResponseTrailers(int(numTrailers)))
}

// ProxyOnHTTPCallResponse calls back who asked. The host calls it on the
// plugin's context; a call whose stream is gone, or that nobody made, is
// dropped.
//
//go:wasmexport proxy_on_http_call_response
func ProxyOnHTTPCallResponse(_, token, numHeaders, bodySize, numTrailers uint32) {
	c := vm.calls.take(token)
	if c.back == nil || !vm.alive(c.asked) || hostSetEffectiveContext(c.asked) != abi.OK {
		return
	}
	vm.begin(c.asked)
	defer rescue("proxy_on_http_call_response", c.asked, nil)
	c.back(int(numHeaders), int(bodySize), int(numTrailers))
}

// ProxyOnDelete ends a stream or a plugin.
//
//go:wasmexport proxy_on_delete
func ProxyOnDelete(id uint32) {
	s := vm.streams.get(id)
	if s == nil {
		vm.leave(id)
		return
	}
	vm.begin(id)
	s.deleted = true
	// Deferred first, so that it runs after a panic was told to the context.
	defer vm.streams.take(id)
	defer rescue("proxy_on_delete", id, nil)
	s.context.OnHttpStreamDone()
}

func truth(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
