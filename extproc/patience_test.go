package extproc

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// small starts a fallback model that takes its time.
func small(t *testing.T, takes time.Duration) policy.Rung {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-time.After(takes)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, strings.Replace(cleanAnswer, `"fraud"`, `"small"`, 1))
	}))
	t.Cleanup(s.Close)
	port := s.Listener.Addr().(*net.TCPAddr).Port
	return policy.Rung{Fallback: &policy.Fallback{
		Model: "default/small", Version: "v1", ServedName: "small", Protocol: policy.OpenInferenceV2,
		Endpoints: []policy.Endpoint{{Address: "127.0.0.1", Port: port}},
		Deadline:  policy.Duration(15 * time.Second), MaxBytes: 4096,
	}}
}

func withRung(r policy.Rung) func(*policy.Policy) {
	return func(p *policy.Policy) { p.Ladder = append([]policy.Rung{r}, p.Ladder...) }
}

func TestEnvoyIsAskedForTimeOnlyWhereTheLadderTakesIt(t *testing.T) {
	p, quick := newProxy(t), fraud(readBody, withRung(small(t, 0)))
	var got result
	for range 20 { // on a busy machine a quick rung may take its time
		if got = p.do(request{policy: quick, answer: nanAnswer}); got.extended == 0 {
			break
		}
	}
	if got.extended != 0 || got.headers[verdict.HeaderSource] != "fallback" || got.headers[verdict.HeaderModel] != "default/small" {
		t.Errorf("a quick rung: asked for time %d times, %v; want never, and the fallback's answer", got.extended, got.headers)
	}
	got = newProxy(t).do(request{policy: fraud(readBody, withRung(small(t, messageTimeout))), answer: nanAnswer})
	if got.extended != 1 || got.headers[verdict.HeaderSource] != "fallback" {
		t.Errorf("a slow rung: asked for time %d times, %v; want once, and the fallback's answer", got.extended, got.headers)
	}
}

func TestNoModelIsAskedWhatNobodyRead(t *testing.T) {
	got := newProxy(t).do(request{
		policy: fraud(readBody, withRung(small(t, 0))), body: strings.Repeat(" ", 5000),
	})
	if got.headers[verdict.HeaderSource] != "safe_default" {
		t.Errorf("got %v: the fallback model answered a question that it was not asked", got.headers)
	}
}
