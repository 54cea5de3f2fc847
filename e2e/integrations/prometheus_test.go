package integrations

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/teststorage"
)

// every is how often Prometheus scrapes.
const every = 15 * time.Second

// begun is when it began to.
var begun = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// prometheus is Prometheus's own storage and engine, with a clock of their own.
type prometheus struct {
	storage *teststorage.TestStorage
	engine  *promql.Engine
	now     time.Time
}

func newPrometheus(t testing.TB) *prometheus {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: parser.NewParser(parser.Options{})})
	t.Cleanup(func() { _ = engine.Close() })
	return &prometheus{storage: teststorage.New(t), engine: engine, now: begun}
}

// scrape reads a target's metrics, as it serves them.
func (p *prometheus) scrape(t testing.TB, target http.Handler) {
	t.Helper()
	app := p.storage.Appender(t.Context())
	for _, s := range samples(t, target) {
		if _, err := app.Append(0, s.labels, p.now.UnixMilli(), s.value); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
}

type sample struct {
	labels labels.Labels
	value  float64
}

// samples are what a target answers to a scrape.
func samples(t testing.TB, target http.Handler) (out []sample) {
	t.Helper()
	w := httptest.NewRecorder()
	target.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	p, err := textparse.New(w.Body.Bytes(), w.Header().Get("Content-Type"), labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if entry == textparse.EntrySeries {
			var s sample
			_, _, s.value = p.Series()
			p.Labels(&s.labels)
			out = append(out, s)
		}
	}
}

// query asks the engine.
func (p *prometheus) query(ctx context.Context, text string) (promql.Vector, error) {
	q, err := p.engine.NewInstantQuery(ctx, p.storage, nil, text, p.now)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	return q.Exec(ctx).Vector()
}

// ServeHTTP answers /api/v1/query as Prometheus does.
func (p *prometheus) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	vector, err := p.query(r.Context(), r.FormValue("query"))
	answer := map[string]any{"status": "success", "data": map[string]any{"resultType": "vector", "result": vector}}
	if vector == nil {
		answer["data"].(map[string]any)["result"] = []any{}
	}
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path != "/api/v1/query" || err != nil {
		w.WriteHeader(http.StatusBadRequest)
		answer = map[string]any{"status": "error", "errorType": "bad_data", "error": r.URL.Path + " " + r.FormValue("query")}
	}
	_ = json.NewEncoder(w).Encode(answer)
}
