//go:build wasip1

// Command safestate.wasm is the filter that Envoy loads: `make wasm`.
package main

import (
	"github.com/safestate/safestate/wasm/filter"
	"github.com/safestate/safestate/wasm/proxywasm"
)

// A module that is built as c-shared runs its init functions, and no main.
func init() { //nolint:gochecknoinits // there is no other place where such a module starts
	proxywasm.SetVMContext(filter.NewVMContext())
}

func main() {}
