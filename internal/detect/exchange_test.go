package detect

import (
	"fmt"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/policy"
)

// fraudPolicy is the sample's: non-finite, confidence and bounds.
func fraudPolicy() *policy.Policy {
	lo, hi := 0.0, 1.0
	return &policy.Policy{
		Protocol: policy.OpenInferenceV2, ServedName: "fraud", Limits: policy.Limits{BodyBytes: 1 << 24},
		Detect: policy.Detect{
			NonFinite:  &policy.NonFinite{Mode: policy.Enforce},
			Broken:     &policy.Broken{Mode: policy.Enforce},
			Late:       &policy.Late{Mode: policy.Enforce},
			Confidence: []policy.Confidence{{Mode: policy.Enforce, Value: "response.outputs[0].data", Aggregate: policy.AggregateMin, Min: 0.1}},
			Contract: &policy.Contract{
				Mode: policy.Enforce, IDEcho: true, ModelName: true, UnknownOutputs: true,
				Outputs: []policy.Output{{Name: "score", Datatype: "FP32", Shape: []int64{-1}, Min: &lo, Max: &hi}},
			},
		},
	}
}

func fraudExchange(n int) *Exchange {
	data := strings.Repeat("0.8999999761581421,", n-1) + "0.5"
	return &Exchange{
		Method: "POST", Path: "/v2/models/fraud/infer", Version: policy.Version{Name: "v1"},
		RequestBody:     []byte(`{"id":"r1","inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}`),
		RequestBodySeen: true, Status: 200, ResponseHeaders: fields{"content-type": "application/json"},
		ResponseBody: fmt.Appendf(nil, `{"model_name":"fraud","model_version":null,"id":"r1","parameters":null,"outputs":[{"name":"score","shape":[%d],"datatype":"FP32","parameters":null,"data":[%s]}]}`, n, data),
	}
}

