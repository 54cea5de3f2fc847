// Package foreign tests against servers and clients that others wrote: MLServer
// with scikit-learn models, NVIDIA's Triton, tritonclient, Redis. `make
// test-foreign` sets them up; nothing else runs these tests.
package foreign

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/porttest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	dataplane.Cleanup()
	os.Exit(code)
}

// cache is where make sets things up.
func cache(parts ...string) string {
	return filepath.Join(append([]string{dataplane.Root(), ".cache"}, parts...)...)
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func ready(t *testing.T, p *dataplane.Process, port int) {
	t.Helper()
	dataplane.Eventually(t, 2*time.Minute, p.Name+" is ready", func() bool {
		if p.Exited() {
			t.Fatalf("%s ended: %v\n%s", p.Name, p.WaitExit(0), p.Log())
		}
		resp, err := http.Get("http://" + local(port) + "/v2/health/ready")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
}

// mlserver starts a real MLServer with the models of a folder.
func mlserver(t *testing.T, folder string, port int) *dataplane.Process {
	t.Helper()
	env := []string{
		"MLSERVER_HOST=127.0.0.1", fmt.Sprint("MLSERVER_HTTP_PORT=", port), fmt.Sprint("MLSERVER_GRPC_PORT=", porttest.Free(t)),
		fmt.Sprint("MLSERVER_METRICS_PORT=", porttest.Free(t)), "MLSERVER_PARALLEL_WORKERS=0", "MLSERVER_DEBUG=false",
	}
	return dataplane.SpawnEnv(t, "mlserver "+folder, env, cache("mlserver", "bin", "mlserver"), "start", cache("mlserver-models", folder))
}

// predict asks an MLServer model.
func predict(c *dataplane.Client, model string) dataplane.Answer {
	return c.Do(dataplane.Request{
		Path: "/v2/models/" + model + "/infer",
		Body: []byte(`{"id": "r1", "inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 4], "data": [0.5, 0.1, 1, 0]}]}`),
	})
}

// value reads the first element of the first output; ok is false for null.
func value(t *testing.T, body []byte) (v float64, ok bool) {
	t.Helper()
	var answer struct {
		Outputs []struct {
			Data []*float64 `json:"data"`
		} `json:"outputs"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.Outputs) == 0 || len(answer.Outputs[0].Data) == 0 {
		t.Fatalf("no outputs: %v in %.300q", err, body)
	}
	if answer.Outputs[0].Data[0] == nil {
		return 0, false
	}
	return *answer.Outputs[0].Data[0], true
}

// TestMLServer: a scikit-learn model and its twin whose coef_[0] is NaN, with
// the policy that `make run MODELS=mlserver` uses.
func TestMLServer(t *testing.T) {
	primaryPort, fallbackPort := porttest.Free(t), porttest.Free(t)
	primary, fallback := mlserver(t, "primary", primaryPort), mlserver(t, "fallback", fallbackPort)
	ready(t, primary, primaryPort)
	ready(t, fallback, fallbackPort)
	text, err := os.ReadFile(filepath.Join(dataplane.Root(), "docs", "samples", "mlserver", "mlserver.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte("port: 9101"), []byte("port: "+strconv.Itoa(primaryPort)))
	text = bytes.ReplaceAll(text, []byte("port: 9103"), []byte("port: "+strconv.Itoa(fallbackPort)))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mlserver.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	plane := dataplane.Start(t, dataplane.Options{Config: dir})
	direct := dataplane.NewClient(local(primaryPort))
	defer direct.Close()

	sound, behind := predict(plane.Client, "fraud"), predict(direct, "fraud")
	if sound.Source() != "primary" || !bytes.Equal(sound.Body, behind.Body) {
		t.Errorf("sound model: source %q, reason %q, body %.300q, MLServer's own %.300q", sound.Source(), sound.Reason(), sound.Body, behind.Body)
	}
	raw := predict(direct, "fraud-nan")
	if _, number := value(t, raw.Body); number || raw.Status != http.StatusOK {
		t.Fatalf("the broken model is not broken: status %d, body %.300q", raw.Status, raw.Body)
	}
	a := predict(plane.Client, "fraud-nan")
	if a.Source() != "fallback" || !strings.HasPrefix(a.Reason(), "nonfinite outputs[0].data[0] null") {
		t.Errorf("broken model: status %d, source %q, reason %q, body %.300q", a.Status, a.Source(), a.Reason(), a.Body)
	}
	if v, number := value(t, a.Body); !number || v <= 0 || v >= 1 {
		t.Errorf("the fallback's score is %v, a number: %v", v, number)
	}
	mistake := dataplane.Request{Path: "/v2/models/fraud/infer", Body: []byte(`{"id": "r1"}`)}
	if got, want := plane.Client.Do(mistake), direct.Do(mistake); got.Status != want.Status || want.Status != http.StatusUnprocessableEntity || !bytes.Equal(got.Body, want.Body) {
		t.Errorf("a caller's mistake: status %d body %.200q, MLServer's own %d %.200q", got.Status, got.Body, want.Status, want.Body)
	}
	fallback.Kill()
	a = predict(plane.Client, "fraud-nan")
	if v, number := value(t, a.Body); a.Source() != "safe_default" || !number || v != 0.5 {
		t.Errorf("with the fallback dead: source %q, reason %q, body %.300q", a.Source(), a.Reason(), a.Body)
	}
	primary.Kill()
	if a := predict(plane.Client, "fraud"); a.Source() != "safe_default" || a.Status != http.StatusOK {
		t.Errorf("with MLServer dead: status %d, source %q, reason %q", a.Status, a.Source(), a.Reason())
	}
}

// packages is the folder of the Triton environment's packages.
func packages(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(cache("triton", "lib", "python3*", "site-packages"))
	if err != nil || len(found) != 1 {
		t.Fatalf("no Triton in .cache (%v, %v): run `make test-foreign`", found, err)
	}
	return found[0]
}

// backend makes a folder with the Python backend and the stub for the Python
// that runs the models beside it, where Triton looks for it.
func backend(t *testing.T, site string) string {
	t.Helper()
	version := strings.TrimPrefix(filepath.Base(filepath.Dir(site)), "python")
	dir := t.TempDir()
	python := filepath.Join(dir, "python")
	if err := os.Mkdir(python, 0o755); err != nil {
		t.Fatal(err)
	}
	server := filepath.Join(site, "pytriton", "tritonserver")
	for from, mode := range map[string]os.FileMode{
		filepath.Join(server, "backends", "python", "libtriton_python.so"):                   0o644,
		filepath.Join(server, "backends", "python", "triton_python_backend_utils.py"):        0o644,
		filepath.Join(server, "python_backend_stubs", version, "triton_python_backend_stub"): 0o755,
	} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(python, filepath.Base(from)), text, mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// triton starts the real server with the models of this folder.
func triton(t *testing.T, name string, port int) *dataplane.Process {
	t.Helper()
	site := packages(t)
	binary := filepath.Join(site, "pytriton", "tritonserver", "bin", "tritonserver")
	if err := os.Chmod(binary, 0o755); err != nil {
		t.Fatal(err)
	}
	env := []string{
		"LD_LIBRARY_PATH=" + filepath.Join(site, "nvidia_pytriton.libs"), "PYTHONDONTWRITEBYTECODE=1",
		"PATH=" + cache("triton", "bin") + ":" + os.Getenv("PATH"),
	}
	return dataplane.SpawnEnv(t, name, env, binary, "--model-repository="+filepath.Join(dataplane.Root(), "e2e", "foreign", "triton"),
		"--backend-directory="+backend(t, site), "--http-address=127.0.0.1", fmt.Sprint("--http-port=", port), "--allow-grpc=false", "--allow-metrics=false")
}

// read is what tritonclient made of an answer.
type read struct {
	Score []*float64 `json:"score"`
	Dtype string     `json:"dtype"`
	Shape []int      `json:"shape"`
}

// ask runs tritonclient.
func ask(t *testing.T, addr, model, form, rung string) read {
	t.Helper()
	cmd := exec.Command(cache("triton", "bin", "python"), "ask.py", addr, model, form, rung)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tritonclient does not take the answer: %v\n%s", err, stderr.String())
	}
	var r read
	if err := json.Unmarshal(out, &r); err != nil || len(r.Score) != 1 {
		t.Fatalf("tritonclient read %s (%v)", out, err)
	}
	return r
}

func (r read) is(want float64) bool {
	return r.Dtype == "float32" && r.Score[0] != nil && *r.Score[0] > want-1e-6 && *r.Score[0] < want+1e-6
}

type ladderPolicy struct{ Name, Rung string }

// TestTriton: the real server, REST and its binary extension, and a client of
// others that has to read the answer of every rung. The cache is a real Redis.
func TestTriton(t *testing.T) {
	primaryPort, fallbackPort, redisPort := porttest.Free(t), porttest.Free(t), porttest.Free(t)
	primary, fallback := triton(t, "triton", primaryPort), triton(t, "triton fallback", fallbackPort)
	dataplane.StartRedis(t, redisPort)
	ready(t, primary, primaryPort)
	ready(t, fallback, fallbackPort)
	dir := t.TempDir()
	writeConfig(t, dir, primaryPort, fallbackPort)
	plane := dataplane.Start(t, dataplane.Options{Config: dir, Serve: []string{"--redis", "redis://" + local(redisPort)}})

	const sound = 0.58 // 0.6·0.5 − 0.2·0.1 + 0.1 + 0.2
	for _, form := range []string{"json", "binary"} {
		if r := ask(t, local(primaryPort), "fraud_nan", form, ""); r.Score[0] != nil {
			t.Fatalf("%s: the broken model is not broken: %v", form, *r.Score[0])
		}
		if r := ask(t, plane.Traffic, "fraud", form, ""); !r.is(sound) {
			t.Errorf("%s: the sound model's score is %+v", form, r)
		}
		for rung, want := range map[string]float64{"fallback": 0.5, "rules": 0.25, "safe_default": 0.125} {
			served := func() float64 { return plane.Metric("safestate_prediction_served_total", `source="`+rung+`"`) }
			before := served()
			if r := ask(t, plane.Traffic, "fraud_nan", form, rung); !r.is(want) {
				t.Errorf("%s: %s answered %+v, want %v", form, rung, r, want)
			}
			dataplane.Eventually(t, 30*time.Second, form+": an answer by "+rung+" counts", func() bool { return served() == before+1 })
		}
	}
	dataplane.Eventually(t, 30*time.Second, "Redis has both answers", func() bool { return dataplane.RedisDo(redisPort, "DBSIZE") == ":2" })
	primary.Kill()
	for _, form := range []string{"json", "binary"} {
		served := func() float64 { return plane.Metric("safestate_prediction_served_total", `source="cache"`) }
		before := served()
		if r := ask(t, plane.Traffic, "fraud", form, ""); !r.is(sound) {
			t.Errorf("%s: with Triton dead the cache answered %+v", form, r)
		}
		dataplane.Eventually(t, 30*time.Second, form+": an answer by the cache counts", func() bool { return served() == before+1 })
	}
}

func writeConfig(t *testing.T, dir string, primaryPort, fallbackPort int) {
	t.Helper()
	tmpl, err := template.ParseFiles("triton.yaml.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	err = tmpl.Execute(&text, map[string]any{
		"Primary": primaryPort, "Fallback": fallbackPort,
		"Policies": []ladderPolicy{
			{"cache", "  - cache: {ttl: 5m}"},
			{"fallback", "  - fallback: {model: fraud-small, deadline: 1s}"},
			{"rules", "  - rules:\n      score: [{when: \"request.id == 'r1'\", add: 0.25, reason: known}]\n      confidence: 0.4\n" +
				`      template: '{"model_name": "rules", "id": {{id}}, "outputs": [{"name": "score", "datatype": "FP32", "shape": [1], "data": [{{score}}]}]}'`},
			{"default", ""},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "triton.yaml"), text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
