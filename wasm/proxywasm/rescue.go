package proxywasm

import (
	"runtime"

	"github.com/safestate/safestate/wasm/proxywasm/abi"
	"github.com/safestate/safestate/wasm/proxywasm/types"
)

// How much of a panic's stack is logged.
const stackLogged = 2 << 10

// rescue is deferred by every callback. It turns a panic into an action: that
// of the context id, or of the plugin where a stream has no context yet, or
// ActionContinue. Where action is nil, the callback returns nothing.
func rescue(callback string, id uint32, action *uint32) {
	p := recover()
	if p == nil {
		return
	}
	hostLog(abi.Error, "panic in "+callback+": "+reason(p)+"\n"+stack())
	count(callback)
	decided := told(callback, id)
	if action != nil && id != 0 {
		*action = uint32(decided)
	}
}

// told tells the context of a panic and returns what it wants. A panic in that
// is logged, and the stream goes on.
func told(callback string, id uint32) (action types.Action) {
	defer func() {
		if p := recover(); p != nil {
			hostLog(abi.Error, "panic in Recovered("+callback+"): "+reason(p))
			action = types.ActionContinue
		}
	}()
	var context any
	if s := vm.streams.get(id); s != nil {
		context = s.context
	} else if p := vm.plugin(id); p != nil {
		context = p
	} else {
		context = vm.current()
	}
	if r, ok := context.(interface {
		Recovered(callback string) types.Action
	}); ok {
		return r.Recovered(callback)
	}
	return types.ActionContinue
}

// count counts a panic. It must not panic itself, and a host that refuses the
// metric loses a number only.
func count(callback string) {
	id, ok := vm.counted[callback]
	if !ok {
		n, status := hostDefineMetric(abi.Counter, "safestate_wasm_recovered_total;.callback=."+callback+";.")
		if status != abi.OK {
			return
		}
		if vm.counted == nil {
			vm.counted = map[string]uint32{}
		}
		id = n
		vm.counted[callback] = id
	}
	hostIncrementMetric(id, 1)
}

// reason is a panic's text, without fmt.
func reason(p any) string {
	switch p := p.(type) {
	case string:
		return p
	case error:
		return p.Error()
	case interface{ String() string }:
		return p.String()
	}
	return "a value that is neither text nor error"
}

func stack() string {
	b := make([]byte, stackLogged)
	return view(b[:runtime.Stack(b, false)])
}
