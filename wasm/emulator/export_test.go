package emulator

// Lie has a module told wrong addresses and sizes of what it is handed.
func (h *Host) Lie(told func(data, size uint32) (uint32, uint32)) { h.vm.lie = told }

// Export calls an export that is no callback, with any arguments.
func (h *Host) Export(name string, args ...uint64) ([]uint64, error) {
	w := h.vm.guest.(*wasm)
	return w.instance.ExportedFunction(name).Call(w.ctx, args...)
}

// Memory is how many bytes of memory the module has.
func (h *Host) Memory() uint32 { return h.vm.guest.(*wasm).instance.Memory().Size() }
