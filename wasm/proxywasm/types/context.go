package types

// VMContext is the module in one VM. Envoy makes a VM for each worker thread,
// and one more in the main thread, which serves no stream.
type VMContext interface {
	// OnVMStart is called before any other callback, and once more for every
	// further plugin that joins the same VM.
	OnVMStart(vmConfigurationSize int) OnVMStartStatus
	// NewPluginContext makes the context of one plugin configuration.
	NewPluginContext(contextID uint32) PluginContext
}

// PluginContext is one plugin configuration in one VM.
type PluginContext interface {
	// OnPluginStart is the only callback that can read the configuration.
	OnPluginStart(pluginConfigurationSize int) OnPluginStartStatus
	// OnTick is called in the period of SetTickPeriodMilliSeconds.
	OnTick()
	// NewHttpContext makes the context of a stream when its request headers
	// come. Where it returns nil, the stream passes without a callback.
	NewHttpContext(contextID uint32) HttpContext
}

// HttpContext is one request and its response. Its callbacks come one after
// the other, never at the same time as any other of the VM.
type HttpContext interface {
	OnHttpRequestHeaders(numHeaders int, endOfStream bool) Action
	// OnHttpRequestBody is told the size of what can be read: the chunk that
	// came, and what was buffered by a pause before it.
	OnHttpRequestBody(bodySize int, endOfStream bool) Action
	// OnHttpRequestTrailers comes in place of a last piece with endOfStream.
	OnHttpRequestTrailers(numTrailers int) Action
	OnHttpResponseHeaders(numHeaders int, endOfStream bool) Action
	// OnHttpResponseBody is told the size as OnHttpRequestBody is.
	OnHttpResponseBody(bodySize int, endOfStream bool) Action
	// OnHttpResponseTrailers comes in place of a last piece with endOfStream.
	OnHttpResponseTrailers(numTrailers int) Action
	// OnHttpStreamDone is the last callback of a stream, however it ended.
	OnHttpStreamDone()
}

// Contexts that do nothing, to embed.
type (
	// DefaultVMContext starts, and has plugins that do nothing.
	DefaultVMContext struct{}
	// DefaultPluginContext starts, and has no streams.
	DefaultPluginContext struct{}
	// DefaultHttpContext lets everything pass.
	DefaultHttpContext struct{}
)

// OnVMStart succeeds.
func (*DefaultVMContext) OnVMStart(int) OnVMStartStatus { return OnVMStartStatusOK }

// NewPluginContext returns a DefaultPluginContext.
func (*DefaultVMContext) NewPluginContext(uint32) PluginContext { return &DefaultPluginContext{} }

// OnPluginStart succeeds.
func (*DefaultPluginContext) OnPluginStart(int) OnPluginStartStatus { return OnPluginStartStatusOK }

// OnTick does nothing.
func (*DefaultPluginContext) OnTick() {}

// NewHttpContext returns nil.
func (*DefaultPluginContext) NewHttpContext(uint32) HttpContext { return nil }

// OnHttpRequestHeaders lets them pass.
func (*DefaultHttpContext) OnHttpRequestHeaders(int, bool) Action { return ActionContinue }

// OnHttpRequestBody lets it pass.
func (*DefaultHttpContext) OnHttpRequestBody(int, bool) Action { return ActionContinue }

// OnHttpRequestTrailers lets them pass.
func (*DefaultHttpContext) OnHttpRequestTrailers(int) Action { return ActionContinue }

// OnHttpResponseHeaders lets them pass.
func (*DefaultHttpContext) OnHttpResponseHeaders(int, bool) Action { return ActionContinue }

// OnHttpResponseBody lets it pass.
func (*DefaultHttpContext) OnHttpResponseBody(int, bool) Action { return ActionContinue }

// OnHttpResponseTrailers lets them pass.
func (*DefaultHttpContext) OnHttpResponseTrailers(int) Action { return ActionContinue }

// OnHttpStreamDone does nothing.
func (*DefaultHttpContext) OnHttpStreamDone() {}
