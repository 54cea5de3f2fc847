package streams

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
	"github.com/safestate/safestate/internal/porttest"
)

// FallbackTokens is how long the fallback model's completions are.
const FallbackTokens = 20

// DefaultText is what the safe default of every route says.
const DefaultText = "Please try again in a few minutes."

// Route is a route to a chat model, its fallback and its policy.
type Route struct {
	Name         string
	PrimaryPort  string
	FallbackPort string

	Deadline, FirstToken, BetweenTokens, MaxDuration time.Duration
	// BodyBytes is the policy's limit; 0: its default. Over says what happens
	// to an answer that is not read: Answer (empty is the same) or Pass.
	BodyBytes int64
	Over      string
	Breaker   string // YAML; empty: one that hardly ever opens
}

// Folder writes the configuration of routes to a folder of the test's.
func Folder(t testing.TB, routes ...Route) string {
	t.Helper()
	tmpl, err := template.ParseFiles(filepath.Join(dataplane.Root(), "e2e", "streams", "testdata", "route.yaml.tmpl"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for i := range routes {
		var out strings.Builder
		if err := tmpl.Execute(&out, struct {
			Route
			Default string
		}{routes[i], DefaultText}); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, routes[i].Name+".yaml"), []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Model starts a model in this process, which ends with the test.
func Model(t testing.TB, o fm.Options) *fm.Server {
	t.Helper()
	m, err := fm.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// Stand is a data plane with a route to a model that is a process too, so that
// every part can be killed.
type Stand struct {
	Plane *dataplane.Plane
	Model *dataplane.Process

	t         testing.TB
	modelPort int
	control   int
}

// Times of a stand's policy and model: a stream takes modelTokens times
// modelPace.
const (
	standRoute    = "chat"
	deadline      = 9 * time.Second
	firstToken    = 5 * time.Second
	betweenTokens = 4 * time.Second
	maxDuration   = 40 * time.Second

	modelTokens = 60
	modelPace   = 150 * time.Millisecond
)

// NewStand starts one; serve are further flags of safestate.
func NewStand(t testing.TB, serve ...string) *Stand {
	t.Helper()
	s := &Stand{t: t, modelPort: porttest.Free(t), control: porttest.Free(t)}
	fallback := Model(t, fm.Options{Version: "small", Tokens: FallbackTokens, Pace: 10 * time.Millisecond})
	s.StartModel()
	s.Plane = dataplane.Start(t, dataplane.Options{Serve: serve, Config: Folder(t, Route{
		Name: standRoute, PrimaryPort: fmt.Sprint(s.modelPort), FallbackPort: fallback.Port(),
		Deadline: deadline, FirstToken: firstToken, BetweenTokens: betweenTokens, MaxDuration: maxDuration,
	})})
	return s
}

// StartModel starts the model, also again after it was killed.
func (s *Stand) StartModel() {
	t := s.t
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", s.modelPort)
	s.Model = dataplane.Spawn(t, "samplemodel", dataplane.Program(t, "samplemodel"), "-addr", addr, "-version", "v1",
		"-control", fmt.Sprintf("127.0.0.1:%d", s.control), "-fault-header",
		"-tokens", fmt.Sprint(modelTokens), "-pace", modelPace.String())
	dataplane.Eventually(t, 20*time.Second, "the model is ready", func() bool {
		resp, err := http.Get("http://" + addr + "/v2/health/ready")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
}

// Open is how many streams the model is sending, by its own count.
func (s *Stand) Open() int {
	var state fm.State
	if json.Unmarshal([]byte(dataplane.Get(fmt.Sprintf("http://127.0.0.1:%d/state", s.control))), &state) != nil {
		return -1
	}
	return state.Open
}
