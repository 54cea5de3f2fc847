package tlsmesh

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/porttest"
)

// soon is far beyond what anything here takes on a busy machine.
const soon = 40 * time.Second

// versionHeader says which version answered, and ask is asked for in its place:
// an answer that is none.
const (
	versionHeader = "X-Version"
	ask           = "X-Ask"
	scorePath     = "/v2/models/fraud/infer"
)

const (
	cleanAnswer = `{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.25]}]}`
	nanAnswer   = `{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[NaN]}]}`
	safeDefault = `{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.5]}]}`
)

// model is a version that answers with its name. It ends with the test.
func model(t *testing.T, version string) (port int) {
	t.Helper()
	return serving(t, answering(version), nil)
}

// secretModel is one behind TLS, which refuses whoever has not its token, if any.
func secretModel(t *testing.T, version, token string, files pair) (port int) {
	t.Helper()
	mine, err := tls.LoadX509KeyPair(files.cert, files.key)
	if err != nil {
		t.Fatal(err)
	}
	answer := answering(version)
	return serving(t, func(w http.ResponseWriter, r *http.Request) {
		if token != "" && r.Header.Get("Authorization") != token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		answer(w, r)
	}, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{mine}})
}

func answering(version string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set(versionHeader, version)
		answer := cleanAnswer
		if r.Header.Get(ask) == "nan" {
			answer = nanAnswer
		}
		_, _ = io.WriteString(w, answer)
	}
}

func serving(t *testing.T, h http.HandlerFunc, secured *tls.Config) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = l.Addr().(*net.TCPAddr).Port
	if secured != nil {
		l = tls.NewListener(l, secured)
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return port
}

// share is what one version of the model fraud gets of the traffic.
type share struct {
	version string
	port    int
	weight  int // percent
}

// world is the configuration of a model behind a route, whose NaN is the default
// to its callers.
func world(shares ...share) string {
	return routeOf("HTTPRoute", "    matches: [{path: {type: PathPrefix, value: /v2/models/fraud}}]\n", shares) + modelOf(shares) + policyOf("HTTPRoute")
}

func routeOf(kind, matches string, shares []share) string {
	var refs strings.Builder
	for _, s := range shares {
		fmt.Fprintf(&refs, "    - {name: fraud-%s, port: 80, weight: %d}\n", s.version, s.weight)
	}
	return `apiVersion: gateway.networking.k8s.io/v1
kind: ` + kind + `
metadata: {name: fraud, namespace: default}
spec:
  parentRefs: [{name: inference}]
  rules:
  - name: score
` + matches + "    backendRefs:\n" + refs.String()
}

func modelOf(shares []share) string {
	var out strings.Builder
	out.WriteString(`---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: fraud, namespace: default}
spec:
  protocol: OpenInferenceV2
  failureDomain: a
  connectTimeout: 10s
  versions:
`)
	for _, s := range shares {
		fmt.Fprintf(&out, "  - name: %s\n    backendRef: {name: fraud-%s, port: 80}\n    endpoints: [{address: 127.0.0.1, port: %d}]\n",
			s.version, s.version, s.port)
	}
	return out.String()
}

// policyOf has a deadline for a busy machine, and a limit that has Envoy wait the
// longer for the processor.
func policyOf(kind string) string {
	return `---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: fraud, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: ` + kind + `, name: fraud, sectionName: score}]
  mode: Enforce
  deadline: 20s
  bodyLimit: {bytes: 67108864}
  detect: {nonFinite: {}}
  ladder:
  - safeDefault: {body: '` + safeDefault + `'}
`
}

// folder is a configuration folder with one file.
func folder(t *testing.T, text string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "config")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	rewrite(t, dir, text)
	return dir
}

// rewrite puts another text in the place of a folder's file.
func rewrite(t *testing.T, dir, text string) {
	t.Helper()
	next := filepath.Join(filepath.Dir(dir), "next")
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(dir, "fraud.yaml")); err != nil {
		t.Fatal(err)
	}
}

