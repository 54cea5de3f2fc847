package e2e

import (
	"bytes"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// inEnvoy starts the models and a data plane in which the filter judges, and no
// processor sees a request.
func inEnvoy(t *testing.T, of times) (plane *dataplane.Plane, primary, fallback *fm.Server) {
	t.Helper()
	primary, fallback = models(t)
	module := []string{"--wasm-module", dataplane.Module(t)}
	plane = dataplane.Start(t, dataplane.Options{Config: writeConfig(t, "WASM", of, primary, fallback), Serve: module, Render: module})
	return plane, primary, fallback
}

// TestFaultsInEnvoy is TestFaults with the filter alone. It cannot tell a constant
// answer, which one worker does not see enough of.
func TestFaultsInEnvoy(t *testing.T) {
	plane, primary, fallback := inEnvoy(t, inTime)
	var count tally
	for _, f := range fm.Faults() {
		for _, p := range column[f.Entry()] {
			if !f.On(p) {
				continue // a form that this protocol has not: TestTableIsComplete counts them
			}
			if f == fm.C16Constant {
				count.na++
				continue
			}
			count.run(t, f.String()+"/"+p.String(), func(t *testing.T) {
				c := cell{plane: plane, primary: primary, fallback: fallback, fault: f, protocol: p, want: expected[f]}
				c.run(t)
				count.again += c.again
			})
		}
	}
	count.done(t)
	if n := plane.Metric("safestate_extproc_messages_total"); n > 0 {
		t.Errorf("the processor got %v messages", n)
	}
}

// TestRequestFaultsInEnvoy is TestRequestFaults with the filter alone.
func TestRequestFaultsInEnvoy(t *testing.T) {
	plane, primary, _ := inEnvoy(t, calmly)
	everyRequestFault(t, plane, primary)
}

// TestFaultsOfChatInEnvoy and TestFaultsOfStreamsInEnvoy are those of chat with the
// filter alone.
func TestFaultsOfChatInEnvoy(t *testing.T) { chatFaults(t, "WASM", fm.OA) }

// TestFaultsOfStreamsInEnvoy: a stream that failed after its first content is broken
// off behind its error event, or without one where the model says nothing more.
func TestFaultsOfStreamsInEnvoy(t *testing.T) { chatFaults(t, "WASM", fm.SSE) }

// endingInEnvoy is how an answer ended for a caller who reads on behind an error event,
// or behind the end of a stream that the model keeps open: there the filter breaks the
// transfer off.
func (h heard) endingInEnvoy(got ending) ending {
	switch {
	case got == brokenOff && h.code != "":
		return errorEvent
	case got == brokenOff && bytes.HasSuffix(bytes.TrimSpace(h.body), []byte("data: [DONE]")):
		return ownAnswer
	}
	return got
}

// inEnvoyToo adds what else is right of the filter: of a model that says nothing more it
// can send no event.
func inEnvoyToo(want ending, silent bool) ending {
	if silent && want&errorEvent != 0 {
		return want | brokenOff
	}
	return want
}
