package protocol

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/internal/policy"
)

func TestGRPCInference(t *testing.T) {
	for _, c := range []struct {
		method, path  string
		want, streams bool
	}{
		{"POST", "/inference.GRPCInferenceService/ModelInfer", true, false},
		{"POST", "/inference.GRPCInferenceService/ModelStreamInfer", true, true},
		{"POST", "/team/a/inference.GRPCInferenceService/ModelInfer", true, false},
		{"POST", "/inference.GRPCInferenceService/ModelReady", false, false},
		{"POST", "/inference.GRPCInferenceService/ModelMetadata", false, false},
		{"POST", "/inference.GRPCInferenceService/ServerLive", false, false},
		{"POST", "/grpc.health.v1.Health/Check", false, false},
		{"POST", "/other.Service/ModelInfer", false, false},
		{"POST", "/xinference.GRPCInferenceService/ModelInfer", false, false},
		{"POST", "/inference.GRPCInferenceService/modelinfer", false, false},
		{"GET", "/inference.GRPCInferenceService/ModelInfer", false, false},
		{"OPTIONS", "/inference.GRPCInferenceService/ModelInfer", false, false},
		{"POST", "/v2/models/fraud/infer", false, false},
	} {
		if got := Inference(policy.OpenInferenceGRPC, c.method, c.path); got != c.want {
			t.Errorf("%s %s: %v", c.method, c.path, got)
		}
		if got := Streams(c.path); got != c.streams {
			t.Errorf("%s streams: %v", c.path, got)
		}
	}
}

func TestGRPCContentType(t *testing.T) {
	for value, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "Application/gRPC": true, "application/grpc; charset=utf-8": true,
		"application/grpc+json": false, "application/grpc-web": false, "application/json": false, "text/html": false, "": false,
		"application/grpc; charset=latin1": false,
	} {
		for _, binary := range []bool{false, true} {
			if got := ContentType(policy.OpenInferenceGRPC, value, binary); got != want {
				t.Errorf("%q: %v", value, got)
			}
		}
	}
	if ContentType(policy.OpenInferenceV2, "application/grpc", true) {
		t.Error("gRPC passes for REST")
	}
}

func TestHTTPStatus(t *testing.T) {
	want := []int{200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401}
	for code, status := range want {
		if got := HTTPStatus(code); got != status {
			t.Errorf("%d is %d, want %d", code, got, status)
		}
	}
	failures := map[int]bool{2: true, 4: true, 12: true, 13: true, 14: true, 15: true, 17: true, -1: true, 99: true}
	for code := -1; code < 100; code++ {
		if got := IsFailure(code); code <= 17 && got != failures[code] || code > 17 && !got {
			t.Errorf("%d is a failure: %v", code, got)
		}
	}
}

func TestAskedRaw(t *testing.T) {
	s := newSchema(t, true)
	for _, c := range []struct {
		text string
		want bool
	}{
		{`model_name:"m"`, false},
		{`inputs{name:"a" datatype:"FP32" contents{fp32_contents:1}}`, false},
		{`inputs{name:"a" datatype:"FP32"} raw_input_contents:"abcd"`, true},
		{`inputs{name:"a" datatype:"FP32"} raw_input_contents:""`, true},
		{`inputs{name:"a" parameters{key:"x" value{bool_param:true}}}`, false},
		{`inputs{name:"a" parameters{key:"shared_memory_region" value{string_param:"r"}}}`, true},
	} {
		if got := AskedRaw(made(t, s.request, c.text)); got != c.want {
			t.Errorf("%s: %v", c.text, got)
		}
	}
	if AskedRaw([]byte("{}")) || AskedRaw(nil) {
		t.Error("what is no request asks for raw")
	}
}

