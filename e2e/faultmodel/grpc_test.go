package faultmodel

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// rawCodec sends and receives messages as they are.
type rawCodec struct{}

func (rawCodec) Name() string                  { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(data)
	return nil
}

func dial(t *testing.T, s *Server) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+s.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{}), grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// inferMessage asks for n rows, raw or typed.
func inferMessage(n int, typed bool) []byte {
	var raw []byte
	for range n {
		for _, v := range []float64{1200, 3, 0, 0} {
			raw = appendFloat(raw, "FP32", v)
		}
	}
	in := appendString(nil, tensorName, "features")
	in = appendString(in, tensorDatatype, "FP32")
	in = appendBytes(in, tensorShape, protowire.AppendVarint(protowire.AppendVarint(nil, uint64(n)), 4))
	if typed {
		in = appendBytes(in, tensorContents, appendBytes(nil, contentsFP32, raw))
	}
	b := appendString(nil, requestModel, "fraud")
	b = appendString(b, requestID, "r1")
	b = appendBytes(b, requestInputs, in)
	if !typed {
		b = appendBytes(b, requestRaw, raw)
	}
	return b
}

func invoke(conn *grpc.ClientConn, method string, in []byte, wait time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	var out []byte
	err := conn.Invoke(ctx, grpcService+method, &in, &out)
	return out, err
}

