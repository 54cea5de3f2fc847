package fallback

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/safestate/safestate/internal/certtest"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
)

const inferCall = "/inference.GRPCInferenceService/ModelInfer"

func v2grpc(e ...policy.Endpoint) policy.Fallback {
	cfg := v2(e...)
	cfg.Protocol = policy.OpenInferenceGRPC
	return cfg
}

// message is a ModelInferRequest, or a ModelInferResponse, with a name and an
// id.
func message(name, id string) []byte {
	b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), name)
	return protowire.AppendString(protowire.AppendTag(b, 3, protowire.BytesType), id)
}

// asBytes takes messages as they are on the wire.
type asBytes struct{}

func (asBytes) Name() string { return "proto" }
func (asBytes) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}
func (asBytes) Unmarshal(b mem.BufferSlice, v any) error {
	*v.(*[]byte) = b.Materialize()
	return nil
}

// grpcServer runs a real gRPC server whose calls are all answered by answer.
func grpcServer(t *testing.T, answer func(method string, md metadata.MD, in []byte) ([]byte, error), opt ...grpc.ServerOption) policy.Endpoint {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	handler := func(_ any, s grpc.ServerStream) error {
		var in []byte
		if err := s.RecvMsg(&in); err != nil {
			return err
		}
		method, _ := grpc.MethodFromServerStream(s)
		md, _ := metadata.FromIncomingContext(s.Context())
		out, err := answer(method, md, in)
		if err != nil {
			return err
		}
		return s.SendMsg(&out)
	}
	s := grpc.NewServer(append(opt, grpc.ForceServerCodecV2(asBytes{}), grpc.UnknownServiceHandler(handler))...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() { s.Stop(); <-done })
	return endpointOf(t, l.Addr().String())
}

func TestACall(t *testing.T) {
	want := message("small", "7")
	var got []byte
	var md metadata.MD
	var method string
	e := grpcServer(t, func(m string, h metadata.MD, in []byte) ([]byte, error) {
		method, md, got = m, h, in
		return want, nil
	})
	c := client(t, v2grpc(e), Options{})
	asked := message("fraud", "7")
	a, err := c.Do(t.Context(), Request{
		Path: "/team/inference.GRPCInferenceService/ModelInfer", Body: asked,
		Headers: headers{"content-type": "application/grpc+proto", "traceparent": "00-1-2-03", "authorization": "Bearer caller", "grpc-encoding": "gzip", "accept": "a", "inference-header-content-length": "1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if ct, _ := a.Headers.Get("content-type"); a.Status != 200 || string(a.Body) != string(want) || ct != protocol.TypeGRPC {
		t.Errorf("%d %q %s", a.Status, a.Body, ct)
	}
	if method != inferCall || string(got) != string(message("small", "7")) {
		t.Errorf("called %s with %q", method, got)
	}
	if len(md["traceparent"]) != 1 || len(md["authorization"])+len(md["grpc-encoding"])+len(md["accept"])+len(md["inference-header-content-length"]) != 0 {
		t.Errorf("metadata %v", md)
	}
	if string(asked) != string(message("fraud", "7")) {
		t.Error("the caller's own message was changed")
	}
	_, err = c.Do(t.Context(), Request{Body: []byte{0xff}})
	if failed := new(Error); !errors.As(err, &failed) || failed.Kind != Invalid {
		t.Errorf("what is no message: %v", err)
	}
}

func TestACallByTLS(t *testing.T) {
	ours := certtest.New(t, "ours")
	cert, key := issue(t, ours, "model.test", true)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	answer := func(string, metadata.MD, []byte) ([]byte, error) { return message("small", ""), nil }
	e := grpcServer(t, answer, grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	cfg := v2grpc(e)
	cfg.TLS = &policy.TLS{CAFile: put(t, filepath.Join(t.TempDir(), "ca.pem"), string(ours.PEM))}
	if a, err := client(t, cfg, Options{}).Do(t.Context(), Request{Body: message("fraud", "")}); err != nil || string(a.Body) != string(message("small", "")) {
		t.Errorf("%v %v", a, err)
	}
	for name, e := range map[string]policy.Endpoint{"no TLS": grpcServer(t, answer), "HTTP/1.1 alone": serveTLS(t, cert, key, nil)} {
		cfg.Endpoints = []policy.Endpoint{e}
		a, err := client(t, cfg, Options{}).Do(t.Context(), Request{Body: message("fraud", "")})
		if failed := new(Error); !errors.As(err, &failed) || failed.Kind != TLS {
			t.Errorf("%s: %v %v", name, a, err)
		}
	}
}

func TestCallsThatFail(t *testing.T) {
	for code, want := range map[codes.Code]int{
		codes.InvalidArgument: 400, codes.NotFound: 404, codes.Unavailable: 503, codes.Internal: 500, codes.Unimplemented: 501,
	} {
		e := grpcServer(t, func(string, metadata.MD, []byte) ([]byte, error) { return nil, status.Error(code, "secret path") })
		c := client(t, v2grpc(e), Options{})
		_, err := c.Do(t.Context(), Request{Body: message("fraud", "")})
		var failed *Error
		if !errors.As(err, &failed) || failed.Kind != Status || failed.Status != want || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want status %d", code, err, want)
		}
		if blamed := c.endpoints.list[0].failures.Load() != 0; blamed != (want >= 500) {
			t.Errorf("%s: the endpoint was blamed: %v", code, blamed)
		}
	}
}

// h2c runs an HTTP/2 server without TLS.
func h2c(t *testing.T, h http.HandlerFunc) policy.Endpoint {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Config.ErrorLog = quiet()
	s.Start()
	t.Cleanup(s.Close)
	return endpointOf(t, s.URL)
}

// writes answers with a body and, where not empty, a status in the trailers.
func writes(contentType, body, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, body)
		if code != "" {
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", code)
		}
	}
}

