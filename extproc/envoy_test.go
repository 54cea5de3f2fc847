package extproc

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/telemetry"
)

// proxy plays Envoy's part over a real gRPC connection in the process: it
// sends the messages that Envoy sends, in its order, and does with the replies
// what Envoy does.
type proxy struct {
	t       *testing.T
	client  extprocv3.ExternalProcessorClient
	server  *Server
	metrics *telemetry.Metrics
	conn    *grpc.ClientConn
	node    string // what it is called
}

func newProxy(t *testing.T, change ...func(*Options)) *proxy {
	t.Helper()
	metrics := telemetry.NewMetrics("test", telemetry.Caps{})
	state, err := NewState(StateOptions{Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Metrics: metrics, Log: telemetry.NopLog(), State: state}
	for _, c := range change {
		c(&o)
	}
	s := New(o)
	l := bufconn.Listen(1 << 20)
	g := grpc.NewServer(ServerOptions()...)
	s.Register(g)
	go func() { _ = g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return l.Dial() }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
		s.Close()
	})
	return &proxy{t: t, client: extprocv3.NewExternalProcessorClient(conn), server: s, metrics: metrics, conn: conn, node: "node-1"}
}

// request is one HTTP request and what its model does.
type request struct {
	policy  *policy.Policy
	cluster string // default "default/fraud/v1"; "-": none, as with a direct response
	path    string // default the fraud model's infer call
	headers map[string]string
	body    string // default {"inputs":[]}
	noBody  bool   // the request ends with its headers
	// What the route carries beside its policy; empty: nothing.
	signature string
	route     string // Envoy's name of it

	status  int // default 200
	respond map[string]string
	answer  string
	details string // default via_upstream
	chunked bool   // no content-length
	partial bool   // the answer is cut at the limit: end_of_stream is false
	vanish  bool   // the stream ends after the response's headers
	// meanwhile is called once the model was asked, and halfway before its body
	// comes; nil: nothing happens.
	meanwhile, halfway func()
}

// result is what the caller gets.
type result struct {
	status    int
	headers   map[string]string
	body      string
	asked     bool // the model saw the request
	immediate bool
	messages  int              // how many the processor was sent
	extended  int              // how often it asked for more time
	word      *structpb.Struct // what the processor said last of its verdict; nil: nothing
	err       error
}

func (p *proxy) do(r request) result {
	p.t.Helper()
	out := p.ask(r)
	p.settled()
	return out
}

// ask is do for a proxy with other requests under way.
func (p *proxy) ask(r request) result {
	p.t.Helper()
	r = r.withDefaults()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	stream, err := p.client.Process(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	x := &play{proxy: p, stream: stream, request: r, out: result{headers: map[string]string{}}}
	x.run()
	return x.out
}

// settled waits, since what the server counts at the end of a stream must have
// been counted before the test looks, until the server has ended every exchange.
func (p *proxy) settled() {
	p.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for p.server.open.Load() != 0 {
		if time.Now().After(deadline) {
			p.t.Fatal("an exchange did not end")
		}
		time.Sleep(time.Millisecond) // a poll with a bound
	}
}

func (r request) withDefaults() request {
	if r.cluster == "" {
		r.cluster = "default/fraud/v1"
	}
	if r.path == "" {
		r.path = "/v2/models/fraud/infer"
	}
	if r.body == "" {
		r.body = `{"inputs":[]}`
	}
	if r.status == 0 {
		r.status = 200
	}
	if r.details == "" {
		r.details = "via_upstream"
	}
	return r
}

type play struct {
	*proxy
	stream  grpc.BidiStreamingClient[extprocv3.ProcessingRequest, extprocv3.ProcessingResponse]
	request request
	mode    *filterv3.ProcessingMode
	out     result
}

func (x *play) run() {
	if x.requestPhase() {
		x.out.asked = true
		if x.request.meanwhile != nil {
			x.request.meanwhile()
		}
		x.responsePhase()
	}
}

// requestHeaders makes the first message.
func (x *play) requestHeaders() *extprocv3.ProcessingRequest {
	r := x.request
	text, err := r.policy.Marshal()
	if err != nil {
		x.t.Fatal(err)
	}
	list := []*corev3.HeaderValue{header(":method", "POST"), header(":path", r.path), header("content-type", "application/json")}
	if !r.noBody {
		list = append(list, header("content-length", strconv.Itoa(len(r.body))))
	}
	for k, v := range r.headers {
		list = append(list, header(k, v))
	}
	carries := map[string]string{
		policy.AttributePolicy: string(text), policy.AttributeCluster: r.cluster, policy.AttributeNode: x.node,
		policy.AttributeSource: "10.1.2.3:4567", policy.AttributeGeneration: "12",
	}
	for name, value := range map[string]string{policy.AttributeSignature: r.signature, policy.AttributeRoute: r.route} {
		if value != "" {
			carries[name] = value
		}
	}
	return &extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{
			Headers: &corev3.HeaderMap{Headers: list}, EndOfStream: r.noBody,
		}},
		Attributes: attributes(carries),
	}
}

