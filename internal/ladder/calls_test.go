package ladder

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/safestate/safestate/internal/kill"
)

// TestCallsAreCounted: a call of a fallback model is open from before it is looked
// whether the model is killed until its end, a stream's until the stream's.
func TestCallsAreCounted(t *testing.T) {
	s, _ := newState(t)
	s.Kills = kill.NewLive(nil)
	var open, calls atomic.Int32
	s.Calls = func(_, model, _ string) func() {
		if model != "default/small" {
			t.Errorf("a call of %s", model)
		}
		calls.Add(1)
		open.Add(1)
		return func() { open.Add(-1) }
	}
	status := http.StatusOK
	e, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if open.Load() != 1 {
			t.Errorf("%d calls are open while one is made", open.Load())
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, smallBody)
	})
	l, _ := newLadder(t, s, fraud(small(e)))
	for i, then := range []func(){func() { status = http.StatusInternalServerError }, func() { s.Kills.Store(killed(kill.Everything)) }, func() {}} {
		l.Answer(t.Context(), asking(askBody, nil))
		if open.Load() != 0 {
			t.Fatalf("after call %d %d are open", i, open.Load())
		}
		then()
	}
	if calls.Load() != 2 {
		t.Errorf("%d calls were made, want 2 before the kill", calls.Load())
	}
}

// TestStreamsAreCounted until they are closed.
func TestStreamsAreCounted(t *testing.T) {
	s, _ := newState(t)
	var open atomic.Int32
	s.Calls = func(string, string, string) func() {
		open.Add(1)
		return func() { open.Add(-1) }
	}
	e, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, role+token("Hello"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	l, _ := newLadder(t, s, assistant(gpt(e), rulesRungOf(chatRules)))
	a := l.Answer(t.Context(), chatting(chatPath, streamAsk))
	if a.Stream == nil || open.Load() != 1 {
		t.Fatalf("%s answered, and %d calls are open", a.Source, open.Load())
	}
	a.Stream.Close()
	if open.Load() != 0 {
		t.Errorf("%d calls are open after the stream's end", open.Load())
	}
}
