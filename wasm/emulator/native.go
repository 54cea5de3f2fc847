package emulator

import (
	"fmt"

	"github.com/safestate/safestate/wasm/proxywasm"
	"github.com/safestate/safestate/wasm/proxywasm/types"
)

// native is a VM in this process.
type native struct{ enter func() }

func startNative(m *machine, context types.VMContext) guest {
	n := native{enter: proxywasm.Emulate(m)}
	proxywasm.SetVMContext(context)
	return n
}

func (native) close() {}

// call fails where the binding lets a panic through.
func (n native) call(callback string, a ...uint32) (result uint32, err error) {
	n.enter()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	switch callback {
	case "proxy_on_vm_start":
		return proxywasm.ProxyOnVMStart(a[0], a[1]), nil
	case "proxy_on_configure":
		return proxywasm.ProxyOnConfigure(a[0], a[1]), nil
	case "proxy_on_tick":
		proxywasm.ProxyOnTick(a[0])
	case "proxy_on_request_headers":
		return proxywasm.ProxyOnRequestHeaders(a[0], a[1], a[2]), nil
	case "proxy_on_request_body":
		return proxywasm.ProxyOnRequestBody(a[0], a[1], a[2]), nil
	case "proxy_on_request_trailers":
		return proxywasm.ProxyOnRequestTrailers(a[0], a[1]), nil
	case "proxy_on_response_headers":
		return proxywasm.ProxyOnResponseHeaders(a[0], a[1], a[2]), nil
	case "proxy_on_response_body":
		return proxywasm.ProxyOnResponseBody(a[0], a[1], a[2]), nil
	case "proxy_on_response_trailers":
		return proxywasm.ProxyOnResponseTrailers(a[0], a[1]), nil
	case "proxy_on_http_call_response":
		proxywasm.ProxyOnHTTPCallResponse(a[0], a[1], a[2], a[3], a[4])
	case "proxy_on_delete":
		proxywasm.ProxyOnDelete(a[0])
	}
	return 0, nil
}
