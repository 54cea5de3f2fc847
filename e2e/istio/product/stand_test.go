// Package product tries safestate in a mesh: a real kube-apiserver, a real istiod,
// stock Envoys as gateway and as sidecar, and two versions of a model.
// `make test-istio` runs it.
package product

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
	"github.com/safestate/safestate/internal/porttest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	dataplane.Cleanup()
	os.Exit(code)
}

// patience bounds every wait.
const patience = 30 * time.Second

const own = "safestate-system"

// model is one version: it scores, or says NaN.
type model struct {
	name  string
	port  int
	asked atomic.Int64
	nan   atomic.Bool
	// firstNaN and lastAsked are in nanoseconds since 1970; 0: never.
	firstNaN, lastAsked atomic.Int64
}

func newModel(t *testing.T, name string) *model {
	t.Helper()
	m := &model{name: name}
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	address, ok := server.Listener.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("no TCP address: %v", server.Listener.Addr())
	}
	m.port = address.Port
	return m
}

func (m *model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodGet {
		_, _ = io.WriteString(w, `{"name":"fraud","by":"`+m.name+`"}`)
		return
	}
	m.asked.Add(1)
	m.lastAsked.Store(time.Now().UnixNano())
	if strings.HasSuffix(r.URL.Path, "/completions") {
		m.complete(w)
		return
	}
	score := "0.25"
	if m.nan.Load() {
		score = "NaN"
		m.firstNaN.CompareAndSwap(0, time.Now().UnixNano())
	}
	_, _ = io.WriteString(w, `{"model_name":"fraud","model_version":"`+m.name+`","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[`+score+`]}]}`)
}

// complete answers chat: with a stream, or with an error.
func (m *model) complete(w http.ResponseWriter) {
	if m.nan.Load() {
		http.Error(w, `{"error":{"message":"out of memory"}}`, http.StatusInternalServerError)
		return
	}
	_, _ = io.WriteString(w, `{"id":"1","object":"chat.completion","created":1,"model":"chat","choices":[{"index":0,"message":{"role":"assistant","content":"Hello."},"finish_reason":"stop"}]}`)
}

// stand is a mesh with safestate in it.
type stand struct {
	t         *testing.T
	api       *cluster.API
	istiod    *cluster.Istiod
	gateway   *cluster.Envoy
	v1, v2    *model
	port      int // of the gateway
	out       int // of the models' Services, and so of a sidecar's listener
	classic   int // of a gateway of Istio's own kind
	safestate *dataplane.Process
	http      string // of safestate
	args      []string

	kubeconfig string // safestate's; empty: the administrator's
}

func newStand(t *testing.T) *stand {
	t.Helper()
	return newStandOf(t, cluster.IstiodOptions{})
}

// newStandOf is newStand with another istiod, and more kinds.
func newStandOf(t *testing.T, istiod cluster.IstiodOptions, more ...cluster.CRDs) *stand {
	t.Helper()
	s := &stand{t: t, v1: newModel(t, "v1"), v2: newModel(t, "v2"), port: porttest.Free(t), out: porttest.Free(t), classic: porttest.Free(t)}
	s.api = cluster.StartAPI(t, cluster.Options{
		CRDs:       append([]cluster.CRDs{cluster.Safestate, cluster.GatewayAPI, cluster.Istio}, more...),
		Namespaces: []string{cluster.RootNamespace, "models", own},
	})
	s.istiod = cluster.StartIstiod(t, s.api, istiod)
	s.apply(services)
	s.gateway = s.istiod.Gateway(t, cluster.Workload{
		Namespace: "models", Name: "gw", Labels: map[string]string{"app": "gw", "gateway.networking.k8s.io/gateway-name": "public"},
	})
	return s
}

// apply writes YAML as the administrator.
func (s *stand) apply(text string) {
	s.t.Helper()
	s.api.Admin.Apply(s.t, "test", s.filled(text))
}

