package emulator_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/wasm/emulator"
	"github.com/safestate/safestate/wasm/emulator/probe"
)

// TestExports: each export is a crossing of every request, so there are those
// that are used. _initialize starts a module, memory allocates for the host.
func TestExports(t *testing.T) {
	exports := emulator.Build(t, probe.Module).Exports()
	slices.Sort(exports)
	want := []string{
		"_initialize", "proxy_abi_version_0_2_1", "proxy_on_configure", "proxy_on_delete", "proxy_on_http_call_response",
		"proxy_on_memory_allocate", "proxy_on_request_body", "proxy_on_request_headers", "proxy_on_request_trailers",
		"proxy_on_response_body", "proxy_on_response_headers", "proxy_on_response_trailers", "proxy_on_tick", "proxy_on_vm_start",
	}
	if !slices.Equal(exports, want) {
		t.Errorf("exports %v, want %v", exports, want)
	}
}

func onWazero(t testing.TB) *emulator.Host {
	return emulator.New(t, emulator.Options{Module: emulator.Build(t, probe.Module), Configuration: "settings"})
}

// TestHostThatLies hands over memory that is not what the module allocated. The
// module must take none of it, and live.
func TestHostThatLies(t *testing.T) {
	const reads = "response-headers=read:response-header+read:xds/route_name;response-body=read:body"
	for name, c := range map[string]struct {
		lie  func(data, size uint32) (uint32, uint32)
		want string
	}{
		"no address":             {func(_, size uint32) (uint32, uint32) { return 0, size }, "(the host failed)"},
		"another address":        {func(data, size uint32) (uint32, uint32) { return data + 8, size }, "(the host failed)"},
		"an address of the code": {func(_, size uint32) (uint32, uint32) { return 4096, size }, "(the host failed)"},
		"past all memory":        {func(_, size uint32) (uint32, uint32) { return 0xfffffff0, size }, "(the host failed)"},
		"one byte more":          {func(data, size uint32) (uint32, uint32) { return data, size + 1 }, "(the host failed)"},
		"4 GB":                   {func(data, _ uint32) (uint32, uint32) { return data, 0xffffffff }, "(the host failed)"},
		"one byte less":          {func(data, size uint32) (uint32, uint32) { return data, size - 1 }, "hell"},
		"nothing":                {func(uint32, uint32) (uint32, uint32) { return 0, 0 }, "(the host does not have it)"},
	} {
		t.Run(name, func(t *testing.T) {
			h := onWazero(t)
			s := h.Ask(emulator.Request{Headers: [][2]string{{"x-case", "lied-to"}, {"x-probe", reads}}})
			h.Lie(c.lie)
			s.Answer(emulator.Answer{Body: "hello", Headers: [][2]string{{"x-model", "m"}}})
			h.Lie(nil)
			if all := strings.Join(h.Log(), "\n"); h.Failed() || !strings.Contains(all, "read body="+c.want) {
				t.Errorf("failed %v, log\n%s", h.Failed(), all)
			}
			if r := s.Response(); r.Status != 200 || string(r.Body) != "hello" {
				t.Errorf("%d %q", r.Status, r.Body)
			}
		})
	}
}

// TestAllocations are what a host may ask for, and what it must not get.
func TestAllocations(t *testing.T) {
	h := onWazero(t)
	for size, want := range map[uint64]bool{0: true, 1: true, 1 << 20: true, 65 << 20: false, 1 << 31: false, 1<<32 - 1: false} {
		got, err := h.Export("proxy_on_memory_allocate", size)
		if err != nil || (got[0] != 0) != want {
			t.Errorf("%d bytes: %v, %v", size, got, err)
		}
	}
	if s := h.Do(emulator.Request{}, emulator.Answer{Body: "hello"}); string(s.Response().Body) != "hello" {
		t.Errorf("%+v", s.Response())
	}
}