// outputNames reads a response's outputs, the raw contents, and the first
// float of typed contents.
func readResponse(t *testing.T, message []byte) (names []string, raw [][]byte, typed float64) {
	t.Helper()
	typed = math.NaN()
	err := fields(message, func(n protowire.Number, _ uint64, b []byte) error {
		switch n {
		case responseRaw:
			raw = append(raw, b)
		case responseOutputs:
			return fields(b, func(n protowire.Number, _ uint64, b []byte) error {
				switch {
				case n == tensorName:
					names = append(names, string(b))
				case n == tensorContents && names[len(names)-1] == "score":
					return fields(b, func(_ protowire.Number, _ uint64, packed []byte) error {
						typed = floats(packed)[0]
						return nil
					})
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names, raw, typed
}

func TestGRPCAnswers(t *testing.T) {
	s := start(t, Options{})
	conn := dial(t, s)
	want := float64(float32(predict("v1", Features{Amount: 1200, AccountAgeDays: 3}).score))
	out, err := invoke(conn, "ModelInfer", inferMessage(1, false), 20*time.Second)
	names, raw, _ := readResponse(t, out)
	if err != nil || len(names) != 8 || len(raw) != 8 || floats(raw[0])[0] != want {
		t.Errorf("raw: %v %q %x, want %v first", err, names, raw, want)
	}
	out, err = invoke(conn, "ModelInfer", inferMessage(1, true), 20*time.Second)
	names, raw, first := readResponse(t, out)
	if err != nil || len(names) != 6 || len(raw) != 0 || first != want {
		t.Errorf("typed: %v %q %d raw, %v, want %v", err, names, len(raw), first, want)
	}
	for _, method := range []string{"ServerLive", "ServerReady", "ModelReady"} {
		if out, err := invoke(conn, method, nil, 20*time.Second); err != nil || !bytes.Equal(out, []byte{8, 1}) {
			t.Errorf("%s: %x %v", method, out, err)
		}
	}
	if out, err := invoke(conn, "ModelMetadata", appendString(nil, 1, "fraud"), 20*time.Second); err != nil || !bytes.Contains(out, []byte("embedding")) {
		t.Errorf("ModelMetadata: %q %v", out, err)
	}
	if _, err := invoke(conn, "NoSuch", nil, 20*time.Second); status.Code(err) != codes.Unimplemented {
		t.Errorf("an unknown method: %v", err)
	}
	if _, err := invoke(conn, "ModelInfer", []byte{0xff}, 20*time.Second); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a message that is none: %v", err)
	}
	// HTTP/1.1 is on the same port.
	if code, _, _, err := ask(t, s, V2, 1); err != nil || code != 200 {
		t.Errorf("V2: %d %v", code, err)
	}
}

// grpcEnds are the codes that a client sees; the faults that are not here have
// a message and OK.
var grpcEnds = map[Fault]codes.Code{
	S01RateLimitedRetryAfter: codes.ResourceExhausted, S01AfterHeaders: codes.ResourceExhausted,
	S02RateLimitedForEver: codes.ResourceExhausted, S02AfterHeaders: codes.ResourceExhausted,
	S03ErrorOnce: codes.Internal, S03AfterHeaders: codes.Internal,
	S04UnavailableForEver: codes.Unavailable, S04AfterHeaders: codes.Unavailable, S04HTTPStatus: codes.Unavailable,
	S05ResetBeforeHeaders: codes.Unavailable, S05StreamReset: codes.Internal, S06NeverAnswers: codes.DeadlineExceeded,
	S07SlowBody: codes.DeadlineExceeded, S08BodyCut: codes.Internal, S08FrameShort: codes.Internal, S08NoTrailers: codes.Internal,
	S09BodyStalls: codes.DeadlineExceeded, S15Down: codes.Unavailable,
	S16UnavailableFallbackNamed: codes.Unavailable, S16AfterHeaders: codes.Unavailable,
	C12EmptyBody: codes.Internal, C13SecondMessage: codes.Internal,
}

func TestEveryGRPCFaultIsServed(t *testing.T) {
	s := start(t, Options{})
	for _, f := range Faults(G) {
		t.Run(f.String(), func(t *testing.T) {
			conn := dial(t, s)
			in := inferMessage(f.Rows(), false)
			s.Set(None, 0)
			clean, err := invoke(conn, "ModelInfer", in, patience)
			if err != nil || len(clean) == 0 {
				t.Fatalf("clean: %q, %v", clean, err)
			}
			before := s.Count(f)
			s.Set(f, 0)
			wait := 20 * time.Second
			if grpcEnds[f] == codes.DeadlineExceeded {
				wait = 3 * time.Second
			}
			got, err := invoke(conn, "ModelInfer", in, wait)
			if status.Code(err) != grpcEnds[f] {
				t.Errorf("the call ended with %v, want %s", err, grpcEnds[f])
			}
			if err == nil && bytes.Equal(got, clean) {
				t.Error("the answer is the clean one")
			}
			if !eventually(func() bool { return s.Count(f) == before+1 }) {
				t.Errorf("the fault was counted %d times", s.Count(f)-before)
			}
			s.Set(None, 0)
			if again, err := invoke(dial(t, s), "ModelInfer", in, patience); err != nil || !bytes.Equal(again, clean) {
				t.Errorf("clean does not follow: %q, %v", again, err)
			}
		})
	}
}

// TestGRPCStatusOnTheWire: trailers-only is one HEADERS frame that ends the
// stream, and a proxy's 503 has no status of gRPC at all.
func TestGRPCStatusOnTheWire(t *testing.T) {
	s := start(t, Options{})
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: &protocols}}
	message := inferMessage(1, false)
	frame := append([]byte{0, 0, 0, 0, byte(len(message))}, message...)
	for f, want := range map[Fault]struct {
		code            int
		header, trailer string
	}{
		S04UnavailableForEver:    {200, "14", ""},
		S04AfterHeaders:          {200, "", "14"},
		S04HTTPStatus:            {503, "", ""},
		S08NoTrailers:            {200, "", ""},
		S01RateLimitedRetryAfter: {200, "8", ""},
		None:                     {200, "", "0"},
	} {
		s.Set(f, 0)
		r, err := http.NewRequest(http.MethodPost, "http://"+s.Addr()+G.Path(""), bytes.NewReader(frame))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/grpc")
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		header, trailer := resp.Header.Get("Grpc-Status"), resp.Trailer.Get("Grpc-Status")
		if err != nil || resp.StatusCode != want.code || header != want.header || trailer != want.trailer {
			t.Errorf("%s: %d, %q in the headers, %q in the trailers, %v", f, resp.StatusCode, header, trailer, err)
		}
		// Without a content-length, the client says 0 where the headers were the end.
		if want.header != "" && (len(body) > 0 || resp.ContentLength != 0 || resp.Header.Get("Content-Length") != "") {
			t.Errorf("%s is not trailers-only: %v, %q", f, resp.Header, body)
		}
	}
}

func TestTypedNaN(t *testing.T) {
	s := start(t, Options{})
	conn := dial(t, s)
	for f, want := range map[Fault]float64{C04NaNTypedFP32: nan, C07InfTypedFP32: inf, C07NegInfTypedFP32: -inf} {
		s.Set(f, 0)
		out, err := invoke(conn, "ModelInfer", inferMessage(1, false), 20*time.Second)
		_, raw, got := readResponse(t, out)
		if err != nil || len(raw) != 0 || got != want && (got == got || want == want) {
			t.Errorf("%s: %v, %d raw, %v", f, err, len(raw), got)
		}
	}
}

func TestModelStreamInfer(t *testing.T) {
	s := start(t, Options{})
	for _, at := range []int{-1, 2} {
		for _, f := range []Fault{None, C04NaNBitsFP32, S04UnavailableForEver, S09BodyStalls, S05StreamReset} {
			t.Run(fmt.Sprintf("%s@%d", f, at), func(t *testing.T) {
				s.SetAt(f, at, 0)
				clean, before, gone := s.State().Clean, s.Count(f), s.Cancelled()
				wait := patience
				if grpcEnds[f] == codes.DeadlineExceeded {
					wait = 3 * time.Second
				}
				ctx, cancel := context.WithTimeout(context.Background(), wait)
				defer cancel()
				desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
				stream, err := dial(t, s).NewStream(ctx, desc, grpcService+"ModelStreamInfer")
				if err != nil {
					t.Fatal(err)
				}
				in := inferMessage(1, false)
				got, want := 0, max(0, at)
				for ; got < 4 && err == nil; got++ {
					var out []byte
					if err = stream.SendMsg(&in); err == nil {
						err = stream.RecvMsg(&out)
					}
					if err != nil {
						break
					}
					if len(out) == 0 || out[0] != streamResponse<<3|2 {
						t.Errorf("message %d: %x", got, out)
					}
				}
				if f == None || f == C04NaNBitsFP32 {
					want = 4
					if _ = stream.CloseSend(); err == nil {
						var out []byte
						err = stream.RecvMsg(&out)
					}
					if err != io.EOF {
						t.Errorf("it ended with %v", err)
					}
				} else if status.Code(err) != grpcEnds[f] {
					t.Errorf("it ended with %v", err)
				}
				if got != want {
					t.Errorf("%d messages, want %d", got, want)
				}
				cleans := 4
				if f != None {
					cleans = max(0, at)
					if n := s.Count(f) - before; n != 1 && f != C04NaNBitsFP32 || n == 0 {
						t.Errorf("counted %d times", n)
					}
				}
				if !eventually(func() bool { return s.Open() == 0 }) || s.State().Clean-clean != cleans {
					t.Errorf("%d clean messages, want %d; %d streams are open", s.State().Clean-clean, cleans, s.Open())
				}
				if f == S09BodyStalls && s.Cancelled() != gone+1 {
					t.Errorf("%d callers left, want 1", s.Cancelled()-gone)
				}
			})
		}
	}
}
