package product

import (
	"net"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
)

// What the endpoint picker protocol 1.0.0 calls things
// (sigs.k8s.io/gateway-api-inference-extension v1.5.0,
// docs/proposals/004-endpoint-picker-protocol).
const (
	pickedNamespace = "envoy.lb"
	pickedKey       = "x-gateway-destination-endpoint"
	servedKey       = "x-gateway-destination-endpoint-served"
)

// picker is an endpoint picker: it waits for the whole request, as the project's own
// does, and names one address for it, or refuses it. It is safe for concurrent use.
type picker struct {
	extprocv3.UnimplementedExternalProcessorServer
	port int
	stop func()

	mu       sync.Mutex
	endpoint string // host:port, or several with commas; empty: requests are refused with 429
	open     int    // requests it is in the middle of
	requests int
	served   []string            // by whom answers were, as Envoy says
	statuses []string            // of answers, as the picker sees them
	headers  map[string][]string // of the last request
}

func newPicker(t *testing.T, endpoint string) *picker {
	t.Helper()
	p := &picker{endpoint: endpoint}
	p.port, p.stop = serveGRPC(t, func(s *grpc.Server) { extprocv3.RegisterExternalProcessorServer(s, p) })
	return p
}

// serveGRPC serves on a free port until it is stopped or the test ends.
func serveGRPC(t *testing.T, register func(*grpc.Server)) (port int, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	go func() { _ = s.Serve(l) }() // ends by Stop
	t.Cleanup(s.Stop)
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("no TCP address: %v", l.Addr())
	}
	return address.Port, s.Stop
}

// picks has the picker name an endpoint from now on.
func (p *picker) picks(endpoint string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endpoint = endpoint
}

// seen is what the picker was told of since it was last asked that.
func (p *picker) seen() (requests int, served, statuses []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	requests, served, statuses = p.requests, p.served, p.statuses
	p.requests, p.served, p.statuses = 0, nil, nil
	return requests, served, statuses
}

// Process takes one request and its answer.
func (p *picker) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	p.opened(1)
	defer p.opened(-1)
	for body := []byte(nil); ; {
		m, err := stream.Recv()
		if err != nil {
			return nil // the request is over
		}
		var answers []*extprocv3.ProcessingResponse
		switch r := m.GetRequest().(type) {
		case *extprocv3.ProcessingRequest_RequestHeaders:
			p.request(r.RequestHeaders.GetHeaders())
			if r.RequestHeaders.GetEndOfStream() {
				answers = p.pick(nil)
			}
		case *extprocv3.ProcessingRequest_RequestBody:
			body = append(body, r.RequestBody.GetBody()...)
			if r.RequestBody.GetEndOfStream() {
				answers = p.pick(body)
			}
		case *extprocv3.ProcessingRequest_ResponseHeaders:
			p.answered(m)
			answers = []*extprocv3.ProcessingResponse{{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}}}}
		case *extprocv3.ProcessingRequest_ResponseBody:
			answers = []*extprocv3.ProcessingResponse{{Response: &extprocv3.ProcessingResponse_ResponseBody{
				ResponseBody: passed(r.ResponseBody.GetBody(), r.ResponseBody.GetEndOfStream()),
			}}}
		case *extprocv3.ProcessingRequest_ResponseTrailers:
			answers = []*extprocv3.ProcessingResponse{{Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}}}
		}
		for _, a := range answers {
			if err := stream.Send(a); err != nil {
				return nil // as above
			}
		}
	}
}

func (p *picker) opened(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open += n
}

func (p *picker) request(h *corev3.HeaderMap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests++
	p.headers = map[string][]string{}
	for _, v := range h.GetHeaders() {
		p.headers[v.GetKey()] = append(p.headers[v.GetKey()], string(v.GetRawValue()))
	}
}

// pick says where the request goes, and hands its body on.
func (p *picker) pick(body []byte) []*extprocv3.ProcessingResponse {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.endpoint == "" {
		return []*extprocv3.ProcessingResponse{{Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode_TooManyRequests}, Body: []byte("no room"),
		}}}}
	}
	out := []*extprocv3.ProcessingResponse{{
		Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{Response: &extprocv3.CommonResponse{
			ClearRouteCache: true, // as the project's own has it
			HeaderMutation: &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{{
				Header: &corev3.HeaderValue{Key: pickedKey, RawValue: []byte(p.endpoint)},
			}}},
		}}},
		DynamicMetadata: structOf(pickedNamespace, structpb.NewStructValue(structOf(pickedKey, structpb.NewStringValue(p.endpoint)))),
	}}
	if body != nil {
		out = append(out, &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: passed(body, true)}})
	}
	return out
}

func (p *picker) answered(m *extprocv3.ProcessingRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.served = append(p.served, m.GetMetadataContext().GetFilterMetadata()[pickedNamespace].GetFields()[servedKey].GetStringValue())
	for _, h := range m.GetResponseHeaders().GetHeaders().GetHeaders() {
		if h.GetKey() == ":status" || strings.HasPrefix(h.GetKey(), "x-safestate-source") {
			p.statuses = append(p.statuses, string(h.GetRawValue()))
		}
	}
}

func passed(body []byte, end bool) *extprocv3.BodyResponse {
	return &extprocv3.BodyResponse{Response: &extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{
		Mutation: &extprocv3.BodyMutation_StreamedResponse{StreamedResponse: &extprocv3.StreamedBodyResponse{Body: body, EndOfStream: end}},
	}}}
}

func structOf(key string, value *structpb.Value) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{key: value}}
}
