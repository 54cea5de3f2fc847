//go:build wasip1

// Command module is the probe as a module.
package main

import (
	"github.com/safestate/safestate/wasm/emulator/probe"
	"github.com/safestate/safestate/wasm/proxywasm"
)

func init() { //nolint:gochecknoinits // there is no other place where such a module starts
	proxywasm.SetVMContext(probe.New())
}

func main() {}