func TestRewriteGRPCModel(t *testing.T) {
	s := newSchema(t, true)
	const rest = ` id:"q" parameters{key:"b" value{bool_param:true}} inputs{name:"a" datatype:"FP32" shape:1} outputs{name:"o"} raw_input_contents:"abcd"`
	b := made(t, s.request, `model_name:"old" model_version:"3"`+rest)
	unknown := protowire.AppendString(protowire.AppendTag(nil, 77, protowire.BytesType), "new field")
	out, err := RewriteGRPCModel([]byte("kept"), append(b, unknown...), "fräud")
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.read(out[len("kept"):], true)
	if err != nil {
		t.Fatal(err)
	}
	want, err := s.read(append(made(t, s.request, `model_name:"fräud"`+rest), unknown...), true)
	if err != nil || !proto.Equal(got, want) {
		t.Fatalf("%v\ngot  %v\nwant %v", err, got, want)
	}
	// Neither may be there: the name is added all the same.
	if out, err = RewriteGRPCModel(nil, nil, "m"); err != nil || string(out) != "\x0a\x01m" {
		t.Fatalf("%q %v", out, err)
	}
	if out, err = RewriteGRPCModel([]byte("kept"), b[:len(b)-1], "m"); err == nil || string(out) != "kept" {
		t.Fatalf("%q %v", out, err)
	}
}

func TestFrames(t *testing.T) {
	b := Frame(Frame([]byte{}, []byte("abc")), nil)
	message, compressed, rest, ok := Unframe(b)
	if string(message) != "abc" || compressed || !ok || string(rest) != "\x00\x00\x00\x00\x00" {
		t.Fatalf("%q %v %q %v", message, compressed, rest, ok)
	}
	if message, _, rest, ok = Unframe(rest); message == nil || len(message) != 0 || len(rest) != 0 || !ok {
		t.Fatalf("%q %q %v", message, rest, ok)
	}
	if _, compressed, _, ok = Unframe([]byte{1, 0, 0, 0, 1, 'z'}); !compressed || !ok {
		t.Fatal("a compressed message is not told")
	}
	for text, want := range map[string]struct {
		size int64
		ok   bool
	}{
		"": {0, true}, "\x00\x00\x00": {0, true}, "\x02": {0, false}, "<html>": {0, false},
		"\x00\x00\x00\x00\x02a": {7, true}, "\x01\xff\xff\xff\xff": {5 + 1<<32 - 1, true},
	} {
		size, ok := FrameSize([]byte(text))
		if size != want.size || ok != want.ok {
			t.Errorf("%q: %d %v", text, size, ok)
		}
		if _, _, rest, whole := Unframe([]byte(text)); whole || string(rest) != text {
			t.Errorf("%q is a frame", text)
		}
	}
}

func TestStreamed(t *testing.T) {
	s := newSchema(t, true)
	b := made(t, s.streamed, `error_message:"boom" infer_response{model_name:"m"}`)
	failed, response, p := ReadStreamed(b)
	if p.Found() || string(failed) != "boom" || string(response) != "\x0a\x01m" {
		t.Fatalf("%q %q %+v", failed, response, p)
	}
	if again := AppendStreamed(nil, response, string(failed)); string(again) != string(b) {
		t.Fatalf("%x, want %x", again, b)
	}
	if failed, response, p = ReadStreamed(AppendStreamed(nil, nil, "stopped")); p.Found() || string(failed) != "stopped" || response != nil {
		t.Fatalf("%q %q %+v", failed, response, p)
	}
	if failed, response, p = ReadStreamed(AppendStreamed(nil, []byte{}, "")); p.Found() || len(failed) > 0 || response == nil {
		t.Fatalf("%q %q %+v", failed, response, p)
	}
	for text, want := range map[string]Kind{
		"\x0a\x01a\x0a\x01b": Duplicate, "\x12\x00\x12\x00": Duplicate, "\x0a\x01\xff": UTF8, "\x0a\x02a": Truncated, "\x08\x01": Malformed, "\x00": Malformed,
	} {
		if _, _, p := ReadStreamed([]byte(text)); p.Kind != want {
			t.Errorf("%q: %+v", text, p)
		}
	}
	if failed, response, p = ReadStreamed([]byte(strings.Repeat("\x1a\x00", 3))); p.Found() || len(failed) > 0 || response != nil {
		t.Fatal("unknown fields are not skipped")
	}
}
