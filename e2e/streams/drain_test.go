package streams

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// TestDrainOfFallbacks ends safestate while fallback models answer, which takes
// them longer than the drain: a relay that was under way, one that the ladder's
// upstream serves, and one that only the drain began end with an error event too.
func TestDrainOfFallbacks(t *testing.T) {
	const slowTokens = 100
	model := Model(t, fm.Options{Version: "v1", FaultHeader: true})
	fallback := Model(t, fm.Options{Version: "small", Tokens: slowTokens, Pace: 100 * time.Millisecond})
	relayed, open := patientRoute("relayed", model, fallback), patientRoute("open", model, fallback)
	open.Breaker = "{state: Open}"
	plane := dataplane.Start(t, dataplane.Options{Config: Folder(t, relayed, open), Serve: []string{"--drain", "1s"}})
	caller := NewCaller(plane.Traffic, slowTokens, true)
	defer caller.Close()

	calls := map[string][]*Call{
		"relayed":  caller.askTogether(t.Context(), 10, Question{Route: "relayed", Stream: true, Fault: "S04-503"}),
		"upstream": caller.askTogether(t.Context(), 10, Question{Route: "open", Stream: true}),
		"held":     caller.askTogether(t.Context(), 10, Question{Route: "relayed", Stream: true, Fault: heldFault}),
	}
	dataplane.Eventually(t, 10*time.Second, "fallbacks answer", func() bool {
		for _, how := range []string{"relayed", "upstream"} {
			for _, c := range calls[how] {
				if c.Said() < 2 {
					return false
				}
			}
		}
		return model.Open() == 10
	})
	begun := time.Now()
	signal(t, plane.Safestate, syscall.SIGTERM)
	for how, of := range calls {
		ended := map[string]int{}
		for i, c := range of {
			o, ok := c.Outcome(begun.Add(time.Second + slack))
			ended[o.String()]++
			if !ok || o.String() != draining || o.Source != "fallback" {
				t.Errorf("%s, stream %d: %s", how, i, o.Detail())
			}
		}
		fmt.Printf("figure drain fallback=%s ended=%s\n", how, told(ended))
	}
	gone(t, plane.Safestate, slack)
	fmt.Printf("figure drain of_1s exit_after=%s\n", time.Since(begun).Round(10*time.Millisecond))
}