func framed(compressed byte, announced int, body string) string {
	head := append([]byte{compressed}, 0, 0, 0, 0)
	binary.BigEndian.PutUint32(head[1:], uint32(announced))
	return string(head) + body
}

func TestBrokenCalls(t *testing.T) {
	const grpcType = protocol.TypeGRPC
	ok := framed(0, 2, "ab")
	for name, c := range map[string]struct {
		endpoint policy.Endpoint
		kind     Kind
	}{
		"none":                     {h2c(t, writes(grpcType, ok, "0")), ""},
		"proto":                    {h2c(t, writes(grpcType+"+proto", ok, "0")), ""},
		"an empty message":         {h2c(t, writes(grpcType, framed(0, 0, ""), "0")), ""},
		"no status":                {h2c(t, writes(grpcType, ok, "")), Broken},
		"a status that is none":    {h2c(t, writes(grpcType, ok, "fine")), Broken},
		"a message, and a failure": {h2c(t, writes(grpcType, ok, "13")), Status},
		"no message":               {h2c(t, writes(grpcType, "", "0")), Broken},
		"two messages":             {h2c(t, writes(grpcType, ok+ok, "0")), Broken},
		"compressed":               {h2c(t, writes(grpcType, framed(1, 2, "ab"), "0")), Broken},
		"half a head":              {h2c(t, writes(grpcType, ok[:3], "0")), Cut},
		"half a message":           {h2c(t, writes(grpcType, ok[:6], "0")), Cut},
		"too large":                {h2c(t, writes(grpcType, framed(0, 1001, strings.Repeat("x", 1001)), "0")), TooLarge},
		"announces too much":       {h2c(t, writes(grpcType, framed(0, 1<<31, "x"), "0")), TooLarge},
		"JSON":                     {h2c(t, writes("application/json", "{}", "0")), Broken},
		"HTTP 502":                 {h2c(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }), Status},
		"cut":                      {h2c(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), Broken},
		"HTTP/1.1 alone":           {serve(t, writes(grpcType, ok, "0")), Broken},
		"hangs":                    {h2c(t, never), Timeout},
		"refused":                  {refused(t), Refused},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := v2grpc(c.endpoint)
			if c.kind == Timeout {
				cfg.Deadline = policy.Duration(100 * time.Millisecond)
			}
			a, err := client(t, cfg, Options{}).Do(t.Context(), Request{Body: message("fraud", "")})
			if c.kind == "" {
				if err != nil || len(a.Body) > 2 {
					t.Errorf("%v %v", a, err)
				}
				return
			}
			var failed *Error
			if !errors.As(err, &failed) || failed.Kind != c.kind && (c.kind != Broken || failed.Kind != Reset) {
				t.Errorf("got %v, want %s", err, c.kind)
			}
		})
	}
}

func TestCallsShareAConnection(t *testing.T) {
	var opened, entered atomic.Int64
	all := make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == inferCall && entered.Add(1) == 8 {
			close(all)
		}
		<-all
		writes(protocol.TypeGRPC, framed(0, 2, "ab"), "0")(w, r)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := client(t, v2grpc(endpointOf(t, s.URL)), Options{})
	errs := make(chan error)
	for range 8 {
		go func() {
			_, err := c.Do(context.WithoutCancel(t.Context()), Request{Body: message("fraud", "")})
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := opened.Load(); n < 1 || n > 8 {
		t.Errorf("%d connections", n)
	}
	before := opened.Load()
	if _, err := c.Do(t.Context(), Request{Body: message("fraud", "")}); err != nil || opened.Load() != before {
		t.Errorf("%v: a new connection for one more call", err)
	}
}

func TestProbesOfAGRPCModel(t *testing.T) {
	readyIs := func(v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), v)
	}
	var say atomic.Pointer[func() ([]byte, error)]
	set := func(f func() ([]byte, error)) { say.Store(&f) }
	var probed atomic.Int64
	set(func() ([]byte, error) { return readyIs(1), nil })
	e := grpcServer(t, func(method string, _ metadata.MD, in []byte) ([]byte, error) {
		if method != "/inference.GRPCInferenceService/ServerReady" || len(in) != 0 {
			return nil, status.Error(codes.Internal, method)
		}
		probed.Add(1)
		return (*say.Load())()
	})
	cfg := v2grpc(e)
	cfg.Probe = &policy.Probe{Path: "/v2/health/ready", Interval: policy.Duration(time.Millisecond)}
	c := client(t, cfg, Options{})
	out := func() bool { return c.endpoints.list[0].skipUntil.Load() != 0 }
	until(t, func() bool { return probed.Load() > 2 })
	if out() {
		t.Error("a ready server is left out")
	}
	set(func() ([]byte, error) { return nil, nil }) // false is not written
	until(t, out)
	set(func() ([]byte, error) { return nil, status.Error(codes.Unimplemented, "") })
	until(t, func() bool { return !out() })
	set(func() ([]byte, error) { return nil, status.Error(codes.Unavailable, "") })
	until(t, out)
}
