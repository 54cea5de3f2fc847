package envoy

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
)

const (
	inferCall  = "/inference.GRPCInferenceService/ModelInfer"
	streamCall = "/inference.GRPCInferenceService/ModelStreamInfer"
	readyCall  = "/inference.GRPCInferenceService/ServerReady"
)

const grpcDefault = `{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.5]}]}`

// grpcPolicy is an enforced policy of a gRPC route.
func grpcPolicy(edit func(*policy.Policy)) *policy.Policy {
	return enforced(func(p *policy.Policy) {
		p.Protocol = policy.OpenInferenceGRPC
		p.Needs = policy.Needs{RequestBody: true, Duplex: true}
		p.Ladder[0].SafeDefault = &policy.SafeDefault{Body: grpcDefault}
		if edit != nil {
			edit(p)
		}
	})
}

// grpcSnapshot is one route for gRPC calls.
func grpcSnapshot(t *testing.T, p *policy.Policy, versions ...compile.Cluster) *compile.Snapshot {
	t.Helper()
	for i := range versions {
		versions[i].HTTP2 = true
	}
	s := snapshot(t, p, versions...)
	s.Routes[0].GRPC, s.Hosts[0].Entries[0].Match.GRPC = true, true
	return s
}

// grpcModel is a model whose answers a call's metadata "case" asks for.
type grpcModel struct {
	addr  string
	calls atomic.Int64
	last  atomic.Pointer[http.Header]
}

const (
	typeGRPC  = "application/grpc"
	modelText = "what the model says"
)

// respond writes an answer: a message unless it is nil, and trailers.
func respond(w http.ResponseWriter, message []byte, code, text string) {
	w.Header().Set("content-type", typeGRPC)
	w.WriteHeader(200)
	w.(http.Flusher).Flush()
	if message != nil {
		_, _ = w.Write(protocol.Frame(nil, message))
	}
	w.Header().Set(http.TrailerPrefix+"grpc-status", code)
	if text != "" {
		w.Header().Set(http.TrailerPrefix+"grpc-message", text)
	}
}

// fail answers with trailers only.
func fail(w http.ResponseWriter, code string) {
	w.Header().Set("content-type", typeGRPC)
	w.Header().Set("grpc-status", code)
	w.Header().Set("grpc-message", modelText)
	w.WriteHeader(200)
}

func (m *grpcModel) serve(w http.ResponseWriter, r *http.Request) {
	m.calls.Add(1)
	m.last.Store(&r.Header)
	if r.URL.Path == streamCall {
		echo(w, r)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	which := r.Header.Get("case")
	code, only := strings.CutPrefix(which, "only ")
	switch {
	case only:
		fail(w, code)
	case which == "http":
		w.WriteHeader(503)
	case which == "reset":
		panic(http.ErrAbortHandler)
	case which == "hang":
		<-r.Context().Done()
	case which == "empty": // headers, no message, trailers
		respond(w, nil, "13", modelText)
	case which == "late status":
		respond(w, []byte("half of it"), "13", modelText)
	case which == "cut", which == "stall":
		w.Header().Set("content-type", typeGRPC)
		w.WriteHeader(200)
		_, _ = w.Write([]byte{0, 0, 0})
		w.(http.Flusher).Flush()
		if which == "cut" {
			panic(http.ErrAbortHandler)
		}
		<-r.Context().Done()
	default:
		respond(w, []byte("clean"), "0", "")
	}
}

// echo gives each piece of a request back.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("content-type", typeGRPC)
	w.WriteHeader(200)
	w.(http.Flusher).Flush()
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Body.Read(buf)
		_, _ = w.Write(buf[:n])
		w.(http.Flusher).Flush()
		if err != nil {
			break
		}
	}
	w.Header().Set(http.TrailerPrefix+"grpc-status", "0")
}

// serveHTTP2 serves without TLS at addr.
func serveHTTP2(t *testing.T, addr string, h http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Protocols: protocols, Handler: h}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().String()
}

func newGRPCModel(t *testing.T) *grpcModel {
	t.Helper()
	m := &grpcModel{}
	m.addr = serveHTTP2(t, "127.0.0.1:0", m.serve)
	return m
}

// grpcLadder is the ladder as an upstream.
func grpcLadder(t *testing.T, addr string) *grpcModel {
	t.Helper()
	m := &grpcModel{}
	m.addr = serveHTTP2(t, addr, func(w http.ResponseWriter, r *http.Request) {
		m.calls.Add(1)
		m.last.Store(&r.Header)
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("x-safestate-source", "rules")
		w.Header().Set("x-got", string(rune('0'+len(r.Header.Get(policy.HeaderDigest))/64)))
		if n == 0 {
			fail(w, "14")
			return
		}
		respond(w, []byte("from the ladder"), "0", "")
	})
	return m
}