// filled has the ports of this stand in their places.
func (s *stand) filled(text string) string {
	return strings.NewReplacer("GATEWAY_PORT", fmt.Sprint(s.port), "OUT_PORT", fmt.Sprint(s.out), "CLASSIC_PORT", fmt.Sprint(s.classic), "V1_PORT", fmt.Sprint(s.v1.port), "V2_PORT", fmt.Sprint(s.v2.port)).Replace(text)
}

// serve starts safestate, control plane and processor in one process.
func (s *stand) serve(extra ...string) {
	s.t.Helper()
	if s.args == nil {
		grpc, answers := porttest.Free(s.t), porttest.Free(s.t)
		s.http = porttest.Address(s.t)
		s.args = []string{
			"serve", "--mesh", "istio", "--kubeconfig", cmp.Or(s.kubeconfig, s.api.Admin.Kubeconfig), "--namespace", own,
			"--grpc", fmt.Sprintf("127.0.0.1:%d", grpc), "--answers", fmt.Sprintf("127.0.0.1:%d", answers), "--http", s.http,
			"--processor", fmt.Sprintf("127.0.0.1:%d", grpc), "--answers-upstream", fmt.Sprintf("127.0.0.1:%d", answers),
			"--data-dir", filepath.Join(s.t.TempDir(), "data"),
		}
	}
	s.safestate = dataplane.Spawn(s.t, "safestate", dataplane.Program(s.t, "safestate"), append(s.args, extra...)...)
	dataplane.Eventually(s.t, patience, "safestate is ready", func() bool {
		status, _ := get("http://" + s.http + "/readyz")
		return status == http.StatusOK
	})
}

// run runs a command of safestate's.
func (s *stand) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	return dataplane.Run(ctx, s.t, "safestate", append(args, "--server", "http://"+s.http)...)
}

func get(url string) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err.Error()
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }() // it has been read
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// answer is what came back for one request.
type answer struct {
	status          int
	source, version string
	reason          string
	body            string
	err             error
}

func (a answer) String() string {
	return fmt.Sprintf("%d source=%s version=%s reason=%q %s err=%v", a.status, a.source, a.version, a.reason, a.body, a.err)
}

// nan reports whether a NaN has reached the caller.
func (a answer) nan() bool { return strings.Contains(a.body, "NaN") }

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// infer asks a port for a prediction.
func infer(port int, host string) answer {
	return call(http.MethodPost, port, host, "/v2/models/fraud/infer", `{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}`)
}

func call(method string, port int, host, path, body string) answer {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), bytes.NewReader([]byte(body)))
	if err != nil {
		return answer{err: err}
	}
	r.Host = host
	r.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = resp.Body.Close() }() // it has been read
	text, err := io.ReadAll(resp.Body)
	return answer{
		resp.StatusCode, resp.Header.Get("X-Safestate-Source"), resp.Header.Get("X-Safestate-Version"), resp.Header.Get("X-Safestate-Reason"), string(text), err,
	}
}

const host = "fraud.example.com"

func (s *stand) infer() answer { return infer(s.port, host) }

// until asks until an answer is as a condition wants it.
func (s *stand) until(what string, holds func(answer) bool) answer {
	s.t.Helper()
	var last answer
	defer func() {
		if s.t.Failed() {
			s.t.Logf("the last answer: %s", last)
			s.t.Logf("safestate: %s", s.safestate.Log())
		}
	}()
	dataplane.Eventually(s.t, patience, what, func() bool {
		last = s.infer()
		return holds(last)
	})
	return last
}

// weights are those of the HTTPRoute's first rule, as the API server has them.
func (s *stand) weights() []int64 {
	s.t.Helper()
	o, err := s.api.Admin.Get(s.t.Context(), "gateway.networking.k8s.io/v1 HTTPRoute", "models", "fraud")
	if err != nil {
		s.t.Fatal(err)
	}
	text, _ := json.Marshal(o.Object["spec"])
	var spec struct {
		Rules []struct {
			BackendRefs []struct{ Weight int64 }
		}
	}
	if err := json.Unmarshal(text, &spec); err != nil {
		s.t.Fatal(err)
	}
	var out []int64
	for _, b := range spec.Rules[0].BackendRefs {
		out = append(out, b.Weight)
	}
	return out
}
