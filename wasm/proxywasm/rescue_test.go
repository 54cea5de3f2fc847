package proxywasm_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/safestate/safestate/wasm/proxywasm"
	"github.com/safestate/safestate/wasm/proxywasm/abi"
	"github.com/safestate/safestate/wasm/proxywasm/types"
)

// broken panics in one callback, and pauses when it is told.
func broken(where string, told *[]string) *scripted {
	return &scripted{made: func(uint32) types.HttpContext {
		return &stream{
			do: func(callback string) types.Action {
				if callback == where {
					var none []int
					_ = none[len(callback)]
				}
				return types.ActionContinue
			},
			told: func(callback string) types.Action {
				*told = append(*told, callback)
				return types.ActionPause
			},
		}
	}}
}

// TestPanicsAreCaught holds, in each callback of a stream, that a panic is
// logged and counted, and that the stream's context decides what follows.
func TestPanicsAreCaught(t *testing.T) {
	for name, call := range callbacks {
		var told []string
		f := start(broken(name, &told))
		if name != "proxy_on_request_headers" {
			proxywasm.ProxyOnRequestHeaders(7, 1, 0)
		}
		for range 2 { // the counter is defined once
			action := call(7)
			if name != "proxy_on_delete" && action != uint32(types.ActionPause) {
				t.Errorf("%s returned %d", name, action)
			}
			if name == "proxy_on_delete" {
				break
			}
		}
		if len(told) == 0 || told[0] != name {
			t.Errorf("%s: told %v", name, told)
		}
		counter := "safestate_wasm_recovered_total;.callback=." + name + ";."
		if f.called("define "+"0 "+counter) != 1 || f.called("increment 1 1") != len(told) {
			t.Errorf("%s: %v", name, f.calls)
		}
		if len(f.logged) == 0 || !strings.Contains(f.logged[0], "panic in "+name+": runtime error: index out of range") ||
			!strings.Contains(f.logged[0], "rescue_test.go") {
			t.Errorf("%s logged %q", name, f.logged)
		}
	}
}

func TestPanicAtTheEndStillEndsTheStream(t *testing.T) {
	var told []string
	start(broken("proxy_on_delete", &told))
	proxywasm.ProxyOnRequestHeaders(7, 1, 0)
	proxywasm.ProxyOnDelete(7)
	proxywasm.ProxyOnDelete(7)
	if len(told) != 1 {
		t.Errorf("told %v", told)
	}
}

// TestPanicsOfPlugins are those of callbacks that have no stream.
func TestPanicsOfPlugins(t *testing.T) {
	var told []string
	s := &scripted{
		vmStart:     func() types.OnVMStartStatus { panic("start") },
		pluginStart: func() types.OnPluginStartStatus { panic(errors.New("configure")) },
		tick:        func() { panic(stringer{}) },
		made:        func(uint32) types.HttpContext { panic(struct{}{}) },
		recovered: func(callback string) types.Action {
			told = append(told, callback)
			return types.ActionPause
		},
	}
	f := newFake()
	proxywasm.SetVMContext(s)
	if proxywasm.ProxyOnVMStart(1, 0) != 0 || proxywasm.ProxyOnConfigure(1, 0) != 0 {
		t.Error("what panics has started")
	}
	proxywasm.ProxyOnTick(1)
	if action := proxywasm.ProxyOnRequestHeaders(7, 1, 0); action != uint32(types.ActionPause) {
		t.Errorf("a stream whose context could not be made: %d, though the plugin wants a pause", action)
	}
	if action := proxywasm.ProxyOnRequestBody(7, 1, 0); action != uint32(types.ActionContinue) {
		t.Errorf("a stream without a context: %d", action)
	}
	if got := strings.Join(told, " "); got != "proxy_on_vm_start proxy_on_configure proxy_on_tick proxy_on_request_headers" {
		t.Errorf("told %s", got)
	}
	all := strings.Join(f.logged, "\n")
	for _, want := range []string{"start", "configure", "as text", "a value that is neither"} {
		if !strings.Contains(all, ": "+want) {
			t.Errorf("no %q in %s", want, all)
		}
	}
}

type stringer struct{}

func (stringer) String() string { return "as text" }

func TestPanicInCallsCallback(t *testing.T) {
	var told []string
	s := broken("", &told)
	f := start(s)
	proxywasm.ProxyOnRequestHeaders(7, 1, 0)
	f.token = 4
	s.tick = nil
	if _, err := proxywasm.DispatchHttpCall("c", nil, nil, nil, 0, func(int, int, int) { panic("back") }); err != nil {
		t.Fatal(err)
	}
	proxywasm.ProxyOnHTTPCallResponse(1, 4, 0, 0, 0)
	if len(told) != 1 || told[0] != "proxy_on_http_call_response" {
		t.Errorf("told %v", told)
	}
}

// TestRecoveredMayPanic, and the host may refuse the counter: the stream goes on.
func TestRecoveredMayPanic(t *testing.T) {
	f := start(&scripted{made: func(uint32) types.HttpContext {
		return &stream{
			do:   func(string) types.Action { panic("first") },
			told: func(string) types.Action { panic("second") },
		}
	}})
	f.status["define "] = abi.InternalFailure
	if action := proxywasm.ProxyOnRequestHeaders(7, 1, 0); action != uint32(types.ActionContinue) {
		t.Errorf("action %d", action)
	}
	if all := strings.Join(f.logged, "\n"); !strings.Contains(all, "second") {
		t.Errorf("logged %s", all)
	}
}

func TestContextNeedNotRecover(t *testing.T) {
	start(&scripted{made: func(uint32) types.HttpContext { return &noRecovered{} }})
	if action := proxywasm.ProxyOnRequestHeaders(7, 1, 0); action != uint32(types.ActionContinue) {
		t.Errorf("action %d", action)
	}
}

type noRecovered struct{ types.DefaultHttpContext }

func (*noRecovered) OnHttpRequestHeaders(int, bool) types.Action { panic("no") }
