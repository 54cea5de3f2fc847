package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/wasm/emulator"
)

// TestFilterInEnvoy has a real Envoy load the module. A good answer passes byte
// by byte, a bad one is answered in its place, and a route without a policy is
// left alone. What the ladder's own upstream would answer is away.
func TestFilterInEnvoy(t *testing.T) {
	answers := map[string]emulator.Answer{"good": scored("0.1"), "bad": scored("NaN")}
	model := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("content-type", "application/json")
		_, _ = io.WriteString(w, answers[r.Header.Get("x-answer")].Body)
	}))
	t.Cleanup(model.Close)
	path := filepath.Join(t.TempDir(), "safestate.wasm")
	emulator.BuildTo(t, dataplane.Root(), module, path)
	route := fraudRoute(t)
	addr := model.Listener.Addr().String()
	real := emulator.StartReal(t, emulator.RealOptions{
		Wasm: path, Name: "safestate", Node: "test", Configuration: `{"answers": ""}`,
		Clusters: []map[string]any{dataplane.Cluster(route.Cluster, addr, false), dataplane.Cluster("plain", addr, false)},
		Routes: []any{
			emulator.RealRoute("/plain", emulator.Route{Name: "plain", Cluster: "plain"}, "5s"),
			emulator.RealRoute("/", route, "5s"),
		},
	})
	for _, c := range []struct {
		path, answer string
		passes       bool
	}{
		{question.Path, "good", true}, {question.Path, "bad", false}, {"/plain", "good", true}, {"/plain", "bad", true}, {question.Path, "good", true},
	} {
		r, err := http.NewRequest(http.MethodPost, "http://"+real.Addr+c.path, strings.NewReader(question.Body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("content-type", "application/json")
		r.Header.Set("x-answer", c.answer)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if passed := bytes.Equal(body, []byte(answers[c.answer].Body)); err != nil || resp.StatusCode != 200 || passed != c.passes {
			t.Errorf("%s, %s answer: %d %v %s", c.path, c.answer, resp.StatusCode, err, body)
		}
	}
	if log := real.Process.Log(); strings.Contains(log, "panic in") || strings.Contains(log, "][critical]") {
		t.Errorf("Envoy's log:\n%s", log)
	}
}