func (x *play) requestPhase() bool {
	r := x.request
	if !x.exchange(x.requestHeaders()) {
		return false
	}
	if r.noBody || !r.policy.Needs.RequestBody || x.mode.GetRequestBodyMode() == filterv3.ProcessingMode_NONE && x.mode != nil {
		return true
	}
	return x.exchange(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{
		RequestBody: &extprocv3.HttpBody{Body: []byte(r.body), EndOfStream: true},
	}})
}

func (x *play) responsePhase() {
	if x.mode != nil && x.mode.ResponseHeaderMode == filterv3.ProcessingMode_SKIP {
		x.passed()
		return
	}
	r := x.request
	x.out.status = r.status
	list := []*corev3.HeaderValue{header(":status", strconv.Itoa(r.status))}
	if r.respond == nil {
		r.respond = map[string]string{"content-type": "application/json"}
	}
	for k, v := range r.respond {
		list = append(list, header(k, v))
		x.out.headers[k] = v
	}
	empty := r.answer == "" && !r.chunked
	if !r.chunked {
		list = append(list, header("content-length", strconv.Itoa(len(r.answer))))
	}
	m := &extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{
			Headers: &corev3.HeaderMap{Headers: list}, EndOfStream: empty,
		}},
		Attributes: attributes(map[string]string{policy.AttributeCodeDetails: r.details}),
	}
	x.mode, x.out.body = nil, r.answer
	if !x.exchange(m) || empty || r.vanish || x.mode != nil && x.mode.ResponseBodyMode == filterv3.ProcessingMode_NONE {
		return
	}
	if r.halfway != nil {
		r.halfway()
	}
	x.exchange(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{
		ResponseBody: &extprocv3.HttpBody{Body: []byte(r.answer), EndOfStream: !r.partial},
	}})
}

func (x *play) passed() {
	x.out.status, x.out.body = x.request.status, x.request.answer
}

// exchange sends a message and carries out its reply; false ends the request.
func (x *play) exchange(m *extprocv3.ProcessingRequest) bool {
	x.out.messages++
	if err := x.stream.Send(m); err != nil {
		x.out.err = err
		return false
	}
	for {
		r, err := x.stream.Recv()
		if err != nil {
			x.out.err = err
			return false
		}
		if r.OverrideMessageTimeout != nil {
			x.out.extended++
			continue
		}
		if r.ModeOverride != nil {
			x.mode = r.ModeOverride
		}
		return x.apply(r)
	}
}

func (x *play) apply(r *extprocv3.ProcessingResponse) bool {
	if word := r.GetDynamicMetadata(); word != nil {
		x.out.word = word
	}
	var c *extprocv3.CommonResponse
	switch v := r.Response.(type) {
	case *extprocv3.ProcessingResponse_ImmediateResponse:
		x.out.immediate = true
		x.out.status = int(v.ImmediateResponse.Status.Code)
		x.out.headers = map[string]string{}
		x.change(v.ImmediateResponse.Headers)
		x.out.body = string(v.ImmediateResponse.Body)
		return false
	case *extprocv3.ProcessingResponse_RequestHeaders:
		return true
	case *extprocv3.ProcessingResponse_RequestBody:
		return true
	case *extprocv3.ProcessingResponse_ResponseHeaders:
		c = v.ResponseHeaders.Response
	case *extprocv3.ProcessingResponse_ResponseBody:
		c = v.ResponseBody.Response
	}
	x.change(c.GetHeaderMutation())
	if b, ok := c.GetBodyMutation().GetMutation().(*extprocv3.BodyMutation_Body); ok {
		x.out.body = string(b.Body)
		if x.out.headers["content-length"] != strconv.Itoa(len(b.Body)) {
			x.t.Errorf("content-length %q with a body of %d bytes: Envoy would answer 500", x.out.headers["content-length"], len(b.Body))
		}
	}
	return true
}

func (x *play) change(m *extprocv3.HeaderMutation) {
	for _, name := range m.GetRemoveHeaders() {
		delete(x.out.headers, name)
	}
	for _, o := range m.GetSetHeaders() {
		k, v := o.Header.Key, string(o.Header.RawValue)
		if k == ":status" {
			x.out.status, _ = strconv.Atoi(v)
			continue
		}
		x.out.headers[k] = v
	}
}

func header(k, v string) *corev3.HeaderValue {
	return &corev3.HeaderValue{Key: strings.ToLower(k), RawValue: []byte(v)}
}

func attributes(m map[string]string) map[string]*structpb.Struct {
	s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for k, v := range m {
		if v == "-" {
			continue
		}
		s.Fields[k] = structpb.NewStringValue(v)
	}
	return map[string]*structpb.Struct{"envoy.filters.http.ext_proc": s}
}
