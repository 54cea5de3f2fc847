package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	nanAnswer   = `{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[NaN]}]}`
	defaultBody = `{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.5]}]}`
)

// configuration is a model with a route and a policy; score is its default's.
func configuration(name, score string) string {
	return strings.NewReplacer("NAME", name, "SCORE", score).Replace(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: NAME}
spec:
  parentRefs: [{name: inference}]
  rules:
  - name: score
    matches: [{path: {type: PathPrefix, value: /v2/models/NAME}}]
    backendRefs: [{name: NAME-v1, port: 80, weight: 100}]
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: NAME}
spec:
  protocol: OpenInferenceV2
  versions:
  - name: v1
    backendRef: {name: NAME-v1, port: 80}
    endpoints: [{address: 127.0.0.1, port: 9101}]
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: NAME}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: NAME, sectionName: score}]
  mode: Enforce
  deadline: 20s
  detect: {nonFinite: {}}
  ladder:
  - safeDefault:
      body: '{"model_name":"NAME","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[SCORE]}]}'
`)
}

// folder is a configuration folder with one good file.
func folder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "config")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "fraud.yaml"), configuration("fraud", "0.5"))
	return dir
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// buffer is a log that can be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// running is a safestate in this process.
type running struct {
	t          *testing.T
	http, grpc string
	log        *buffer
	client     *http.Client
	stop       func()
	ended      chan struct{}
	err        error // of Run; to be read once ended is closed
}

// start runs safestate on free ports until the test ends.
func start(t *testing.T, dir string, change ...func(*Options)) *running {
	t.Helper()
	r := &running{
		t: t, log: &buffer{}, ended: make(chan struct{}),
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute},
	}
	o := Options{ConfigDir: dir, DataDir: t.TempDir(), HTTP: "127.0.0.1:0", GRPC: "127.0.0.1:0", Answers: "127.0.0.1:0", Version: "test", LogTo: r.log}
	o.Envoy.Processor = DefaultGRPC
	for _, c := range change {
		c(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() {
		defer close(r.ended)
		r.err = Run(ctx, o)
	}()
	t.Cleanup(func() {
		cancel()
		<-r.ended
		if t.Failed() {
			t.Logf("the log:\n%s", r.log)
		}
	})
	until(t, "serving", func() bool {
		select {
		case <-r.ended:
			t.Fatalf("ended at its start: %v", r.err)
		default:
		}
		for line := range strings.Lines(r.log.String()) {
			var l struct{ Message, HTTP, GRPC string }
			if json.Unmarshal([]byte(line), &l) == nil && l.Message == "serving" {
				r.http, r.grpc = l.HTTP, l.GRPC
			}
		}
		return r.http != ""
	})
	return r
}

// end waits for Run and returns its error.
func (r *running) end() error {
	r.stop()
	<-r.ended
	return r.err
}

func (r *running) get(path string) (status int, body string) {
	r.t.Helper()
	resp, err := r.client.Get("http://" + r.http + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (r *running) ready() (status int, s Readiness) {
	r.t.Helper()
	status, body := r.get("/readyz")
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		r.t.Fatalf("/readyz: %v in %s", err, body)
	}
	return status, s
}

func (r *running) version() string {
	_, s := r.ready()
	return s.Config.Version
}

// metric returns the value of a series as /metrics writes it.
func (r *running) metric(series string) string {
	r.t.Helper()
	_, body := r.get("/metrics")
	for line := range strings.Lines(body) {
		if v, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return "none"
}

// dial connects to the gRPC address.
func (r *running) dial() *grpc.ClientConn {
	r.t.Helper()
	target := "passthrough:///" + r.grpc
	if strings.HasPrefix(r.grpc, "/") {
		target = "unix:" + r.grpc
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// call is one request as a proxy plays it at the processor.
type call struct {
	t      *testing.T
	stream grpc.BidiStreamingClient[extprocv3.ProcessingRequest, extprocv3.ProcessingResponse]
	policy string
	err    error // the stream's: nobody took it
}

func newCall(t *testing.T, conn *grpc.ClientConn, dir string) *call {
	t.Helper()
	snapshot, problems := compile.Dir(dir)
	if problems.Failed() {
		t.Fatal(problems.Err())
	}
	text, err := snapshot.Routes[0].Policy.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	stream, err := extprocv3.NewExternalProcessorClient(conn).Process(ctx)
	return &call{t: t, stream: stream, policy: string(text), err: err}
}

// send sends a message and returns the reply to it.
func (c *call) send(m *extprocv3.ProcessingRequest) (*extprocv3.ProcessingResponse, error) {
	if err := c.stream.Send(m); err != nil {
		return nil, err
	}
	for {
		r, err := c.stream.Recv()
		if err != nil || r.OverrideMessageTimeout == nil {
			return r, err
		}
	}
}

// ask sends the request and waits until the processor lets it go to the model.
func (c *call) ask() error {
	if c.err != nil {
		return c.err
	}
	_, err := c.send(firstMessage(c.policy))
	return err
}

// firstMessage is a request with its headers alone.
func firstMessage(text string) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{
			Headers: headers(":method", "POST", ":path", "/v2/models/fraud/infer"), EndOfStream: true,
		}},
		Attributes: attributes(policy.AttributePolicy, text, policy.AttributeCluster, "default/fraud/v1"),
	}
}

// answer sends the model's answer and returns what the caller gets.
func (c *call) answer(body string) string {
	c.t.Helper()
	_, err := c.send(&extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{
			Headers: headers(":status", "200", "content-type", "application/json"),
		}},
		Attributes: attributes(policy.AttributeCodeDetails, "via_upstream"),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := c.send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{
		ResponseBody: &extprocv3.HttpBody{Body: []byte(body), EndOfStream: true},
	}})
	if err != nil {
		c.t.Fatal(err)
	}
	switch v := r.Response.(type) {
	case *extprocv3.ProcessingResponse_ImmediateResponse:
		return string(v.ImmediateResponse.Body)
	case *extprocv3.ProcessingResponse_ResponseBody:
		if b := v.ResponseBody.GetResponse().GetBodyMutation().GetBody(); b != nil {
			return string(b)
		}
	}
	return body
}

func headers(pairs ...string) *corev3.HeaderMap {
	m := &corev3.HeaderMap{}
	for i := 0; i < len(pairs); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	return m
}

func attributes(pairs ...string) map[string]*structpb.Struct {
	s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for i := 0; i < len(pairs); i += 2 {
		s.Fields[pairs[i]] = structpb.NewStringValue(pairs[i+1])
	}
	return map[string]*structpb.Struct{"envoy.filters.http.ext_proc": s}
}

// until waits for what other goroutines bring about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(time.Minute); !ok(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited a minute in vain: %s", what)
		}
	}
}