// TestHugeValues cross in both directions.
func TestHugeValues(t *testing.T) {
	huge := strings.Repeat("v", 1<<20)
	for name, o := range map[string]emulator.Options{"native": {VM: probe.New}, "wazero": {Module: emulator.Build(t, probe.Module)}} {
		o.BufferLimit = 4 << 20
		h := emulator.New(t, o)
		plan := "response-headers=unlength+pause+read:response-header;response-body=pause;response-end=replace:" + huge
		s := h.Do(emulator.Request{Headers: [][2]string{{"x-probe", plan}}}, emulator.Answer{Headers: [][2]string{{"x-model", huge}}, Body: huge + huge})
		if r := s.Response(); r.Header("x-model") != huge || string(r.Body) != huge {
			t.Errorf("%s: header of %d bytes, body of %d", name, len(r.Header("x-model")), len(r.Body))
		}
		if !strings.Contains(strings.Join(h.Log(), "\n"), "response-header="+huge) {
			t.Errorf("%s: the header was not read", name)
		}
	}
}

// TestUnknownContexts are callbacks for streams that never were, or are gone.
func TestUnknownContexts(t *testing.T) {
	for name, o := range map[string]emulator.Options{"native": {VM: probe.New}, "wazero": {Module: emulator.Build(t, probe.Module)}} {
		h := emulator.New(t, o)
		gone := h.Do(emulator.Request{}, emulator.Answer{}).ID()
		for _, id := range []uint32{gone, 0, 77, 1<<32 - 1} {
			for _, callback := range []string{"proxy_on_request_body", "proxy_on_response_headers", "proxy_on_response_body"} {
				if got := h.Callback(callback, id, 5, 1); got != 0 {
					t.Errorf("%s: %s of %d: %d", name, callback, id, got)
				}
			}
			h.Callback("proxy_on_request_trailers", id, 5)
			h.Callback("proxy_on_response_trailers", id, 5)
			h.Callback("proxy_on_http_call_response", 1, id, 1, 1, 1)
			h.Callback("proxy_on_delete", id)
			if id > 1 {
				h.Callback("proxy_on_tick", id)
			}
		}
		if h.Failed() {
			t.Errorf("%s: the VM has failed", name)
		}
	}
}

// TestMemoryIsFlat: what streams leave behind is collected.
func TestMemoryIsFlat(t *testing.T) {
	h := onWazero(t)
	body := strings.Repeat("x", 32<<10)
	run := func(n int) uint32 {
		for range n {
			s := h.Do(emulator.Request{Headers: [][2]string{{"x-probe", "response-headers=unlength+pause;response-body=pause;response-end=read:body"}}},
				emulator.Answer{Body: body})
			if !s.Done() {
				t.Fatal("a stream has not ended")
			}
		}
		return h.Memory()
	}
	before := run(500)
	// What 1500 bodies take is 48 MiB.
	if after := run(1500); after > before+4<<20 {
		t.Errorf("memory grew from %d to %d bytes", before, after)
	}
}

// BenchmarkCallback is one callback of a stream that has no context: what a
// crossing costs and nothing else.
func BenchmarkCallback(b *testing.B) {
	for _, where := range []string{"wazero", "native"} {
		b.Run(where, func(b *testing.B) {
			o := emulator.Options{VM: probe.New}
			if where == "wazero" {
				o.Module = emulator.Build(b, probe.Module)
			}
			h := emulator.New(b, o)
			b.ReportAllocs()
			for b.Loop() {
				h.Callback("proxy_on_response_headers", 99, 3, 0)
			}
		})
	}
}

// BenchmarkBody is a callback that reads a body.
func BenchmarkBody(b *testing.B) {
	h := onWazero(b)
	for _, size := range []int{0, 64, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			plan := "response-headers=pause;response-body=pause"
			if size > 0 {
				plan = "response-headers=pause;response-body=read:body+pause"
			}
			s := h.Ask(emulator.Request{Headers: [][2]string{{"x-probe", plan}}})
			s.Headers([][2]string{{":status", "200"}}, false)
			s.Body(strings.Repeat("x", size), false)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				h.Callback("proxy_on_response_body", s.ID(), uint32(size), 0)
			}
			s.Leave()
		})
	}
}
