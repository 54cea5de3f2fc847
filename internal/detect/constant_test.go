package detect

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

func constantPolicy(p policy.Protocol) *policy.Policy {
	return &policy.Policy{
		Protocol: p, Limits: policy.Limits{BodyBytes: 1 << 20},
		Detect: policy.Detect{
			NonFinite: &policy.NonFinite{Mode: policy.Enforce},
			Broken:    &policy.Broken{Mode: policy.Enforce},
			Constant:  &policy.Constant{Mode: policy.Enforce, Window: policy.Duration(time.Minute), MinRequests: 5, MinInputs: 3},
		},
	}
}

func compiled(t testing.TB, p *policy.Policy) *Detector {
	t.Helper()
	d, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// talk is one exchange of Open Inference V2 with ids that always differ.
type talk struct {
	d       *Detector
	n       int
	version string
}

func (c *talk) say(input int, score float64) verdict.Verdict {
	c.n++
	x := Exchange{
		RequestBodySeen: true, Status: 200, Version: policy.Version{Name: c.version},
		RequestBody:  fmt.Appendf(nil, `{"id":"%d","inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[%d]}]}`, c.n, input),
		ResponseBody: fmt.Appendf(nil, `{"id":"%d","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[%g]}]}`, c.n, score),
	}
	return c.d.Answer(&x)
}

func TestConstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &talk{d: compiled(t, constantPolicy(policy.OpenInferenceV2)), version: "v1"}
		expect := func(want string, v verdict.Verdict) {
			t.Helper()
			if got := said(v); got != want {
				t.Fatalf("after %d answers: %q, want %q", c.n, got, want)
			}
		}
		for i := range 4 {
			expect("clean", c.say(i, 0.5))
		}
		expect("constant 5 answers to 3 inputs", c.say(4, 0.5))
		expect("constant 5 answers to 3 inputs", c.say(4, 0.5))

		// Another prediction clears it at once, and a run begins anew.
		expect("clean", c.say(5, 0.25))
		for i := range 4 {
			expect("clean", c.say(i, 0.5))
		}
		expect("constant 5 answers to 3 inputs", c.say(4, 0.5))

		// Another version is another model.
		other := &talk{d: c.d, version: "v2"}
		expect("clean", other.say(1, 0.5))
		expect("constant 5 answers to 3 inputs", c.say(5, 0.5))

		// Outside the window nothing counts.
		time.Sleep(time.Minute + time.Second)
		expect("clean", c.say(6, 0.5))
	})
}

// The same question asked again and again has the same answer: no evidence,
// though each request has its own id.
func TestConstantWantsDifferentInputs(t *testing.T) {
	c := &talk{d: compiled(t, constantPolicy(policy.OpenInferenceV2))}
	for i := range 100 {
		if v := c.say(i%2, 0.5); !v.Clean() {
			t.Fatalf("two inputs were enough: %s", v.Failed.Reason())
		}
	}
	if v := c.say(2, 0.5); v.Failed.Code != verdict.ConstantAnswer {
		t.Fatalf("the third input is evidence: %s", said(v))
	}
}

// Failed answers and answers to unseen requests are no evidence.
func TestConstantEvidence(t *testing.T) {
	d := compiled(t, constantPolicy(policy.TensorFlowServing))
	say := func(seen bool, i int, body string) verdict.Verdict {
		return d.Answer(&Exchange{
			Status: 200, ResponseBody: []byte(body), RequestBodySeen: seen,
			RequestBody: fmt.Appendf(nil, `{"instances":[%d]}`, i),
		})
	}
	for i := range 20 {
		if v := say(false, i, `{"predictions":[0.5]}`); !v.Clean() {
			t.Fatal("an unseen request counted")
		}
		if v := say(true, i, `{"predictions":[NaN]}`); v.Failed.Code != verdict.NonFiniteValue {
			t.Fatalf("got %s", said(v))
		}
	}
	for i := range 5 {
		want := "clean"
		if i == 4 {
			want = "constant 5 answers to 3 inputs"
		}
		if got := said(say(true, i, `{"predictions":[0.5]}`)); got != want {
			t.Fatalf("answer %d: %q, want %q", i, got, want)
		}
	}
}

// For any JSON the places that the policy names are the prediction.
func TestConstantOfJSON(t *testing.T) {
	p := constantPolicy(policy.JSON)
	p.Detect.NonFinite.Paths = []string{"response.score"}
	d := compiled(t, p)
	var v verdict.Verdict
	for i := range 5 {
		v = d.Answer(&Exchange{
			Status: 200, RequestBodySeen: true,
			RequestBody:  fmt.Appendf(nil, `{"amount":%d}`, i),
			ResponseBody: fmt.Appendf(nil, `{"score":0.5,"at":%d}`, i),
		})
	}
	if v.Failed.Code != verdict.ConstantAnswer {
		t.Fatalf("got %s", said(v))
	}
}

func TestConstantIsSafeForConcurrentUse(t *testing.T) {
	d := compiled(t, constantPolicy(policy.OpenInferenceV2))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			c := &talk{d: d, version: fmt.Sprint("v", g%2)}
			for i := range 200 {
				v := c.say(i, 0.5)
				if i == 199 && v.Failed.Code != verdict.ConstantAnswer {
					t.Errorf("got %s", said(v))
				}
			}
		})
	}
	wg.Wait()
}

func TestConstantMemoryIsBounded(t *testing.T) {
	c := &talk{d: compiled(t, constantPolicy(policy.OpenInferenceV2))}
	for i := range 10 * maxConstantVersions {
		c.version = fmt.Sprint("v", i)
		c.say(i, 0.5)
	}
	if n := len(c.d.constant.versions); n > maxConstantVersions {
		t.Fatalf("%d versions are kept", n)
	}
	for field, cfg := range map[string]policy.Constant{
		"minRequests": {MinRequests: 1 << 30, MinInputs: 1, Window: 1},
		"minInputs":   {MinRequests: 1, MinInputs: 1 << 30, Window: 1},
		"window":      {MinRequests: 1, MinInputs: 1},
	} {
		p := constantPolicy(policy.OpenInferenceV2)
		p.Detect.Constant = &cfg
		if _, err := Compile(p); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v, want one that names %s", err, field)
		}
	}
}
