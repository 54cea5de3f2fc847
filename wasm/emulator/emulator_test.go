package emulator_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/wasm/emulator"
	"github.com/safestate/safestate/wasm/emulator/probe"
	"github.com/safestate/safestate/wasm/proxywasm"
	"github.com/safestate/safestate/wasm/proxywasm/types"
)

// both runs a test natively and on wazero, in a bubble each.
func both(t *testing.T, run func(t *testing.T, o emulator.Options)) {
	module := emulator.Build(t, probe.Module)
	for name, o := range map[string]emulator.Options{"native": {VM: probe.New}, "wazero": {Module: module}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { run(t, o) })
		})
	}
}

func asked(plan string) emulator.Request {
	return emulator.Request{Headers: [][2]string{{"x-probe", plan}}}
}

// TestFailedVMIsNotBuiltAtOnce: with Envoy's own settings a VM that failed soon
// after it was built leaves requests without one until a second is over.
func TestFailedVMIsNotBuiltAtOnce(t *testing.T) {
	both(t, func(t *testing.T, o emulator.Options) {
		h := emulator.New(t, o)
		status := func() int { return h.Do(asked(""), emulator.Answer{Body: "hello"}).Response().Status }
		h.TrapIn("proxy_on_request_headers")
		held := h.Ask(asked("request-headers=pause"))
		if got := held.Response(); got.Status != 503 || got.Details != "wasm_fail_stream" || len(got.Body) > 0 {
			t.Errorf("the request in the trap got %+v", got)
		}
		for range 3 {
			if got := status(); got != 503 || !h.Failed() {
				t.Errorf("too early: %d", got)
			}
		}
		h.Advance(time.Second)
		if got := status(); got != 200 || h.Failed() {
			t.Errorf("after a second: %d", got)
		}
	})
}

// TestStreamsInAFailedVM are answered at their next callback, and their calls and
// ticks no longer come.
func TestStreamsInAFailedVM(t *testing.T) {
	both(t, func(t *testing.T, o emulator.Options) {
		o.Call = func(emulator.Call) emulator.Reply { return emulator.Reply{After: 10 * time.Millisecond} }
		h := emulator.New(t, o)
		asking := h.Ask(asked(""))
		calling := h.Do(asked("response-headers=call:model:100+pause;call=local:200:default"), emulator.Answer{Status: 500})
		h.TrapIn("proxy_on_tick")
		h.Tick()
		h.Advance(time.Second)
		if calling.Done() {
			t.Errorf("a call came back to a VM that has failed: %+v", calling.Response())
		}
		asking.Answer(emulator.Answer{Body: "hello"})
		if got := asking.Response(); got.Status != 503 {
			t.Errorf("%+v", got)
		}
	})
}

// TestPauseWithoutStopIteration: without allow_on_headers_stop_iteration a body
// is never seen behind headers that are held.
func TestPauseWithoutStopIteration(t *testing.T) {
	both(t, func(t *testing.T, o emulator.Options) {
		o.StopAll = true
		h := emulator.New(t, o)
		s := h.Do(asked("response-headers=pause;response-body=resume;response-end=read:body"), emulator.Answer{Body: "hello"})
		h.Advance(time.Minute)
		if s.Done() || strings.Contains(strings.Join(h.Log(), "\n"), "response-body") {
			t.Errorf("%+v", s.Response())
		}
	})
}

// TestContentLengthIsHeld: an answer of another length than it says is broken.
func TestContentLengthIsHeld(t *testing.T) {
	both(t, func(t *testing.T, o emulator.Options) {
		h := emulator.New(t, o)
		s := h.Do(asked("response-headers=pause;response-body=pause;response-end=replace:much longer"), emulator.Answer{Body: "hello"})
		if r := s.Response(); !r.Broken {
			t.Errorf("%+v", r)
		}
	})
}

func TestCallerLeaves(t *testing.T) {
	both(t, func(t *testing.T, o emulator.Options) {
		h := emulator.New(t, o)
		s := h.Ask(asked(""))
		s.Leave()
		s.Answer(emulator.Answer{Body: "hello"})
		s.Leave()
		if n := strings.Count(strings.Join(h.Log(), "\n"), "done"); n != 1 || !s.Done() || s.Response().Status != 0 {
			t.Errorf("%d ends, %+v", n, s.Response())
		}
	})
}

func TestGRPCReplies(t *testing.T) {
	both(t, func(t *testing.T, o emulator.Options) {
		h := emulator.New(t, o)
		q := asked("response-headers=local:503:not now")
		q.Headers = append(q.Headers, [2]string{"content-type", "application/grpc+proto"})
		r := h.Do(q, emulator.Answer{Status: 500}).Response()
		if r.Status != 200 || r.Header("grpc-status") != "14" || r.Header("grpc-message") != "not%20now" || len(r.Body) > 0 {
			t.Errorf("%+v", r)
		}
	})
}

// TestWorkersShare: metrics by their names, and shared data.
func TestWorkersShare(t *testing.T) {
	first := emulator.New(t, emulator.Options{VM: func() types.VMContext { return &sharing{} }})
	second := emulator.New(t, emulator.Options{VM: func() types.VMContext { return &sharing{} }, Beside: first})
	for i, h := range []*emulator.Host{first, second, first} {
		h.Do(emulator.Request{}, emulator.Answer{})
		if n := first.Metric("streams"); n != int64(i+1) {
			t.Errorf("%d streams, want %d", n, i+1)
		}
	}
	if v, ok := second.Shared("last"); !ok || v != "3" {
		t.Errorf("shared %q", v)
	}
	first.Share("last", "7")
	second.Do(emulator.Request{}, emulator.Answer{})
	if v, _ := first.Shared("last"); v != "8" {
		t.Errorf("shared %q", v)
	}
	if first.Metric("never defined") != 0 || len(first.Metrics()) != 1 {
		t.Errorf("%v", first.Metrics())
	}
}

// sharing counts streams of all workers in shared data as well.
type sharing struct {
	types.DefaultVMContext
	types.DefaultPluginContext
	streams proxywasm.MetricCounter
}

func (s *sharing) NewPluginContext(uint32) types.PluginContext {
	s.streams = proxywasm.DefineCounterMetric("streams")
	return s
}

func (s *sharing) NewHttpContext(uint32) types.HttpContext {
	s.streams.Increment(1)
	value, cas, err := proxywasm.GetSharedData("last")
	n := byte('0')
	if err == nil {
		n = value[0]
		if proxywasm.SetSharedData("last", value, cas+1) == nil {
			panic("a write by an old number")
		}
	}
	if err := proxywasm.SetSharedData("last", []byte{n + 1}, cas); err != nil {
		panic(err)
	}
	return nil
}

func TestPluginThatRefuses(t *testing.T) {
	for name, o := range map[string]emulator.Options{"native": {VM: probe.New}, "wazero": {Module: emulator.Build(t, probe.Module)}} {
		o.Configuration = "refused"
		if _, err := emulator.Start(o); err == nil {
			t.Errorf("%s: it has started", name)
		}
	}
}

func TestWhatIsNoModule(t *testing.T) {
	if _, err := emulator.Load([]byte("\x00asm\x01\x00\x00\x00\x01"), ""); err == nil {
		t.Error("loaded")
	}
}
