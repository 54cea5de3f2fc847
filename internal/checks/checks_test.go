package checks

import (
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Answers as a Prometheus server writes them.
func TestMeasure(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   float64
		why    string
	}{
		"a number":      {200, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1435781451.781,"0.25"]}]}}`, 0.25, ""},
		"a warning":     {200, `{"status":"success","warnings":["receive shard 3 does not answer"],"data":{"resultType":"scalar","result":[1,"0.1"]}}`, 0, "warns of its answer: receive shard 3 does not answer"},
		"an info":       {200, `{"status":"success","infos":["metric might not be a counter"],"data":{"resultType":"scalar","result":[1,"0.5"]}}`, 0.5, ""},
		"a scalar":      {200, `{"status":"success","data":{"resultType":"scalar","result":[1435781451.781,"0.75"]}}`, 0.75, ""},
		"NaN":           {200, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1435781451.781,"NaN"]}]}}`, math.NaN(), ""},
		"no data":       {200, `{"status":"success","data":{"resultType":"vector","result":[]}}`, 0, "no data"},
		"two series":    {200, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"1"},"value":[1,"1"]},{"metric":{"a":"2"},"value":[1,"1"]}]}}`, 0, "2 series"},
		"a matrix":      {200, `{"status":"success","data":{"resultType":"matrix","result":[]}}`, 0, "matrix"},
		"a bad query":   {400, `{"status":"error","errorType":"bad_data","error":"parse error"}`, 0, "parse error"},
		"a broken body": {200, `{"status":`, 0, "the query failed"},
		"a dead server": {503, ``, 0, "the query failed"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer server.Close()
			var p Prometheus
			got, err := p.Measure(t.Context(), server.URL, "up")
			switch {
			case c.why != "":
				if err == nil || !strings.Contains(err.Error(), c.why) {
					t.Errorf("%v, %v; want %q", got, err, c.why)
				}
			case err != nil || got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)):
				t.Errorf("%v, %v; want %v", got, err, c.want)
			}
		})
	}
}

func TestMeasureNobody(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	var p Prometheus
	for _, url := range []string{server.URL, "::no url"} {
		if got, err := p.Measure(t.Context(), url, "up"); err == nil {
			t.Errorf("%s: %v", url, got)
		}
	}
}
