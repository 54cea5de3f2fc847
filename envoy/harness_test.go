package envoy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/porttest"
)

// envoyBinary is the Envoy that the tests run: ENVOY, or the one that the
// Makefile sets up.
func envoyBinary(t *testing.T) string {
	t.Helper()
	if p := os.Getenv("ENVOY"); p != "" {
		return p
	}
	found, err := filepath.Glob("../.cache/envoy/lib/python3*/site-packages/envoy/_bin/envoy")
	if err != nil || len(found) == 0 {
		t.Fatal("no Envoy: set ENVOY to a binary of version 1.40, or run `make setup`")
	}
	return found[0]
}

// proxy is a running Envoy.
type proxy struct {
	t      *testing.T
	listen string // traffic
	admin  string
	log    string // its log file
}

// testOptions are addresses for one Envoy, and a message timeout that is long for
// a busy machine. Where a processor hangs, a test sets briefly.
func testOptions(t *testing.T) Options {
	t.Helper()
	return Options{Listen: porttest.Address(t), Admin: porttest.Address(t), Processor: porttest.Address(t), MessageTimeout: 20 * time.Second}
}

// briefly is a message timeout for tests in which it runs out.
const briefly = 280 * time.Millisecond

// startStatic runs Envoy on the whole configuration in one file.
func startStatic(t *testing.T, s *compile.Snapshot, o Options) *proxy {
	t.Helper()
	b, err := Static(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, b, o)
}

func start(t *testing.T, b *bootstrapv3.Bootstrap, o Options) *proxy {
	t.Helper()
	text, err := YAML(b)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, listen: o.Listen, admin: o.Admin, log: filepath.Join(dir, "envoy.log")}
	cmd := exec.Command(envoyBinary(t), "-c", file, "--concurrency", "2", "--use-dynamic-base-id",
		"--log-path", p.log, "-l", "warning", "--drain-time-s", "1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		if t.Failed() {
			logged, _ := os.ReadFile(p.log)
			t.Logf("Envoy's log:\n%s%s", tail(string(logged)), tail(stderr.String()))
		}
	})
	eventually(t, "Envoy is ready", func() bool {
		select {
		case <-exited:
			logged, _ := os.ReadFile(p.log)
			t.Fatalf("Envoy did not start:\n%s%s", tail(string(logged)), tail(stderr.String()))
		default:
		}
		body, err := get("http://" + p.admin + "/ready")
		return err == nil && strings.HasPrefix(body, "LIVE")
	})
	return p
}

func tail(s string) string {
	var kept []string
	for _, line := range strings.Split(s, "\n") {
		if !strings.Contains(line, "marked as work-in-progress") {
			kept = append(kept, line)
		}
	}
	s = strings.Join(kept, "\n")
	if len(s) > 4000 {
		return "…" + s[len(s)-4000:]
	}
	return s
}

// patient asks Envoy's admin interface, but not for ever.
var patient = &http.Client{Timeout: 30 * time.Second}

