package filter

import (
	"testing"
	"testing/synctest"
	stdtime "time"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/wasm/emulator"
	"github.com/safestate/safestate/wasm/proxywasm/types"
)

// watched is a VM whose plugin a test can reach into.
type watched struct {
	types.DefaultVMContext
	plugin *plugin
}

func (v *watched) NewPluginContext(id uint32) types.PluginContext {
	v.plugin = (&vm{}).NewPluginContext(id).(*plugin)
	return v.plugin
}

// TestOnePanicOfTheClockIsOneStreams: of five late answers one cannot be replaced, and the
// others are.
func TestOnePanicOfTheClockIsOneStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := policy.Policy{
			Format: 1, Name: "ns/p", Route: "ns/r/0", Host: policy.HostWASM, Mode: policy.Enforce, Protocol: policy.OpenInferenceV2, Model: "ns/m",
			Versions: map[string]policy.Version{"c1": {Name: "v1"}}, Deadline: policy.Duration(300 * stdtime.Millisecond), Reserve: policy.Duration(50 * stdtime.Millisecond),
			Limits: policy.Limits{BodyBytes: 1 << 20}, Detect: policy.Detect{Broken: &policy.Broken{Mode: policy.Enforce}, Late: &policy.Late{Mode: policy.Enforce}},
			Ladder: []policy.Rung{{SafeDefault: &policy.SafeDefault{Body: `{"default":true}`}}},
		}
		text, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		v := &watched{}
		h := emulator.New(t, emulator.Options{VM: func() types.VMContext { return v }, Route: emulator.Route{Name: "r", Cluster: "c1", Metadata: map[string]map[string]string{
			policy.MetadataNamespace: {policy.MetadataPolicy: string(text), policy.MetadataPolicyDigest: policy.Digest(string(text))},
		}}})
		var all []*emulator.Stream
		for range 5 {
			s := h.Ask(emulator.Request{Path: "/v2/models/m/infer", Body: "{}"})
			s.Headers([][2]string{{":status", "200"}, {"content-type", "application/json"}}, false)
			all = append(all, s)
		}
		failing := v.plugin.streams[all[2].ID()]
		spoiled := *failing.route
		spoiled.last = nil // what answers this one fails
		failing.route = &spoiled
		h.Advance(stdtime.Second)
		for i, s := range all {
			want := 200
			if i == 2 {
				want = 503
			}
			if !s.Done() || s.Response().Status != want {
				t.Errorf("stream %d: done %v, status %d, want %d", i, s.Done(), s.Response().Status, want)
			}
		}
		if n := h.Metric("safestate_wasm_recovered_total;.callback=.proxy_on_tick;."); n != 1 {
			t.Errorf("%d panics counted", n)
		}
	})
}
