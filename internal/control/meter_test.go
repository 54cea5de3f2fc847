package control

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/checks"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/release"
)

// A measurement that takes longer than its interval is not overtaken by the next.
func TestAMeasurementThatRunsIsNotOvertaken(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"status":"success","data":{"resultType":"scalar","result":[1,"0.1"]}}`))
	}))
	defer server.Close()
	changed, most := 0, 0.5
	m, now := newMeter(&checks.Prometheus{}, func() { changed++ }), time.Now()
	model := &compile.Model{Name: fraud, Rollout: &compile.Rollout{Checks: []compile.Check{
		{Name: "errors", URL: server.URL, Query: "up", Max: &most, Interval: time.Second},
	}}}
	m.want(model, "v2", now)
	asked := m.due(now)
	if len(asked) != 1 {
		t.Fatal("it is not measured")
	}
	for range 3 {
		now = now.Add(2 * time.Second)
		if len(m.due(now)) != 0 {
			t.Error("it is asked again while it runs")
		}
	}
	for q, check := range asked {
		m.measure(t.Context(), q, check)
	}
	if got := m.latest(model, "v2")["errors"]; got.Verdict != release.Success || changed != 1 {
		t.Errorf("%+v, told %d times", got, changed)
	}
	if len(m.due(now)) != 1 {
		t.Error("it is over, and not asked again")
	}
}