func get(url string) (string, error) {
	resp, err := patient.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// adminGet reads a page of Envoy's admin interface.
func (p *proxy) adminGet(path string) string {
	p.t.Helper()
	body, err := get("http://" + p.admin + path)
	if err != nil {
		p.t.Fatal(err)
	}
	return body
}

// adminPost asks the admin interface to do something.
func (p *proxy) adminPost(path string) error {
	resp, err := patient.Post("http://"+p.admin+path, "", nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// inTime is how long an answer may take that a timeout of at most 2 s gives: the
// rest is a busy machine. What no timeout ends takes longer.
const inTime = 12 * time.Second

// eventually polls until cond holds; a minute is a failure.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// reply is what a caller got.
type reply struct {
	status int
	header http.Header
	body   string
	err    error // reading the body
	took   time.Duration
}

func (r reply) source() string { return r.header.Get("x-safestate-source") }
func (r reply) reason() string { return r.header.Get("x-safestate-reason") }

const inferPath = "/v2/models/fraud/infer"

// post asks for a prediction.
func (p *proxy) post(header ...string) reply {
	return p.do("POST", inferPath, strings.NewReader(`{"inputs":[]}`), header...)
}

// do sends a request; header is name, value, name, value. Its connection is
// its own, so that nothing is left over from the last one.
func (p *proxy) do(method, path string, body io.Reader, header ...string) reply {
	p.t.Helper()
	r, err := p.try(method, path, body, header...)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func (p *proxy) try(method, path string, body io.Reader, header ...string) (reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.listen+path, body)
	if err != nil {
		return reply{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "host" {
			req.Host = header[i+1]
		}
		req.Header.Add(header[i], header[i+1])
	}
	client := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	defer client.CloseIdleConnections()
	began := time.Now()
	resp, err := client.RoundTrip(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{status: resp.StatusCode, header: resp.Header, body: string(b), err: err, took: time.Since(began)}, nil
}

// model is a model server in the process that counts its calls.
type model struct {
	addr  string
	calls atomic.Int64
	last  atomic.Pointer[http.Request] // its header and URL only
}

const clean = `{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.25]}]}`

// newModel runs a model; a nil handler answers clean.
func newModel(t *testing.T, h http.HandlerFunc) *model {
	t.Helper()
	m := &model{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.calls.Add(1)
		m.last.Store(r)
		if h != nil {
			h(w, r)
			return
		}
		w.Header().Set("content-type", "application/json")
		_, _ = io.WriteString(w, clean)
	}))
	t.Cleanup(s.CloseClientConnections)
	m.addr = s.Listener.Addr().String()
	return m
}

// processor is a scripted ext_proc server.
type processor struct {
	server *grpc.Server
	seen   atomic.Int64 // streams

	mu     sync.Mutex
	script func(phase string, m *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse
	phases []string // of the last stream
	attrs  map[string]string
}

// hang as an answer is none until the stream ends.
var hang = &extprocv3.ProcessingResponse{}

// startProcessor serves at addr. A nil script says CONTINUE to everything.
func startProcessor(t *testing.T, addr string, script func(phase string, m *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse) *processor {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &processor{script: script, server: grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20)), attrs: map[string]string{}}
	extprocv3.RegisterExternalProcessorServer(p.server, p)
	go func() { _ = p.server.Serve(l) }()
	t.Cleanup(p.server.Stop)
	return p
}

func phaseOf(m *extprocv3.ProcessingRequest) string {
	switch m.Request.(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		return "request headers"
	case *extprocv3.ProcessingRequest_RequestBody:
		return "request body"
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		return "response headers"
	case *extprocv3.ProcessingRequest_ResponseBody:
		return "response body"
	}
	return "other"
}

// Process implements the service.
func (p *processor) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	p.seen.Add(1)
	p.mu.Lock()
	p.phases = nil
	p.mu.Unlock()
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil
		}
		phase := phaseOf(m)
		p.mu.Lock()
		p.phases = append(p.phases, phase)
		for _, s := range m.GetAttributes() {
			for k, v := range s.GetFields() {
				p.attrs[k] = v.GetStringValue()
			}
		}
		script := p.script
		p.mu.Unlock()
		var out *extprocv3.ProcessingResponse
		if script != nil {
			out = script(phase, m)
		}
		if out == hang {
			<-stream.Context().Done()
			return nil
		}
		if out == nil {
			out = proceed(phase)
		}
		if err := stream.Send(out); err != nil {
			return nil
		}
	}
}

func (p *processor) lastPhases() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.phases, ", ")
}

func (p *processor) attribute(name string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.attrs[name]
}

// proceed is CONTINUE in the shape of a phase, with the dynamic metadata that
// says "judged" on the last message.
func proceed(phase string) *extprocv3.ProcessingResponse {
	r := &extprocv3.ProcessingResponse{}
	switch phase {
	case "request headers":
		r.Response = &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{}}
	case "request body":
		r.Response = &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{}}
	case "response headers":
		r.Response = &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}}
	case "response body":
		r.Response = &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{}}
		r.DynamicMetadata = judged()
	}
	return r
}

