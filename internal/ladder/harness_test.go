package ladder

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/budget"
	"github.com/safestate/safestate/internal/bulkhead"
	"github.com/safestate/safestate/internal/cache"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/refresh"
	"github.com/safestate/safestate/internal/verdict"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	defaultBody = `{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.0]}]}`
	rulesBody   = `{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.0]}],"parameters":{"by":"rules"}}`
	smallBody   = `{"model_name":"small","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.5]}]}`
	smallNaN    = `{"model_name":"small","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[NaN]}]}`
	askBody     = `{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}`
	inferPath   = "/v2/models/fraud/infer"
)

// headers are a message's, names in lower case.
type headers map[string]string

func (h headers) Get(name string) (string, bool) { v, ok := h[name]; return v, ok }

// fraud is a policy with the given rungs above its safe default.
func fraud(rungs ...policy.Rung) *policy.Policy {
	return &policy.Policy{
		Format: policy.FormatVersion, Name: "default/fraud", Route: "default/fraud/score",
		Mode: policy.Enforce, Protocol: policy.OpenInferenceV2, Model: "default/fraud", ServedName: "fraud", Stable: "v1",
		Versions: map[string]policy.Version{"default/fraud/v1": {Name: "v1"}, "default/fraud/v2": {Name: "v2"}},
		Deadline: policy.Duration(10 * time.Second), Reserve: policy.Duration(5 * time.Second),
		Limits: policy.Limits{BodyBytes: 1 << 16},
		Detect: policy.Detect{NonFinite: &policy.NonFinite{Mode: policy.Enforce}, Broken: &policy.Broken{Mode: policy.Enforce}},
		Needs:  policy.Needs{RequestBody: true},
		Ladder: append(slices.Clone(rungs), policy.Rung{SafeDefault: &policy.SafeDefault{Body: defaultBody}}),
	}
}

// rulesRungOf is a table without conditions.
func rulesRungOf(template string) policy.Rung {
	return policy.Rung{Rules: &policy.Rules{MaxScore: 1, Confidence: 0.4, Template: template}}
}

// small is a fallback model at an endpoint.
func small(e policy.Endpoint, change ...func(*policy.Fallback)) policy.Rung {
	f := &policy.Fallback{
		Model: "default/small", Version: "v7", ServedName: "small", Protocol: policy.OpenInferenceV2,
		Endpoints: []policy.Endpoint{e}, Deadline: policy.Duration(5 * time.Second), MaxBytes: 4096,
	}
	for _, c := range change {
		c(f)
	}
	return policy.Rung{Fallback: f}
}

func withBreaker(failures int) func(*policy.Fallback) {
	return func(f *policy.Fallback) {
		f.Breaker = &policy.Breaker{Failures: failures, Recovery: policy.Duration(time.Hour), HalfOpenRequests: 1}
	}
}

// server runs a model for one test and counts its requests.
func server(t *testing.T, h http.HandlerFunc) (policy.Endpoint, *atomic.Int64) {
	t.Helper()
	asked := new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return endpointOf(t, s.Listener.Addr().String()), asked
}

func endpointOf(t *testing.T, address string) policy.Endpoint {
	t.Helper()
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return policy.Endpoint{Address: host, Port: port}
}

// says is a model that always answers alike.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// hangs is a model that answers nobody; entered, where not nil, is told of
// each request.
func hangs(entered chan<- struct{}) http.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server see the caller leave
		if entered != nil {
			entered <- struct{}{}
		}
		<-r.Context().Done()
	}
}

// recorder is an Observer that remembers.
type recorder struct {
	mu         sync.Mutex
	rungs      []string // "fallback failed"
	detections []string
	lookups    []Lookup
	writes     []bool
	overBudget []bool
}

func (r *recorder) note(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *recorder) Rung(s Source, o Outcome, _ time.Duration) {
	r.note(func() { r.rungs = append(r.rungs, string(s)+" "+string(o)) })
}

func (r *recorder) Detection(model, version string, f verdict.Finding) {
	r.note(func() { r.detections = append(r.detections, model+"/"+version+" "+string(f.Code)) })
}
func (r *recorder) OverBudget(refused bool) {
	r.note(func() { r.overBudget = append(r.overBudget, refused) })
}
func (r *recorder) CacheLookup(l Lookup) { r.note(func() { r.lookups = append(r.lookups, l) }) }
func (r *recorder) CacheWrite(ok bool)   { r.note(func() { r.writes = append(r.writes, ok) }) }

// took returns what the rungs did since the last call: "cache missed, rules answered".
func (r *recorder) took() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := strings.Join(r.rungs, ", ")
	r.rungs = nil
	return out
}

// looked returns the lookups since the last call.
func (r *recorder) looked() []Lookup {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.lookups
	r.lookups = nil
	return out
}

func (r *recorder) written() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.writes)
}

// aging is a store whose entries are older than they are.
type aging struct {
	cache.Store
	by atomic.Int64 // nanoseconds
}

func (a *aging) Get(ctx context.Context, k cache.Key) (cache.Entry, bool, error) {
	e, ok, err := a.Store.Get(ctx, k)
	e.Stored = e.Stored.Add(-time.Duration(a.by.Load()))
	return e, ok, err
}

// newState makes a state with real parts and closes it at the test's end.
func newState(t *testing.T) (*State, *aging) {
	t.Helper()
	m, err := cache.NewMemory(cache.MemoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	store := &aging{Store: m}
	s := &State{
		Breakers: breaker.NewSet(nil, nil), Bulkheads: bulkhead.NewSet(), Budgets: budget.NewSet(),
		Cache: store, Flights: cache.NewFlights(0, 0),
		Refreshed: refresh.NewRegistry(context.Background(), refresh.Options{}),
	}
	t.Cleanup(func() {
		s.Close()
		m.Close()
	})
	return s, store
}

// newLadder builds a policy's ladder for one test.
func newLadder(t *testing.T, s *State, p *policy.Policy) (*Ladder, *recorder) {
	t.Helper()
	d, err := detect.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	l, err := New(p, d, s, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l, r
}

// asking is a request for version v1.
func asking(body string, h headers) *Ask {
	all := headers{"content-type": "application/json"}
	for k, v := range h {
		all[k] = v
	}
	v1 := policy.Version{Model: "default/fraud", Name: "v1"}
	return &Ask{
		Exchange: &detect.Exchange{
			Method: "POST", Path: inferPath, RequestHeaders: all,
			RequestBody: []byte(body), RequestBodySeen: true, Version: v1,
		},
		Version: v1, Cause: verdict.Finding{Code: verdict.BrokenStatus}, Deadline: time.Now().Add(10 * time.Second),
	}
}

// answered is asking's request with the model's answer.
func answered(body string, h headers, answer string, ah headers) *Ask {
	ask := asking(body, h)
	all := headers{"content-type": "application/json"}
	for k, v := range ah {
		all[k] = v
	}
	ask.Exchange.Status, ask.Exchange.ResponseHeaders, ask.Exchange.ResponseBody = 200, all, []byte(answer)
	return ask
}

// until waits for what other goroutines bring about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.After(30 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited 30 s in vain: %s", what)
		}
	}
}

func wantAnswer(t *testing.T, a Answer, source Source, body string) {
	t.Helper()
	if a.Source != source || body != "" && string(a.Body) != body {
		t.Fatalf("%s answered %s\nwant %s with %s", a.Source, a.Body, source, body)
	}
	if a.Status == 0 || a.ContentType == "" || len(a.Body) == 0 {
		t.Fatalf("no whole answer: %+v", a)
	}
}
