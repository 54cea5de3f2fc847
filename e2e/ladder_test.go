package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
	"github.com/safestate/safestate/internal/porttest"
)

// ladderPlane is one route with all rungs and one with none but the default.
func ladderPlane(t *testing.T, of times, serve ...string) (*dataplane.Plane, *fm.Server, *fm.Server) {
	t.Helper()
	primary, fallback := models(t)
	dir := t.TempDir()
	text := fill(t, "ladder.yaml.tmpl", map[string]any{"PrimaryPort": primary.Port(), "FallbackPort": fallback.Port(), "Deadline": of.deadline})
	if err := os.WriteFile(filepath.Join(dir, "ladder.yaml"), of.fallbackIn(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dataplane.Start(t, dataplane.Options{Config: dir, Serve: serve}), primary, fallback
}

// TestEveryRung walks down the ladder: each rung answers when those before it
// cannot.
func TestEveryRung(t *testing.T) {
	plane, primary, fallback := ladderPlane(t, calmly)
	seen := inference(fm.V2, "ladder", 1, nil)
	first := patiently(plane.Client, seen)
	if first.Source() != "primary" {
		t.Fatalf("source %q, reason %q, status %d, error %v", first.Source(), first.Reason(), first.Status, first.Err)
	}
	primary.Set(fm.C01NaNBare, 0)
	if a := patiently(plane.Client, seen); a.Source() != "cache" || !bytes.Equal(a.Body, first.Body) {
		t.Errorf("a request seen before: source %q, reason %q, body %.200q, want the cached %.200q", a.Source(), a.Reason(), a.Body, first.Body)
	}
	if a := patiently(plane.Client, inference(fm.V2, "ladder", 1, nil)); a.Source() != "fallback" {
		t.Errorf("a request not seen before: source %q, reason %q", a.Source(), a.Reason())
	}
	fallback.Set(fm.C02NaNNull, 0)
	a := patiently(plane.Client, inference(fm.V2, "ladder", 1, map[string]string{"amount": "9000", "account_age_days": "2"}))
	if a.Source() != "rules" || !strings.Contains(string(a.Body), "high_amount") {
		t.Errorf("with the fallback broken too: source %q, reason %q, body %.300q", a.Source(), a.Reason(), a.Body)
	}
	dataplane.Eventually(t, 10*time.Second, "the fallback was asked", func() bool { return fallback.Count(fm.C02NaNNull) > 0 })
	if a := patiently(plane.Client, inference(fm.V2, "ladder-default", 1, nil)); a.Source() != "safe_default" || a.Status != http.StatusOK {
		t.Errorf("with no other rung: source %q, reason %q, status %d", a.Source(), a.Reason(), a.Status)
	}
	everySourceCounts(t, plane)
}

// everySourceCounts waits until each has been counted: behind the answer, which the
// caller may have before.
func everySourceCounts(t *testing.T, plane *dataplane.Plane) {
	t.Helper()
	for _, source := range []string{"primary", "cache", "fallback", "rules", "safe_default"} {
		dataplane.Eventually(t, 10*time.Second, fmt.Sprintf("safestate_prediction_served_total{source=%q} counts", source), func() bool {
			return plane.Metric("safestate_prediction_served_total", `source="`+source+`"`) >= 1
		})
	}
}

// TestSharedCache: what one replica cached, another answers with.
func TestSharedCache(t *testing.T) {
	shared := times{3 * time.Second, time.Second} // an answer is held to it below
	port := porttest.Free(t)
	redis := dataplane.StartRedis(t, port)
	plane, primary, _ := ladderPlane(t, shared, "--redis", fmt.Sprintf("redis://127.0.0.1:%d", port))
	seen := inference(fm.V2, "ladder", 1, nil)
	if a := patiently(plane.Client, seen); a.Source() != "primary" {
		t.Fatalf("source %q, reason %q", a.Source(), a.Reason())
	}
	dataplane.Eventually(t, 30*time.Second, "Redis has the entry", func() bool { return dataplane.RedisDo(port, "DBSIZE") == ":1" })
	plane.Safestate.Kill()
	plane.StartSafestate() // with nothing in the process
	primary.Set(fm.C01NaNBare, 0)
	dataplane.Eventually(t, 30*time.Second, "the cache answers", func() bool { return plane.Client.Do(seen).Source() == "cache" })
	redis.Kill()
	for range 20 {
		if a := patiently(plane.Client, seen); a.Source() != "fallback" || a.Took > shared.deadline+deadlineGrace {
			t.Errorf("with Redis dead: source %q, reason %q, after %s", a.Source(), a.Reason(), a.Took)
		}
	}
}

// TestReload: a change of the folder applies without dropping a request, and a
// bad one leaves the last good one in place.
func TestReload(t *testing.T) {
	primary, fallback := models(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "ladder.yaml")
	write := func(edit func(string) string) {
		text := fill(t, "ladder.yaml.tmpl", map[string]any{"PrimaryPort": primary.Port(), "FallbackPort": fallback.Port(), "Deadline": calmly.deadline})
		if err := os.WriteFile(file, []byte(edit(string(text))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(func(s string) string { return s })
	plane := dataplane.Start(t, dataplane.Options{Config: dir})
	primary.Set(fm.C01NaNBare, 0)

	done := make(chan error)
	stop := make(chan struct{})
	go func() {
		for {
			a := plane.Client.Do(inference(fm.V2, "ladder-default", 1, nil))
			if a.Err != nil || a.Status != http.StatusOK || a.Source() != "safe_default" {
				done <- fmt.Errorf("during a change: status %d, source %q, error %w", a.Status, a.Source(), a.Err)
				return
			}
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
		}
	}()
	write(func(s string) string { return strings.ReplaceAll(s, "0.125", "0.875") })
	dataplane.Eventually(t, 30*time.Second, "the new default answers", func() bool {
		return strings.Contains(string(plane.Client.Do(inference(fm.V2, "ladder-default", 1, nil)).Body), "0.875")
	})
	write(func(s string) string { return strings.ReplaceAll(s, "mode: Enforce", "mode: Perhaps") })
	dataplane.Eventually(t, 30*time.Second, "/readyz tells of the bad file", func() bool {
		return strings.Contains(dataplane.Get("http://"+plane.HTTP+"/readyz"), "Perhaps")
	})
	if a := plane.Client.Do(inference(fm.V2, "ladder-default", 1, nil)); !strings.Contains(string(a.Body), "0.875") {
		t.Errorf("after a bad file: source %q, body %.200q", a.Source(), a.Body)
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
