package proxywasm

import (
	"github.com/safestate/safestate/wasm/proxywasm/types"
)

// machine is what a VM knows of its contexts.
type machine struct {
	context types.VMContext
	plugins []plugin // in the order in which they were configured
	streams table[stream]
	calls   table[call]
	counted map[string]uint32 // ids of the counters of panics, by callback

	callback  uint64 // which one runs: they are numbered
	active    uint32 // the context that it was called for
	effective uint32 // the context that host calls act on
}

// begin notes which context a callback is for.
func (m *machine) begin(id uint32) {
	m.callback++
	m.active, m.effective = id, id
}

type plugin struct {
	id      uint32
	context types.PluginContext
}

// stream is a stream that has a context.
type stream struct {
	context  types.HttpContext // nil while it is being made
	acted    uint64            // the last callback that had the host do something
	answered bool              // by SendHttpResponse
	deleted  bool              // its last callback runs
}

// call is an HTTP call that is under way.
type call struct {
	asked uint32
	back  func(numHeaders, bodySize, numTrailers int)
}

var vm = &machine{}

// SetVMContext sets the VM's context, from an init function: main does not run
// in a module that is built as c-shared.
func SetVMContext(context types.VMContext) { vm.context = context }

// plugin returns the context of a plugin, or nil.
func (m *machine) plugin(id uint32) types.PluginContext {
	for i := range m.plugins {
		if m.plugins[i].id == id {
			return m.plugins[i].context
		}
	}
	return nil
}

// current is the plugin that new streams belong to, or nil.
func (m *machine) current() types.PluginContext {
	if len(m.plugins) == 0 {
		return nil
	}
	return m.plugins[len(m.plugins)-1].context
}

// join returns a plugin's context and makes it current; it is made if there is
// none.
func (m *machine) join(id uint32) types.PluginContext {
	context := m.leave(id)
	if context == nil && m.context != nil {
		context = m.context.NewPluginContext(id)
	}
	if context != nil {
		m.plugins = append(m.plugins, plugin{id, context})
	}
	return context
}

// leave forgets a plugin and returns its context, or nil.
func (m *machine) leave(id uint32) types.PluginContext {
	for i, p := range m.plugins {
		if p.id == id {
			m.plugins = append(m.plugins[:i], m.plugins[i+1:]...)
			return p.context
		}
	}
	return nil
}

// act reports whether the host may be asked to answer or resume the stream that
// host calls act on. Both happen after the callback, and either may be the end
// of the stream for Envoy: doing one more thing then is a use after free, which
// ends the process (1.40.0). Once answered, a stream needs nothing any more.
func (m *machine) act(answer bool) bool {
	s := m.streams.get(m.effective)
	if s == nil {
		return true // a plugin's context, on which the host does nothing
	}
	if s.answered || s.deleted || s.acted == m.callback {
		return false
	}
	s.answered, s.acted = answer, m.callback
	return true
}

// alive reports whether a context can still be called back.
func (m *machine) alive(id uint32) bool {
	return m.streams.get(id) != nil || m.plugin(id) != nil
}
