package detect

import (
	"math"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/verdict"
)

const (
	scoreJSON = `{"model_name":"fraud","model_version":"1","id":"a","outputs":[{"name":"score","datatype":"FP32","shape":[2],"data":[0.5,0.25]}]}`
	grpcPath  = "/inference.GRPCInferenceService/ModelInfer"
)

// grpcMessage is the message of an answer in JSON.
func grpcMessage(t testing.TB, json string, raw bool) []byte {
	t.Helper()
	b, err := protocol.ToGRPC(nil, []byte(json), nil, protocol.Options{Raw: raw})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What the host makes a cache entry and a fallback body of is the same for a
// call and for the REST request that says the same.
func TestGRPCParts(t *testing.T) {
	d := detectors(t)["grpc"]
	h := fields{"content-type": "application/grpc"}
	request := []byte("\x0a\x05fraud" + "\x1a\x03q\"1" + "\x2a\x18" + "\x0a\x01x" + "\x12\x04FP32" + "\x1a\x01\x02" + "\x2a\x0a\x32\x08\x00\x00\x00\x3f\x00\x00\x80\x3e")
	x := Exchange{
		Method: "POST", Path: grpcPath, Version: policy.Version{Name: "v1"}, RequestHeaders: h, RequestBody: request, RequestBodySeen: true,
		Status: 200, ResponseHeaders: h, ResponseBody: grpcMessage(t, scoreJSON, true),
	}
	root, tail, ok := d.RequestParts(&x)
	if !ok || string(tail) != "\x00\x00\x00\x3f\x00\x00\x80\x3e" || string(root.Raw()) != `{"model_name":"fraud","id":"q\"1","inputs":[{"name":"x","datatype":"FP32","shape":[2],"parameters":{"binary_data_size":8}}]}` {
		t.Fatalf("%v %s %x", ok, root.Raw(), tail)
	}
	json, tail, ok := d.AnswerParts(&x)
	if want := strings.Replace(scoreJSON, `"data":[0.5,0.25]`, `"parameters":{"binary_data_size":8}`, 1); !ok || string(tail) != "\x00\x00\x00\x3f\x00\x00\x80\x3e" || string(json) != want {
		t.Fatalf("%v %s %x", ok, json, tail)
	}
	if id := d.RequestID(&x); string(id) != `"q\"1"` {
		t.Fatalf("id %s", id)
	}
	echoed := d.EchoID(&x, json)
	if !strings.Contains(string(echoed), `"id":"q\"1"`) {
		t.Fatalf("%s", echoed)
	}
	if _, err := protocol.ToGRPC(nil, echoed, tail, protocol.Options{}); err != nil {
		t.Fatal(err)
	}
	env := d.Env(&x)
	for _, c := range []struct {
		root scan.Node
		path string
		want string
	}{
		{env.Request, "inputs[0].data[1]", "0.25"},
		{env.Request, "inputs[0].datatype", `"FP32"`},
		{env.Response, "outputs[0].data[0]", "0.5"},
		{env.Response, "model_version", `"1"`},
	} {
		path, err := scan.ParsePath(c.path)
		if err != nil {
			t.Fatal(err)
		}
		if n, _ := path.First(c.root); string(n.Raw()) != c.want {
			t.Errorf("%s is %s, want %s", c.path, n.Raw(), c.want)
		}
	}
	// A call that was not seen, or cannot be read, has no parts.
	x.Reset()
	x.RequestHeaders, x.RequestBody, x.RequestBodySeen = h, request[:9], true
	if _, _, ok := d.RequestParts(&x); ok || d.RequestID(&x) != nil {
		t.Fatal("a request that is cut short has parts")
	}
}

// A fallback model that is asked over gRPC is judged as the primary is.
func TestGRPCFallback(t *testing.T) {
	p := &policy.Policy{
		Protocol: policy.OpenInferenceGRPC, ServedName: "fraud", Limits: policy.Limits{BodyBytes: 1 << 20},
		Detect: policy.Detect{Contract: &policy.Contract{Mode: policy.Enforce, ModelName: true}},
		Ladder: []policy.Rung{{Fallback: &policy.Fallback{Protocol: policy.OpenInferenceGRPC, ServedName: "old", MaxBytes: 1 << 10}}},
	}
	d, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	h := fields{"content-type": "application/grpc"}
	var x Exchange
	for want, body := range map[string][]byte{
		"clean":                     grpcMessage(t, strings.Replace(scoreJSON, "fraud", "old", 1), false),
		"contract_model_name fraud": grpcMessage(t, scoreJSON, false),
		"broken_grpc_message 0":     []byte("{}"),
		"broken_empty body":         nil,
	} {
		if v := d.Fallback(&x, p.Ladder[0].Fallback, 200, h, body); said(v) != want {
			t.Errorf("got %q, want %q", said(v), want)
		}
	}
	if v := d.Fallback(&x, p.Ladder[0].Fallback, protocol.HTTPStatus(5), h, nil); said(v) != "broken_status 404" {
		t.Errorf("got %q", said(v))
	}
}

// A constant model is found by what it predicts, typed or raw.
func TestGRPCConstant(t *testing.T) {
	p := &policy.Policy{
		Protocol: policy.OpenInferenceGRPC, Limits: policy.Limits{BodyBytes: 1 << 20},
		Detect: policy.Detect{Constant: &policy.Constant{Mode: policy.Enforce, Window: policy.Duration(math.MaxInt64), MinRequests: 3, MinInputs: 3}},
	}
	d, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	h := fields{"content-type": "application/grpc"}
	var x Exchange
	var got []string
	for i, answer := range []string{strings.Replace(scoreJSON, "0.25", "0.75", 1), scoreJSON, scoreJSON, scoreJSON} {
		x.Reset()
		x.RequestHeaders, x.RequestBodySeen = h, true
		x.RequestBody = []byte("\x2a\x10\x0a\x01x\x12\x04INT8\x2a\x05\x12\x03\x01\x02" + string(rune('0'+i)))
		x.Status, x.ResponseHeaders, x.ResponseBody = 200, h, grpcMessage(t, answer, i%2 == 0)
		got = append(got, said(d.Answer(&x)))
	}
	if want := "clean clean clean constant 3 answers to 3 inputs"; strings.Join(got, " ") != want {
		t.Fatalf("%q", got)
	}
}

// The default of a gRPC route is JSON of Open Inference V2 that makes a message.
func TestGRPCDefault(t *testing.T) {
	p := &policy.Policy{Protocol: policy.OpenInferenceGRPC, ServedName: "fraud", Detect: policy.Detect{
		Contract: &policy.Contract{ModelName: true, Outputs: []policy.Output{{Name: "score", Datatype: "FP32"}}},
	}}
	for _, c := range []struct{ body, want string }{
		{scoreJSON, ""},
		{strings.Replace(scoreJSON, "0.25", "NaN", 1), "nonfinite outputs[0].data[1] NaN"},
		{strings.Replace(scoreJSON, "[2]", "[3]", 1), "contract_shape score [3] is not that of its data"},
		{strings.Replace(scoreJSON, "fraud", "other", 1), "contract_model_name other"},
		{strings.Replace(scoreJSON, `"id":"a"`, `"parameters":{"a":[1]}`, 1), "parameters are no object of scalars"},
		{strings.Replace(scoreJSON, `]}]}`, `]},{"name":"x","shape":[1],"data":[1]}]}`, 1), "outputs[1].datatype is none"},
		{string(grpcMessage(t, scoreJSON, false)), "broken_syntax 1"},
		{`{}`, "broken_empty outputs"},
	} {
		err := ValidateDefault(p, []byte(c.body))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s\ngot  %q\nwant %q", c.body, got, c.want)
		}
	}
	d, err := Compile(&policy.Policy{Protocol: policy.OpenInferenceGRPC, Limits: policy.Limits{BodyBytes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.ValidDefault([]byte(scoreJSON)); err != nil {
		t.Fatal(err)
	}
}

// One exchange serves REST and gRPC in turn, and a clean answer costs no
// allocation.
func TestGRPCExchangeIsReusable(t *testing.T) {
	byName := detectors(t)
	rest, grpc := byName["v2"], byName["grpc"]
	message := grpcMessage(t, scoreJSON, false)
	var x Exchange
	var restHeaders Headers = fields{"content-type": "application/json"}
	var grpcHeaders Headers = fields{"content-type": "application/grpc"}
	ask := func(d *Detector, h Headers, body []byte) verdict.Verdict {
		x.Reset()
		x.Status, x.ResponseHeaders, x.ResponseBody = 200, h, body
		return d.Answer(&x)
	}
	for range 3 {
		if v := ask(grpc, grpcHeaders, message); !v.Clean() {
			t.Fatal(v.Failed.Reason())
		}
		if v := ask(grpc, grpcHeaders, message[:20]); said(v) != "broken_truncated 20" {
			t.Fatal(said(v))
		}
		if v := ask(rest, restHeaders, []byte(scoreJSON)); !v.Clean() {
			t.Fatal(v.Failed.Reason())
		}
		if v := ask(rest, restHeaders, []byte(`{"outputs":{}}`)); said(v) != "broken_form outputs" {
			t.Fatal(said(v))
		}
	}
	if n := testing.AllocsPerRun(100, func() { ask(grpc, grpcHeaders, message) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
