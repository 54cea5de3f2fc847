package emulator_test

import (
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/wasm/emulator"
	"github.com/safestate/safestate/wasm/emulator/probe"
)

// traps end the VM in each callback.
var traps = []scenario{
	{name: "trap-request-headers", plan: "request-headers=trap", model: hello},
	{name: "trap-request-body", sent: "question", plan: "request-body=trap", model: hello},
	{name: "trap-request-trailers", sent: "question", ends: true, plan: "request-trailers=trap", model: hello},
	{name: "trap-response-headers", plan: "response-headers=trap", model: hello},
	{name: "trap-response-headers-only", plan: "response-headers=trap", model: answer{status: 500}},
	{name: "trap-held-body", plan: "response-headers=unlength+pause;response-body=trap", model: hello},
	{name: "trap-response-body", plan: "response-body=trap", model: hello},
	{name: "trap-response-trailers", plan: "response-headers=pause;response-body=pause;response-trailers=trap",
		model: answer{status: 200, chunks: []string{"hello"}, trailers: [][2]string{{"x-end", "yes"}}}},
	{name: "trap-tick", plan: "request-headers=wait;tick=trap", model: answer{fault: "silent"}},
	{name: "trap-done", plan: "done=trap", model: hello},
	{name: "trap-local-reply", plan: "response-headers=trap", model: answer{fault: "refused"}},
}

// TestTrapsAsInEnvoy holds what a caller gets of a VM that fails, and that the
// next request has a VM again.
func TestTrapsAsInEnvoy(t *testing.T) {
	module := emulator.Build(t, probe.Module)
	real := startEnvoy(t)
	next := scenario{name: "next", plan: "", model: hello}
	for _, s := range traps {
		t.Run(s.name, func(t *testing.T) {
			want := real.ask(t, s)
			dataplane.Eventually(t, time.Minute, "the next request has a VM", func() bool { return real.ask(t, next).Status == 200 })
			options := map[string]emulator.Options{"native": {VM: probe.New}, "wazero": {Module: module}}
			for name, o := range options {
				synctest.Test(t, func(t *testing.T) {
					o.Configuration, o.BufferLimit, o.Call = "settings", bufferLimit, called
					h := emulator.New(t, o)
					if name == "native" { // where a trap would end this process
						h.TrapIn("proxy_on_" + callbackOf(s))
					}
					got := trapped(h, s)
					want.Seen = nil
					if !reflect.DeepEqual(got, want) {
						t.Errorf("%s:\n got %+v\nEnvoy %+v", name, got, want)
					}
					if !h.Failed() {
						t.Errorf("%s: the VM has not failed", name)
					}
					if got := trapped(h, next); got.Status != 200 {
						t.Errorf("%s: the next request got %+v", name, got)
					}
				})
			}
		})
	}
}

// callbackOf is the callback that a scenario's trap is in.
func callbackOf(s scenario) string {
	for part := range strings.SplitSeq(s.plan, ";") {
		if where, ok := strings.CutSuffix(part, "=trap"); ok {
			if where == "done" {
				return "delete"
			}
			return strings.ReplaceAll(where, "-", "_")
		}
	}
	return ""
}

func trapped(h *emulator.Host, s scenario) outcome {
	out := exchange(h, s)
	h.Advance(2 * time.Second)
	return out
}
