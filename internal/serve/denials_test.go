package serve

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/telemetry"
)

// TestDenialsAreLoggedInBounds: the first of a cause are logged each, then one now
// and then with the number of those that were not, and another cause for itself.
// All are counted.
func TestDenialsAreLoggedInBounds(t *testing.T) {
	var d denials
	now := time.Unix(1e9, 0)
	said := func(cause xds.Cause, n int) (lines int, unsaid uint64) {
		for range n {
			if missed, ok := d.say(cause, now); ok {
				lines, unsaid = lines+1, unsaid+missed
			}
		}
		return lines, unsaid
	}
	for _, step := range []struct {
		cause  xds.Cause
		after  time.Duration
		n      int
		lines  int
		unsaid uint64
	}{
		{xds.CauseIdentity, 0, 1000, denialsAtOnce, 0},
		{xds.CauseRoom, 0, 3, 3, 0},
		{xds.CauseIdentity, denialEvery - 1, 5, 0, 0},
		{xds.CauseIdentity, 1, 5, 1, 1000 - denialsAtOnce + 5},
		{xds.CauseIdentity, time.Hour, 1000, denialsAtOnce, 4},
	} {
		now = now.Add(step.after)
		if lines, unsaid := said(step.cause, step.n); lines != step.lines || unsaid != step.unsaid {
			t.Errorf("%s: %d lines that tell of %d more, want %d and %d", step.cause, lines, unsaid, step.lines, step.unsaid)
		}
	}
}

// TestDenialLines are few, and the count is of all.
func TestDenialLines(t *testing.T) {
	metrics := telemetry.NewMetrics("test", telemetry.Caps{})
	var out bytes.Buffer
	o := newProxies(metrics, telemetry.NewLog(&out, telemetry.LogOptions{Level: zerolog.InfoLevel}, metrics))
	for range 500 {
		o.Denied("n", xds.CauseIdentity, "node.id is none")
	}
	lines := strings.Count(out.String(), "a proxy was turned away")
	if lines < denialsAtOnce || lines > 100 || !strings.Contains(out.String(), `"cause":"identity"`) {
		t.Errorf("%d lines: %s", lines, out.String())
	}
	page := httptest.NewRecorder()
	metrics.Handler().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	if !strings.Contains(page.Body.String(), "safestate_xds_denied_total 500") {
		t.Error("not all are counted")
	}
}