func judged() *structpb.Struct {
	inner := &structpb.Struct{Fields: map[string]*structpb.Value{"source": structpb.NewStringValue("primary")}}
	return &structpb.Struct{Fields: map[string]*structpb.Value{policy.MetadataNamespace: structpb.NewStructValue(inner)}}
}

// answer is an ImmediateResponse from a rung.
func answer(status int, body, source string) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{
		DynamicMetadata: judged(),
		Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(status)},
			Body:    []byte(body),
			Headers: &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{raw("x-safestate-source", source), raw("content-type", "application/json")}},
			Details: "safestate",
		}},
	}
}

func raw(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, RawValue: []byte(value)},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func longer(d time.Duration) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{OverrideMessageTimeout: durationpb.New(d)}
}

// version is a version's cluster at an address.
func version(name, addr string) compile.Cluster {
	host, port, _ := net.SplitHostPort(addr)
	var n int
	_, _ = fmt.Sscan(port, &n)
	return compile.Cluster{
		Name: "default/fraud/" + name, Namespace: "default", Model: "fraud", Version: name,
		Endpoints:      []policy.Endpoint{{Address: host, Port: n}},
		ConnectTimeout: 10 * time.Second,
	}
}

const safeDefault = `{"model_name":"fraud","outputs":[{"name":"score","data":[0.0]}],"note":"100% \"sûr\"\nzwei"}`

// enforced is a policy that acts on every request, and unhurried; edit changes it.
func enforced(edit func(*policy.Policy)) *policy.Policy {
	p := &policy.Policy{
		Format: policy.FormatVersion, Name: "default/fraud", Route: "default/fraud/score",
		Mode: policy.Enforce, Protocol: policy.OpenInferenceV2, Model: "default/fraud", ServedName: "fraud", Stable: "default/fraud/v1",
		Versions: map[string]policy.Version{"default/fraud/v1": {Name: "v1"}},
		Limits:   policy.Limits{BodyBytes: 1 << 20},
		Detect:   policy.Detect{Broken: &policy.Broken{Mode: policy.Enforce}, Late: &policy.Late{Mode: policy.Enforce}},
		Ladder:   []policy.Rung{{SafeDefault: &policy.SafeDefault{Body: safeDefault}}},
	}
	unhurried(p)
	if edit != nil {
		edit(p)
	}
	return p
}

// unhurried gives a policy time for a busy machine, where a test is not about
// time.
func unhurried(p *policy.Policy) {
	p.Deadline, p.Reserve = policy.Duration(20*time.Second), policy.Duration(time.Second)
}

// hurried gives a policy a deadline for tests in which it runs out.
func hurried(p *policy.Policy) {
	p.Deadline, p.Reserve = policy.Duration(2*time.Second), policy.Duration(time.Second)
}

// snapshot is one host with one route over the given versions, the first with
// all the weight. A nil policy is none.
func snapshot(t *testing.T, p *policy.Policy, versions ...compile.Cluster) *compile.Snapshot {
	t.Helper()
	r := compile.Route{Name: "default/fraud/score", Namespace: "default"}
	if p != nil {
		text, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		r.Policy, r.PolicyJSON = p, string(text)
		if p.FullyEnforced() && p.Detect.Late != nil && p.Detect.Late.Mode.Enforces() {
			r.ModelTimeout = p.Deadline.D() - p.Reserve.D()
			r.MaxDuration = p.Deadline.D() + compile.Grace
		}
	}
	for i, v := range versions {
		b := compile.Backend{Cluster: v.Name}
		if i == 0 {
			b.Weight = 100
		}
		r.Backends = append(r.Backends, b)
	}
	return &compile.Snapshot{
		Hosts:    []compile.Host{{Domain: "*", Entries: []compile.Entry{{Match: compile.Match{PathType: compile.PathPrefix, Path: "/"}}}}},
		Routes:   []compile.Route{r},
		Clusters: versions,
	}
}
