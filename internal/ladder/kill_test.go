package ladder

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

func killOf(t kill.Target, at time.Time) kill.State {
	return kill.Kill(kill.New(t), kill.Order{ID: at.String(), At: at, By: "on-call", Reason: "wrong answers"})
}

func killed(t ...kill.Target) *kill.Set {
	var states []kill.State
	for _, target := range t {
		states = append(states, killOf(target, time.Now()))
	}
	return kill.NewSet(states...)
}

// The model rung's own calls do not lead through Envoy: they are stopped here.
func TestAKilledFallbackIsNotAsked(t *testing.T) {
	for name, target := range map[string]kill.Target{
		"everything": kill.Everything, "its model": kill.ForModel("default/small"), "its version": kill.ForVersion("default/small", "v7"),
	} {
		e, asked := server(t, says(200, smallBody))
		s, _ := newState(t)
		s.Kills = kill.NewLive(nil)
		l, rec := newLadder(t, s, fraud(small(e), rulesRungOf(rulesBody)))
		wantAnswer(t, l.Answer(t.Context(), asking(askBody, nil)), Fallback, smallBody)
		rec.took()
		s.Kills.Store(killed(target))
		wantAnswer(t, l.Answer(t.Context(), asking(askBody, nil)), Rules, rulesBody)
		if got := rec.took(); got != "fallback skipped, rules answered" || asked.Load() != 1 {
			t.Errorf("%s: %s, asked %d times", name, got, asked.Load())
		}
		s.Kills.Store(killed(kill.ForVersion("default/small", "v8"), kill.ForModel("default/fraud"), kill.ForRoute("default/fraud/score")))
		wantAnswer(t, l.Answer(t.Context(), asking(askBody, nil)), Fallback, smallBody)
	}
}

// An answer that was on its way when its model was killed is not given.
func TestAFallbackThatIsKilledWhileItAnswers(t *testing.T) {
	s, _ := newState(t)
	s.Kills = kill.NewLive(nil)
	e, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		s.Kills.Store(killed(kill.ForModel("default/small")))
		says(200, smallBody)(w, r)
	})
	l, _ := newLadder(t, s, fraud(small(e, withBreaker(1)), rulesRungOf(rulesBody)))
	wantAnswer(t, l.Answer(t.Context(), asking(askBody, nil)), Rules, rulesBody)
	if got := stateOf(t, s); got != breaker.Closed {
		t.Errorf("the breaker is %v: it says nothing about the model", got)
	}
}

func TestAFallbacksStreamThatIsKilled(t *testing.T) {
	s, _ := newState(t)
	s.Kills = kill.NewLive(nil)
	next := make(chan struct{})
	e, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, role+token("Hello"))
		w.(http.Flusher).Flush()
		<-next
		_, _ = io.WriteString(w, token(" there"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	l, _ := newLadder(t, s, assistant(gpt(e, withBreaker(1)), rulesRungOf(chatRules)))
	a := l.Answer(t.Context(), chatting(chatPath, streamAsk))
	if a.Stream == nil {
		t.Fatalf("%s answered", a.Source)
	}
	defer a.Stream.Close()
	if b, err := a.Stream.Next(t.Context()); err != nil || len(b) == 0 {
		t.Fatalf("%q, %v", b, err)
	}
	s.Kills.Store(killed(kill.Everything))
	close(next)
	for range 3 {
		b, err := a.Stream.Next(t.Context())
		var failed *StreamError
		if len(b) > 0 || !errors.As(err, &failed) || failed.Finding.Code != verdict.Killed {
			t.Fatalf("%q, %v after the kill", b, err)
		}
	}
	if got := stateOf(t, s); got != breaker.Closed {
		t.Errorf("the breaker is %v: it says nothing about the model", got)
	}
}

// What was kept of a version that is killed is gone, after its revive too.
func TestCachedAnswersOfWhatIsKilled(t *testing.T) {
	s, _ := newState(t)
	s.Kills = kill.NewLive(nil)
	l, _ := newLadder(t, s, fraud(cached(policy.First)))
	keep := answered(withID(`"1"`), nil, cleanAnswer, nil)
	l.Clean(keep.Exchange, keep.Version, true)
	wantAnswer(t, l.Answer(t.Context(), asking(withID(`"1"`), nil)), Cache, cleanAnswer)
	target := kill.ForVersion("default/fraud", "v1")
	stopped := killOf(target, time.Now())
	s.Kills.Store(kill.NewSet(stopped))
	if a, ok := l.First(t.Context(), asking(askBody, nil)); ok {
		t.Errorf("before the model: %s", a.Body)
	}
	wantAnswer(t, l.Answer(t.Context(), asking(askBody, nil)), SafeDefault, defaultBody)
	l.Clean(keep.Exchange, keep.Version, true) // it was asked before the kill
	back, err := kill.Revive(stopped, kill.Request{At: time.Now(), By: "x", Reason: "y", Generation: 1})
	if err != nil {
		t.Fatal(err)
	}
	s.Kills.Store(kill.NewSet(back))
	wantAnswer(t, l.Answer(t.Context(), asking(askBody, nil)), SafeDefault, defaultBody)
	l.Clean(keep.Exchange, keep.Version, true)
	wantAnswer(t, l.Answer(t.Context(), asking(withID(`"1"`), nil)), Cache, cleanAnswer)
}

func TestTheDefaultAlone(t *testing.T) {
	s, _ := newState(t)
	l, rec := newLadder(t, s, fraud(rulesRungOf(rulesBody)))
	wantAnswer(t, l.Default(t.Context(), asking(askBody, nil)), SafeDefault, defaultBody)
	if got := rec.took(); got != "safe_default answered" {
		t.Errorf("rungs: %s", got)
	}
}
