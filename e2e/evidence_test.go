package e2e

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// TestBrokenConnectionsOpenTheBreaker: a model that breaks off its answers
// behind their headers is out of traffic after as many as the policy says,
// though all that its processor sees of one is what it sees of a caller who
// leaves; and callers who leave open nothing.
func TestBrokenConnectionsOpenTheBreaker(t *testing.T) {
	primary, fallback := models(t)
	text, err := os.ReadFile(filepath.Join("..", "docs", "samples", "chat", "chat.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	moved := strings.NewReplacer("9115", primary.Port(), "9116", fallback.Port()).Replace(string(text))
	if err := os.WriteFile(filepath.Join(dir, "chat.yaml"), []byte(moved), 0o600); err != nil {
		t.Fatal(err)
	}
	plane := dataplane.Start(t, dataplane.Options{Config: dir})
	ask := func(stream bool) dataplane.Answer {
		return plane.Client.Do(dataplane.Request{
			Method: http.MethodPost, Path: "/v1/chat/completions", Header: http.Header{"Content-Type": {"application/json"}},
			Body: []byte(`{"model":"chat","messages":[{"role":"user","content":"hi"}],"stream":` + strconv.FormatBool(stream) + `}`),
		})
	}
	open := func() bool { return plane.Metric("safestate_breaker_state", `kind="version"`) == 3 }

	primary.SetPace(50 * time.Millisecond)
	for range 8 { // each leaves long before the sixtieth token
		leave(t, plane, "/v1/chat/completions", `{"model":"chat","messages":[],"stream":true}`)
	}
	a := again(5, func() dataplane.Answer { return ask(false) }, func(a dataplane.Answer) bool { return a.Reason() == "processor_away" })
	if a.Source() != "primary" || open() {
		t.Fatalf("after callers who left: source %q, reason %q, breaker open: %v", a.Source(), a.Reason(), open())
	}
	primary.SetPace(0)

	primary.SetAt(fm.S08StreamReset, 40, 0)
	for tries := 0; primary.Count(fm.S08StreamReset) < 5 && tries < 15; tries++ {
		if a := ask(true); a.Err == nil && a.Reason() != "processor_away" {
			t.Errorf("a stream that its model breaks off: status %d, source %q, %d bytes, and no error", a.Status, a.Source(), len(a.Body))
		}
	}
	if primary.Count(fm.S08StreamReset) != 5 {
		t.Fatalf("the model broke off %d streams, want 5", primary.Count(fm.S08StreamReset))
	}
	dataplane.Eventually(t, 30*time.Second, "the breaker opens", open)
	if a := ask(true); a.Source() != "fallback" || a.Err != nil || !strings.HasSuffix(string(a.Body), "data: [DONE]\n\n") {
		t.Errorf("then: source %q, reason %q, error %v", a.Source(), a.Reason(), a.Err)
	}
	counted := func() float64 {
		return plane.Metric("safestate_detections_total", `detector="broken"`, `mode="enforce"`)
	}
	dataplane.Eventually(t, 30*time.Second, "the broken answers are counted", func() bool { return counted() >= 5 })
	if n := counted(); n > 5 {
		t.Errorf("%v broken answers are counted, want 5", n)
	}
}

// leave asks for a stream and leaves once its first bytes are there.
func leave(t *testing.T, plane *dataplane.Plane, path, body string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+plane.Traffic+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := resp.Body.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	cancel()
	_ = resp.Body.Close()
}