// A clean answer costs no allocation once the exchange is warm.
func TestCleanAnswerAllocatesNothing(t *testing.T) {
	for _, aggregate := range []policy.Aggregate{policy.AggregateMin, policy.AggregateMean, policy.AggregateMargin} {
		p := fraudPolicy()
		p.Detect.Confidence[0].Aggregate = aggregate
		p.Detect.Confidence[0].Min = 0
		d := compiled(t, p)
		template := fraudExchange(100)
		var x Exchange
		allocs := testing.AllocsPerRun(200, func() {
			x.Reset()
			x.Method, x.Path, x.Version, x.Status = template.Method, template.Path, template.Version, template.Status
			x.RequestBody, x.RequestBodySeen = template.RequestBody, true
			x.ResponseHeaders, x.ResponseBody = template.ResponseHeaders, template.ResponseBody
			if v, decided := d.Headers(&x); decided {
				t.Fatal(said(v))
			}
			if v := d.Answer(&x); !v.Clean() {
				t.Fatal(v.Failed.Reason())
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations", aggregate, allocs)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	for _, n := range []int{1, 50, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := compiled(b, fraudPolicy())
			x := fraudExchange(n)
			b.SetBytes(int64(len(x.ResponseBody)))
			b.ReportAllocs()
			for b.Loop() {
				body, request := x.ResponseBody, x.RequestBody
				h := x.ResponseHeaders
				x.Reset()
				x.Status, x.ResponseBody, x.RequestBody, x.RequestBodySeen, x.ResponseHeaders = 200, body, request, true, h
				if v := d.Answer(x); !v.Clean() {
					b.Fatal(v.Failed.Reason())
				}
			}
		})
	}
}

// Env gives what is known, and nothing that is not JSON.
func TestEnv(t *testing.T) {
	d := compiled(t, fraudPolicy())
	x := Exchange{
		RequestHeaders: fields{"x-tenant": "a"}, RequestBody: []byte(`{"parameters":{"amount":7}}`), RequestBodySeen: true,
	}
	env := d.Env(&x)
	amount, _ := env.Request.Get("parameters")
	if v, _ := amount.Get("amount"); string(v.Raw()) != "7" || env.Response.Exists() || env.Status != 0 || env.ResponseHeaders != nil {
		t.Fatalf("before an answer: %+v", env)
	}
	x.Status, x.ResponseBody, x.ResponseHeaders = 503, []byte("no"), fields{"content-type": "text/plain"}
	if env = d.Env(&x); env.Response.Exists() || env.Status != 503 || env.ResponseHeaders == nil {
		t.Fatalf("an answer in text: %+v", env)
	}
	x.Reset()
	x.ResponseBody, x.Status = []byte(`{"error":"x"}`), 500
	if env = d.Env(&x); !env.Response.Exists() || env.Request.Exists() {
		t.Fatalf("an error in JSON: %+v", env)
	}
}

func TestEchoID(t *testing.T) {
	body := `{"model_name":"fraud","id":"cached","outputs":[]}`
	for name, c := range map[string]struct {
		protocol      policy.Protocol
		request, want string
		unseen        bool
	}{
		"the request's":    {policy.OpenInferenceV2, `{"id":"é\"1"}`, `{"model_name":"fraud","id":"é\"1","outputs":[]}`, false},
		"none":             {policy.OpenInferenceV2, `{"inputs":[]}`, `{"model_name":"fraud","outputs":[]}`, false},
		"null":             {policy.OpenInferenceV2, `{"id":null,"inputs":[]}`, `{"model_name":"fraud","outputs":[]}`, false},
		"unreadable":       {policy.OpenInferenceV2, `{"id":`, `{"model_name":"fraud","outputs":[]}`, false},
		"not seen":         {policy.OpenInferenceV2, ``, `{"model_name":"fraud","outputs":[]}`, true},
		"another protocol": {policy.OpenInferenceV1, `{"id":"r"}`, body, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := fraudPolicy()
			p.Protocol = c.protocol
			d := compiled(t, p)
			x := Exchange{RequestBody: []byte(c.request), RequestBodySeen: !c.unseen}
			if got := string(d.EchoID(&x, []byte(body))); got != c.want {
				t.Fatalf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	d := compiled(t, fraudPolicy())
	if got := string(d.EchoID(&Exchange{}, []byte("[]"))); got != "[]" {
		t.Fatalf("a body that carries no id became %s", got)
	}
}

func TestInference(t *testing.T) {
	d := compiled(t, fraudPolicy())
	if !d.Inference("POST", "/v2/models/fraud/infer?x=1") || d.Inference("GET", "/v2/models/fraud/ready") {
		t.Fatal("the protocol's inference calls are not told from others")
	}
}

// A policy that cannot be used is refused by the name of its field.
func TestCompileRefuses(t *testing.T) {
	for want, change := range map[string]func(*policy.Policy){
		"a protocol this build does not read": func(p *policy.Policy) { p.Protocol = "SOAP" },
		"detect.contract.outputs: a comp":     func(p *policy.Policy) { p.Protocol = policy.OpenAI },
		"is none of min and mean": func(p *policy.Policy) {
			p.Protocol = policy.OpenAI
			p.Detect.Confidence[0] = policy.Confidence{Value: "logprobs", Aggregate: policy.AggregateMax}
		},
		"detect.confidence[0].value":          func(p *policy.Policy) { p.Detect.Confidence[0].Value = "response.a[" },
		"detect.confidence[0].aggregate":      func(p *policy.Policy) { p.Detect.Confidence[0].Aggregate = "median" },
		"detect.contract.outputs[0].datatype": func(p *policy.Policy) { p.Detect.Contract.Outputs[0].Datatype = "FLOAT" },
		"detect.contract.outputs[0].name":     func(p *policy.Policy) { p.Protocol = policy.JSON; p.Detect.Contract.Outputs[0].Name = "a..b" },
		"detect.nonFinite.paths[0]":           func(p *policy.Policy) { p.Protocol = policy.JSON; p.Detect.NonFinite.Paths = []string{""} },
		"detect.cel[0] x":                     func(p *policy.Policy) { p.Detect.CEL = []policy.Expression{{Name: "x", Program: []byte("[")}} },
		"detect.dependencies[0] x":            func(p *policy.Policy) { p.Detect.Dependencies = []policy.Dependency{{Name: "x", Program: []byte("[")}} },
	} {
		p := fraudPolicy()
		change(p)
		if _, err := Compile(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