// control is safestate serve.
type control struct {
	http, grpc, answers string
	traffic             string // where its Envoys listen that have no listener of their own
	process             *dataplane.Process
}

// startControl runs safestate serve until the test ends.
func startControl(t *testing.T, config string, flags ...string) *control {
	t.Helper()
	c := &control{http: porttest.Address(t), grpc: porttest.Address(t), answers: porttest.Address(t), traffic: porttest.Address(t)}
	args := append([]string{
		"serve", "--config", config, "--http", c.http, "--grpc", c.grpc, "--answers", c.answers, "--data-dir", t.TempDir(),
		"--traffic", c.traffic,
	}, flags...)
	c.process = dataplane.Spawn(t, "safestate", dataplane.Program(t, "safestate"), args...)
	dataplane.Eventually(t, soon, "safestate is ready", func() bool {
		if c.process.Exited() {
			t.Fatal("safestate ended")
		}
		return dataplane.Get("http://"+c.http+"/readyz") != ""
	})
	return c
}

// told reports whether safestate has logged a line with all of the texts.
func (c *control) told(texts ...string) bool {
lines:
	for line := range strings.Lines(c.process.Log()) {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue lines
			}
		}
		return true
	}
	return false
}

// metric is the value of one sample of safestate's; "" where there is none.
func (c *control) metric(sample string) string {
	return sampleIn(dataplane.Get("http://"+c.http+"/metrics"), sample+" ")
}

func sampleIn(text, prefix string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, prefix); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// proxy is a real Envoy.
type proxy struct {
	traffic, admin string
	process        *dataplane.Process
	client         *dataplane.Client
}

// render is what safestate render prints.
func render(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(dataplane.Program(t, "safestate"), append([]string{"render"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("safestate render %v: %v\n%s", args, err, stderr.String())
	}
	return out
}

// startEnvoy runs an Envoy on what safestate render prints for one form, until
// the test ends. edit, if any, changes the text first.
func (c *control) startEnvoy(t *testing.T, form []string, edit func(string) string, flags ...string) *proxy {
	t.Helper()
	p := &proxy{admin: porttest.Address(t), traffic: c.traffic}
	if form[0] != "bootstrap" {
		p.traffic = porttest.Address(t)
	}
	args := append(slices.Clone(form), "--processor", c.grpc, "--answers-upstream", c.answers, "--traffic", p.traffic, "--envoy-admin", p.admin)
	text := string(render(t, append(args, flags...)...))
	if edit != nil {
		text = edit(text)
	}
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p.process = dataplane.StartEnvoy(t, path, p.admin)
	p.client = dataplane.NewClient(p.traffic)
	t.Cleanup(p.client.Close)
	return p
}

// score asks for a prediction.
func (p *proxy) score(header ...string) dataplane.Answer {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return p.client.Do(dataplane.Request{Path: scorePath, Header: h, Body: []byte(`{"inputs":[]}`)})
}

// stat is one of Envoy's counters; "" where there is none.
func (p *proxy) stat(name string) string {
	return sampleIn(dataplane.Get("http://"+p.admin+"/stats?filter="+url.QueryEscape("^"+regexp.QuoteMeta(name)+"$")), name+": ")
}

// number is stat as a number; -1 where there is none.
func (p *proxy) number(name string) int {
	n := -1
	_, _ = fmt.Sscan(p.stat(name), &n)
	return n
}

// judges reports whether a clean answer is the model's own, and one that is not
// is replaced.
func (p *proxy) judges() bool {
	fine, bad := p.score(), p.score(ask, "nan")
	return fine.Err == nil && string(fine.Body) == cleanAnswer && fine.Source() == "primary" &&
		bad.Err == nil && bad.Status == http.StatusOK && string(bad.Body) == safeDefault && bad.Source() == "safe_default" && strings.HasPrefix(bad.Reason(), "nonfinite")
}
