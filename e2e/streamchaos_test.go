package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/streams"
)

// quickly are the events of streams.Events that are done here; `make streams`
// does all of them, under 100 streams.
var quickly = []string{
	"safestate SIGKILL", "safestate SIGSTOP", "safestate SIGTERM", "safestate SIGTERM, --drain 2s", "model SIGKILL", "model SIGSTOP",
}

// TestChaosOfStreams kills, stops and ends safestate and the model under 30 open
// streams: every one ends complete, with an error event, with an error object or
// in a transfer that visibly breaks.
func TestChaosOfStreams(t *testing.T) {
	stands := map[string]*streams.Stand{}
	done := 0
	for _, event := range streams.Events() {
		if !slices.Contains(quickly, event.Name) {
			continue
		}
		done++
		flags := strings.Join(event.Serve, " ")
		if stands[flags] == nil {
			stands[flags] = streams.NewStand(t, event.Serve...)
		}
		t.Run(event.Name, func(t *testing.T) { streams.Chaos(t, stands[flags], event, 30, nil) })
	}
	if done != len(quickly) {
		t.Errorf("%d events of %d are there", done, len(quickly))
	}
}