// bytesCodec leaves messages as they are.
type bytesCodec struct{}

func (bytesCodec) Marshal(v any) ([]byte, error) { return *(v.(*[]byte)), nil }
func (bytesCodec) Unmarshal(b []byte, v any) error {
	*(v.(*[]byte)) = append([]byte(nil), b...)
	return nil
}
func (bytesCodec) Name() string { return "proto" }

// called is what a grpc-go client made of a call.
type called struct {
	message string
	err     error
	header  metadata.MD
	trailer metadata.MD
	took    time.Duration
}

func (c *called) status() string { return status.Code(c.err).String() }

func (c *called) get(name string) string { return strings.Join(c.header.Get(name), ",") }

// grpcClient is a connection of grpc-go to the proxy.
func (p *proxy) grpcClient() *grpc.ClientConn {
	p.t.Helper()
	c, err := grpc.NewClient("passthrough:///"+p.listen, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(bytesCodec{}), grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Close() })
	return c
}

// call asks for a prediction on a connection of its own.
func (p *proxy) call(method string, request []byte, header ...string) called {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), header...), time.Minute)
	defer cancel()
	var out called
	var message []byte
	began := time.Now()
	out.err = p.grpcClient().Invoke(ctx, method, &request, &message, grpc.Header(&out.header), grpc.Trailer(&out.trailer))
	out.took, out.message = time.Since(began), string(message)
	return out
}

// trailers are what a call ends with on the wire.
func (p *proxy) trailers(method string, request []byte, which string) http.Header {
	p.t.Helper()
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Transport{Protocols: protocols}
	defer client.CloseIdleConnections()
	req, err := http.NewRequest("POST", "http://"+p.listen+method, bytes.NewReader(protocol.Frame(nil, request)))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("content-type", typeGRPC)
	req.Header.Set("te", "trailers")
	req.Header.Set("case", which)
	resp, err := client.RoundTrip(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		p.t.Error(err)
	}
	return resp.Trailer
}

// askUnder lets a request go to the model; with a cluster its failure may be
// taken to the ladder.
func (d *dialogue) askUnder(cluster string) {
	d.next()
	m := proceed("request headers")
	if cluster != "" {
		m.GetRequestHeaders().Response = common(true, policy.HeaderCluster, cluster)
	}
	d.send(m)
	d.next()
	d.send(proceed("request body"))
}

func mutation(header ...string) *extprocv3.HeaderMutation {
	m := &extprocv3.HeaderMutation{}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == "" {
			m.RemoveHeaders = append(m.RemoveHeaders, header[i])
			continue
		}
		m.SetHeaders = append(m.SetHeaders, raw(header[i], header[i+1]))
	}
	return m
}

// end sends trailers.
func (d *dialogue) end(header ...string) {
	d.send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseTrailers{
		ResponseTrailers: &extprocv3.TrailersResponse{HeaderMutation: mutation(header...)},
	}})
}

// grpcAnswer is a call's whole answer, withheld.
type grpcAnswer struct {
	headers  *extprocv3.HttpHeaders
	body     string
	pieces   int
	trailers *extprocv3.HttpTrailers // nil: trailers only
}

// gather withholds an answer until it is whole; nil where Envoy ended it.
func (d *dialogue) gather() *grpcAnswer {
	m := d.next()
	if m.GetResponseHeaders() == nil {
		return nil
	}
	a := &grpcAnswer{headers: m.GetResponseHeaders()}
	for !a.headers.EndOfStream && a.trailers == nil {
		switch m = d.next(); {
		case m.GetResponseBody() != nil:
			a.body += string(m.GetResponseBody().Body)
			a.pieces++
		case m.GetResponseTrailers() != nil:
			a.trailers = m.GetResponseTrailers()
		default:
			return nil
		}
	}
	return a
}

// judging asks the model and lets its answer, once it is whole, pass.
func judging(cluster string) func(*dialogue) {
	return func(d *dialogue) {
		d.askUnder(cluster)
		a := d.gather()
		if a == nil {
			return
		}
		d.begin("x-judged", "1")
		if a.pieces > 0 {
			d.piece(a.body, false)
		}
		if a.trailers != nil {
			d.end()
		}
	}
}

// common changes a request's headers, and with again has the route chosen anew.
// Envoy looks at that only beside a mutation, be it of nothing.
func common(again bool, header ...string) *extprocv3.CommonResponse {
	return &extprocv3.CommonResponse{ClearRouteCache: again, HeaderMutation: mutation(header...)}
}
