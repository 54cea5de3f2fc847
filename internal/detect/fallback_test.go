package detect

import (
	"testing"

	"github.com/safestate/safestate/internal/policy"
)

// fallbackPolicy has a fallback model, and its own detectors only observe.
func fallbackPolicy(mode policy.Mode) *policy.Policy {
	lo, hi := 0.0, 1.0
	return &policy.Policy{
		Protocol: policy.OpenInferenceV2, ServedName: "fraud", Limits: policy.Limits{BodyBytes: 1 << 20},
		Detect: policy.Detect{
			NonFinite: &policy.NonFinite{Mode: mode},
			Broken:    &policy.Broken{Mode: policy.Observe},
			Contract: &policy.Contract{
				Mode: mode, ModelName: true, ModelVersion: true, IDEcho: true,
				Outputs: []policy.Output{{Name: "score", Datatype: "FP32", Min: &lo, Max: &hi}},
			},
		},
		Ladder: []policy.Rung{
			{Fallback: &policy.Fallback{Model: "default/small", ServedName: "small", Protocol: policy.OpenInferenceV2, MaxBytes: 400}},
			{SafeDefault: &policy.SafeDefault{Body: "{}"}},
		},
	}
}

func TestFallback(t *testing.T) {
	answer := func(name, id, data string) string {
		return `{"model_name":"` + name + `","model_version":"7","id":"` + id + `","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[` + data + `]}]}`
	}
	for name, c := range map[string]struct {
		mode   policy.Mode
		status int
		body   string
		want   string
	}{
		"clean, by its own name":            {policy.Enforce, 200, answer("small", "a", "0.5"), "clean"},
		"the primary's name is another's":   {policy.Enforce, 200, answer("fraud", "a", "0.5"), "contract_model_name fraud"},
		"NaN":                               {policy.Enforce, 200, answer("small", "a", "NaN"), "nonfinite outputs[0].data[0] NaN"},
		"range":                             {policy.Enforce, 200, answer("small", "a", "2"), "contract_range outputs[0].data[0] 2"},
		"id of another request":             {policy.Enforce, 200, answer("small", "b", "0.5"), "contract_id"},
		"NaN, observed":                     {policy.Observe, 200, answer("small", "a", "NaN"), "clean"},
		"500, though broken only observes":  {policy.Observe, 500, `{"error":"x"}`, "broken_status 500"},
		"400 is not the caller's":           {policy.Observe, 400, `{"error":"x"}`, "broken_status 400"},
		"429":                               {policy.Enforce, 429, ``, "broken_status 429"},
		"truncated, though broken observes": {policy.Observe, 200, `{"outputs":`, "broken_truncated 11"},
		"error object":                      {policy.Observe, 200, `{"error":"x"}`, "broken_error_object error"},
		"empty":                             {policy.Observe, 200, ``, "broken_empty body"},
		"over its own limit":                {policy.Observe, 200, answer("small", string(make([]byte, 400)), "0.5"), "broken_too_large 522 > 400"},
	} {
		t.Run(name, func(t *testing.T) {
			p := fallbackPolicy(c.mode)
			d := compiled(t, p)
			x := Exchange{
				Version:     policy.Version{Name: "v1", ReportedVersion: "1"},
				RequestBody: []byte(`{"id":"a","inputs":[]}`), RequestBodySeen: true,
				Status: 200, ResponseBody: []byte(answer("fraud", "a", "NaN")),
			}
			d.Answer(&x)
			h := fields{"content-type": "application/json"}
			for range 2 { // the second one shows what the first left behind
				if got := said(d.Fallback(&x, p.Ladder[0].Fallback, c.status, h, []byte(c.body))); got != c.want {
					t.Fatalf("got  %q\nwant %q", got, c.want)
				}
			}
			equal := *p.Ladder[0].Fallback // a copy is the same rung
			if got := said(d.Fallback(&x, &equal, c.status, h, []byte(c.body))); got != c.want {
				t.Fatalf("of a copy: got %q, want %q", got, c.want)
			}
		})
	}
}

// A fallback may speak another protocol than the primary.
func TestFallbackProtocol(t *testing.T) {
	p := fallbackPolicy(policy.Enforce)
	p.Ladder[0].Fallback.Protocol = policy.OpenInferenceV1
	d := compiled(t, p)
	var x Exchange
	if got := said(d.Fallback(&x, p.Ladder[0].Fallback, 200, nil, []byte(`{"predictions":[{"score":0.5}]}`))); got != "clean" {
		t.Fatal(got)
	}
	p.Ladder[0].Fallback.Protocol = "SOAP"
	if _, err := Compile(p); err == nil {
		t.Fatal("a protocol that nobody reads was taken")
	}
}

// The safe default is held to form, finiteness and promises.
func TestValidDefault(t *testing.T) {
	p := fallbackPolicy(policy.Observe)
	d := compiled(t, p)
	for name, c := range map[string]struct{ body, want string }{
		"good":          {`{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.0]}],"parameters":{"action":"allow"}}`, ""},
		"not JSON":      {`score: 0`, "broken_syntax 0"},
		"another form":  {`{"predictions":[0.0]}`, "broken_empty outputs"},
		"NaN":           {`{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[NaN]}]}`, "nonfinite outputs[0].data[0] NaN"},
		"name":          {`{"model_name":"x","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.0]}]}`, "contract_model_name x"},
		"output":        {`{"model_name":"fraud","outputs":[{"name":"sc","datatype":"FP32","shape":[1],"data":[0.0]}]}`, "contract_output_missing score"},
		"bounds":        {`{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[2]}]}`, "contract_range outputs[0].data[0] 2"},
		"shape":         {`{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[2],"data":[0]}]}`, "contract_shape score [2] is not that of its data"},
		"two ids":       {`{"id":"a","id":"b","model_name":"fraud","outputs":[]}`, "broken_duplicate_key id"},
		"empty":         {``, "broken_empty body"},
		"trailing text": {`{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0]}]} {}`, "broken_trailing 93"},
	} {
		t.Run(name, func(t *testing.T) {
			err := d.ValidDefault([]byte(c.body))
			if got := errorText(err); got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
