package streams

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// budget has room for four of the prompts.
const budget = 1 << 20

// TestBudgetOfBodies has more bodies in flight than safestate may hold: what
// finds no room gets an error object, since nobody knows whether it asked for a
// stream, or passes, as its policy says, and is counted either way; and once there
// is room again everything is inspected.
func TestBudgetOfBodies(t *testing.T) {
	model := Model(t, fm.Options{Version: "v1", Pace: -1, FaultHeader: true, FirstToken: 4 * time.Second})
	fallback := Model(t, fm.Options{Version: "small", Tokens: FallbackTokens, Pace: -1})
	answer, pass := patientRoute("answer", model, fallback), patientRoute("pass", model, fallback)
	pass.Over = "Pass"
	plane := dataplane.Start(t, dataplane.Options{
		Config: Folder(t, answer, pass), Serve: []string{"--max-bodies-bytes", fmt.Sprint(budget)},
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	caller := NewCaller(plane.Traffic, fm.StreamTokens, true)
	defer caller.Close()

	for _, c := range []struct {
		route   string
		over    string         // how what found no room ends
		counted string         // where it is counted
		inFull  func() float64 // that count
	}{
		{route: "answer", over: string(Refused) + " safestate_memory_budget", counted: "safestate_detections_total", inFull: func() float64 {
			return plane.Metric("safestate_detections_total", `route="default/answer/complete"`, `detector="guard"`)
		}},
		{route: "pass", over: complete, counted: "safestate_uninspected_total", inFull: func() float64 {
			return plane.Metric("safestate_uninspected_total", `route="default/pass/complete"`, `cause="memory_budget"`)
		}},
	} {
		t.Run(c.route, func(t *testing.T) {
			before := c.inFull()
			held := caller.askTogether(ctx, together, Question{Route: c.route, Stream: true, Prompt: prompt, Fault: heldFault})
			var most float64
			dataplane.Eventually(t, 3*time.Second, "what finds no room is counted", func() bool {
				most = max(most, plane.Metric("safestate_bodies_bytes"))
				return c.inFull()-before >= together-4
			})
			plain := caller.Ask(ctx, Question{Route: c.route, Prompt: prompt})
			room := caller.Ask(ctx, Question{Route: c.route, Prompt: 1 << 10})
			ended := map[string]int{}
			for _, call := range held {
				o, ok := call.Outcome(time.Now().Add(20 * time.Second))
				if !ok || o.Wrong != "" {
					t.Error(o.Detail())
				}
				ended[o.String()]++
			}
			over := c.inFull() - before
			if ended[complete] < 4 || ended[complete]+ended[c.over] < together {
				t.Errorf("%d streams ended %s", together, told(ended))
			}
			if over != together-4+1 { // and the plain one
				t.Errorf("%.0f are counted as without room, want %d", over, together-4+1)
			}
			if plain.String() != c.over || room.Manner != Complete || room.Source != "primary" {
				t.Errorf("without room: %s; small enough: %s", plain.Detail(), room.Detail())
			}
			if most > budget {
				t.Errorf("%.0f bytes of bodies were held, want at most %d", most, budget)
			}
			if o := caller.Ask(ctx, Question{Route: c.route, Prompt: prompt}); o.Manner != Complete || c.inFull()-before != over {
				t.Errorf("with room again: %s", o.Detail())
			}
			fmt.Printf("figure budget bytes=%d prompts=%d of %d policy=%s ended=%s %s=%.0f most_held=%.0f\n",
				budget, together, prompt, c.route, told(ended), c.counted, over, most)
		})
	}
}
