//go:build wasip1

// Command noopfilter is a WASM filter that does nothing in the callbacks of
// safestate's: what any filter in Go costs.
package main

import (
	"github.com/safestate/safestate/wasm/proxywasm"
	"github.com/safestate/safestate/wasm/proxywasm/types"
)

func init() { //nolint:gochecknoinits // there is no other place where such a module starts
	proxywasm.SetVMContext(&vm{})
}

func main() {}

type (
	vm     struct{ types.DefaultVMContext }
	plugin struct{ types.DefaultPluginContext }
)

// NewPluginContext implements types.VMContext.
func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{} }

// NewHttpContext implements types.PluginContext.
func (*plugin) NewHttpContext(uint32) types.HttpContext { return &types.DefaultHttpContext{} }
