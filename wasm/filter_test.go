package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/safestate/safestate/wasm/emulator"
	"github.com/safestate/safestate/wasm/filter"
)

// TestFilterInEmulator is the least that the module has to do: let a good answer
// pass byte by byte, answer in the place of a bad one, and leave alone what has
// no policy. Natively and on wazero.
func TestFilterInEmulator(t *testing.T) {
	compiled := emulator.Build(t, module)
	for name, o := range map[string]emulator.Options{"native": {VM: filter.NewVMContext}, "wazero": {Module: compiled}} {
		for _, c := range []struct {
			name   string
			route  emulator.Route
			answer emulator.Answer
			passes bool
		}{
			{"good answer", fraudRoute(t), scored("0.1"), true},
			{"NaN", fraudRoute(t), scored("NaN"), false},
			{"500", fraudRoute(t), emulator.Answer{Status: 500}, false},
			{"refused", fraudRoute(t), emulator.Answer{Fault: emulator.Refused}, false},
			{"no policy", emulator.Route{Name: "other", Cluster: "other"}, scored("NaN"), true},
		} {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o.Route = c.route
					h := emulator.New(t, o)
					s := h.Do(question, c.answer)
					h.Advance(0)
					r := s.Response()
					passed := bytes.Equal(r.Body, []byte(c.answer.Body))
					if !s.Done() || r.Broken || r.Status != 200 || passed != c.passes || h.Failed() {
						t.Errorf("%+v", r)
					}
					for metric, n := range h.Metrics() {
						if strings.HasPrefix(metric, "safestate_wasm_recovered_total") && n > 0 {
							t.Errorf("%s is %d\n%s", metric, n, strings.Join(h.Log(), "\n"))
						}
					}
				})
			})
		}
	}
}
