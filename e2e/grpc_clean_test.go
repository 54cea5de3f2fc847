package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/safestate/safestate/e2e/dataplane"
)

// call is a gRPC answer as HTTP/2 had it.
type rawCall struct {
	status  int
	header  http.Header
	body    []byte
	trailer http.Header
}

// callRaw makes a gRPC call with no gRPC library in between; again where Envoy gave up
// waiting for the processor.
func callRaw(t *testing.T, address, method string, body []byte) rawCall {
	t.Helper()
	return again(5, func() rawCall { return callOnce(t, address, method, body) }, func(c rawCall) bool {
		return c.header.Get("Grpc-Status") == fmt.Sprint(int(codes.Unavailable))
	})
}

func callOnce(t *testing.T, address, method string, body []byte) rawCall {
	t.Helper()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols, DisableCompression: true}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+method, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "X-Route": {everyRung}}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	out := rawCall{status: resp.StatusCode, header: resp.Header}
	if out.body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	out.trailer = resp.Trailer
	for name := range out.header {
		if strings.HasPrefix(name, "X-Safestate-") || name == "X-Envoy-Upstream-Service-Time" || name == "Date" {
			delete(out.header, name)
		}
	}
	return out
}

// framed is a ModelInferRequest in its gRPC frame.
func framed(model string, features [][]float32, typed bool) []byte {
	field := func(b []byte, n protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
	}
	var raw []byte
	for _, row := range features {
		for _, v := range row {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
		}
	}
	shape := protowire.AppendVarint(protowire.AppendVarint(nil, uint64(len(features))), 4)
	input := field(field(field(nil, 1, []byte("features")), 2, []byte("FP32")), 3, shape)
	if typed {
		input = field(input, 5, field(nil, 6, raw))
	}
	m := field(field(field(nil, 1, []byte(model)), 3, []byte("r-1")), 5, input)
	if !typed {
		m = field(m, 7, raw)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(m))), m...)
}

// TestCleanGRPCStaysClean compares every clean gRPC answer with the one that the
// same call gets from an Envoy without safestate: headers but for the tags, every
// byte of the body, and trailers.
func TestCleanGRPCStaysClean(t *testing.T) {
	s := newGRPCStand(t)
	plain := dataplane.PlainHTTP2(t, s.primary.Addr())
	const service = "/inference.GRPCInferenceService/"
	asks := map[string]struct {
		method string
		body   []byte
	}{
		"live": {"ServerLive", make([]byte, 5)}, "ready": {"ModelReady", make([]byte, 5)}, "metadata": {"ModelMetadata", make([]byte, 5)},
	}
	for _, typed := range []bool{false, true} {
		for _, n := range []int{1, 7, 2000} {
			one := framed(everyRung, rows(n), typed)
			asks[fmt.Sprintf("typed-%v/%d-rows", typed, n)] = struct {
				method string
				body   []byte
			}{"ModelInfer", one}
			asks[fmt.Sprintf("stream/typed-%v/%d-rows", typed, n)] = struct {
				method string
				body   []byte
			}{"ModelStreamInfer", bytes.Repeat(one, 3)}
		}
	}
	for name, ask := range asks {
		t.Run(name, func(t *testing.T) {
			got, want := callRaw(t, s.plane.Traffic, service+ask.method, ask.body), callRaw(t, plain, service+ask.method, ask.body)
			if got.status != want.status || !reflect.DeepEqual(got.header, want.header) || !reflect.DeepEqual(got.trailer, want.trailer) {
				t.Errorf("with us    %d %v %v\n without us %d %v %v", got.status, got.header, got.trailer, want.status, want.header, want.trailer)
			}
			if !bytes.Equal(got.body, want.body) || len(got.body) < 5 || want.trailer.Get("Grpc-Status") != "0" {
				t.Errorf("the body differs:\n with us    %.300q\n without us %.300q", got.body, want.body)
			}
		})
	}
	fmt.Printf("figure clean_grpc_answers_compared=%d\n", len(asks))
}
