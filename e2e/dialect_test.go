package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// dialect is what the policies and the tests have to know of one protocol.
type dialect struct {
	kind       string // as a Model spells it
	prefix     string // of a route's name: two protocols share paths
	match      string // Exact where the verb is part of the last path segment
	confidence string // path of the confidence in an answer
	probs      string // path of the probabilities
	nonFinite  string // the detector's settings
	outputs    string // the contract's promises, one YAML list
	declared   string // what main promises: where answers carry no datatypes, a null is a number only by promise
	contract   string // further promises
	safe       string // the safe default
	amount     string // path of the amount in a request
	category   string // path of the merchant category in a request
}

const (
	rowDeclared = "\n    outputs: [{name: score, datatype: FP32}]"
	rowOutputs  = `[{name: score, min: 0, max: 1}, {name: label, labels: [allow, review, deny]}, ` +
		`{name: probs, shape: [-1, 3]}, {name: embedding, optional: true}, {name: confidence, optional: true}]`
	rowDefault   = `{"predictions": [{"score": 0.5, "label": "review", "probs": [0.0, 1.0, 0.0], "confidence": 1.0}]}`
	namedOutputs = `{name: score, datatype: FP32, shape: [-1], min: 0, max: 1}, {name: label, datatype: BYTES, shape: [-1], labels: [allow, review, deny]}, ` +
		`{name: probs, datatype: FP32, shape: [-1, 3]}, {name: embedding, optional: true}, {name: confidence, optional: true}`
	namedDefault = `{"model_name": "default", "outputs": [{"name": "score", "datatype": "FP32", "shape": [1], "data": [0.5]}, ` +
		`{"name": "label", "datatype": "BYTES", "shape": [1], "data": ["review"]}, ` +
		`{"name": "probs", "datatype": "FP32", "shape": [1, 3], "data": [0.0, 1.0, 0.0]}]}`
)

var dialects = map[fm.Protocol]dialect{
	fm.V1: {
		kind: "OpenInferenceV1", prefix: "one", match: "Exact",
		confidence: "response.predictions[*].confidence", probs: "response.predictions[*].probs",
		nonFinite: "{}", declared: rowDeclared, outputs: rowOutputs, contract: "{refuseUnknownOutputs: true}", safe: rowDefault,
		amount: "request.instances[*].amount", category: "request.instances[*].merchant_category",
	},
	fm.TF: {
		kind: "TensorFlowServing", prefix: "tf", match: "Exact",
		confidence: "response.predictions[*].confidence", probs: "response.predictions[*].probs",
		nonFinite: "{}", declared: rowDeclared, outputs: rowOutputs, contract: "{refuseUnknownOutputs: true}", safe: rowDefault,
		amount: "request.instances[*].amount", category: "request.instances[*].merchant_category",
	},
	fm.ML: {
		kind: "MLflow", prefix: "ml", match: "PathPrefix",
		confidence: "response.predictions[*].confidence", probs: "response.predictions[*].probs",
		nonFinite: "{}", declared: rowDeclared, outputs: rowOutputs, contract: "{refuseUnknownOutputs: true}", safe: rowDefault,
		amount: "request.dataframe_records[*].amount", category: "request.dataframe_records[*].merchant_category",
	},
	fm.V2: {
		kind: "OpenInferenceV2", prefix: "two", match: "PathPrefix",
		confidence: "response.outputs[4].data", probs: "response.outputs[2].data",
		nonFinite: "{}", outputs: "[" + namedOutputs + "]", safe: namedDefault,
		contract: "{refuseUnknownOutputs: true, idEcho: true, modelName: true, modelVersion: true}",
		amount:   "request.parameters.amount", category: "request.parameters.merchant_category",
	},
	fm.V2B: {
		kind: "OpenInferenceV2", prefix: "bin", match: "PathPrefix",
		confidence: "response.outputs[7].data", probs: "response.outputs[2].data",
		nonFinite: "{}", safe: namedDefault,
		outputs: "[" + namedOutputs + ", {name: half, datatype: FP16, optional: true}, {name: brain, datatype: BF16, optional: true}, " +
			"{name: double, datatype: FP64, optional: true}]",
		contract: "{refuseUnknownOutputs: true, idEcho: true, modelName: true, modelVersion: true}",
		amount:   "request.parameters.amount", category: "request.parameters.merchant_category",
	},
	fm.J: {
		kind: "JSON", prefix: "json", match: "PathPrefix",
		confidence: "response.confidence", probs: "response.probs",
		nonFinite: "{paths: [response.score, response.confidence, response.probs, response.detail.nested.values]}",
		outputs: "[{name: response.score, min: 0, max: 1}, {name: response.label, labels: [allow, review, deny]}, " +
			"{name: response.probs, shape: [3]}]",
		declared: "\n    outputs: [{name: response.score, datatype: FP32}]", contract: "{}",
		safe:   `{"score": 0.5, "label": "review", "probs": [0.0, 1.0, 0.0], "confidence": 1.0, "detail": {"nested": {"values": [[0.5, 0.5], [0.5, 0.5]]}}}`,
		amount: "request.amount", category: "request.merchant_category",
	},
}

// serial makes every request another one: a constant answer, and a cached one,
// would show.
var serial atomic.Int64

// features is one row of a request, as JSON, with members replaced: a value of
// "" leaves the member out.
func features(replace map[string]string) string {
	n := serial.Add(1)
	members := [][2]string{
		{"amount", strconv.FormatFloat(100+float64(n%9000)*0.75, 'f', -1, 64)},
		{"account_age_days", strconv.FormatInt(n%400, 10)},
		{"merchant_category", `"grocery"`},
		{"is_international", "false"},
		{"has_international_history", "false"},
	}
	var out []string
	for _, m := range members {
		if v, ok := replace[m[0]]; ok {
			if v == "" {
				continue
			}
			m[1] = v
		}
		out = append(out, fmt.Sprintf("%q: %s", m[0], m[1]))
	}
	return "{" + strings.Join(out, ", ") + "}"
}

// inference is a request of a protocol with so many rows.
func inference(p fm.Protocol, route string, rows int, replace map[string]string) dataplane.Request {
	q := dataplane.Request{Path: p.Path(route)}
	list := make([]string, rows)
	for i := range list {
		list[i] = features(replace)
	}
	switch p {
	case fm.V1, fm.TF:
		q.Body = []byte(`{"instances": [` + strings.Join(list, ", ") + `]}`)
	case fm.ML:
		q.Body = []byte(`{"dataframe_records": [` + strings.Join(list, ", ") + `]}`)
	case fm.J:
		q.Body = []byte(strings.Replace(list[0], "{", fmt.Sprintf(`{"id": "r-%d", `, serial.Add(1)), 1))
	default:
		params := strings.TrimSuffix(strings.TrimPrefix(list[0], "{"), "}")
		if p == fm.V2B {
			params += `, "binary_data_output": true`
		}
		var data []string
		for range rows {
			n := serial.Add(1)
			data = append(data, fmt.Sprintf("%d.5, %d, 0, 0", 100+n%9000, n%400))
		}
		q.Body = fmt.Appendf(nil, `{"id": "r-%d", "parameters": {%s}, "inputs": [{"name": "features", "datatype": "FP32", "shape": [%d, 4], "data": [%s]}]}`,
			serial.Add(1), params, rows, strings.Join(data, ", "))
	}
	return q
}

// checkShape reads an answer as a client of the protocol would and fails the
// test unless every number in it can be used.
func checkShape(t *testing.T, p fm.Protocol, a dataplane.Answer) {
	t.Helper()
	body := a.Body
	binarySize := 0
	if n, err := strconv.Atoi(a.Header.Get("Inference-Header-Content-Length")); err == nil && n <= len(body) {
		binarySize = len(body) - n
		body = body[:n]
	}
	if got := a.Header.Get("Content-Length"); got != strconv.Itoa(len(a.Body)) {
		t.Errorf("content-length is %q, the body has %d bytes", got, len(a.Body))
	}
	var v map[string]any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Errorf("the body is no JSON object: %v: %.200q", err, body)
		return
	}
	switch p {
	case fm.V1, fm.TF, fm.ML:
		rows, ok := v["predictions"].([]any)
		if !ok || len(rows) == 0 {
			t.Errorf("no predictions in %.200q", body)
			return
		}
		for _, r := range rows {
			row, _ := r.(map[string]any)
			usable(t, "score", row["score"])
		}
	case fm.J:
		usable(t, "score", v["score"])
	default:
		checkTensors(t, v, binarySize)
	}
}

// checkTensors reads Open Inference V2, with or without binary data.
func checkTensors(t *testing.T, v map[string]any, binarySize int) {
	t.Helper()
	outputs, ok := v["outputs"].([]any)
	if !ok || len(outputs) == 0 {
		t.Errorf("no outputs in %v", v)
		return
	}
	declared := 0
	for _, o := range outputs {
		out, _ := o.(map[string]any)
		elements := 1.0
		shape, _ := out["shape"].([]any)
		for _, n := range shape {
			f, _ := n.(float64)
			elements *= f
		}
		params, _ := out["parameters"].(map[string]any)
		if size, isBinary := params["binary_data_size"].(float64); isBinary {
			declared += int(size)
			continue
		}
		data, _ := out["data"].([]any)
		if float64(len(data)) != elements {
			t.Errorf("output %v has %d elements, its shape says %v", out["name"], len(data), elements)
		}
		if out["datatype"] != "BYTES" {
			for _, d := range data {
				usable(t, fmt.Sprint(out["name"]), d)
			}
		}
	}
	if declared != binarySize {
		t.Errorf("%d bytes follow the header, the outputs declare %d", binarySize, declared)
	}
}

func usable(t *testing.T, name string, v any) {
	t.Helper()
	f, ok := v.(float64)
	if !ok || math.IsNaN(f) || math.IsInf(f, 0) {
		t.Errorf("%s is %v, want a finite number", name, v)
	}
}

// leaks are pieces of the models' own error texts, which callers never see.
var leaks = []string{"/opt/", "CUDA", "stack_trace", "feature store"}

func checkNoLeak(t *testing.T, a dataplane.Answer) {
	t.Helper()
	for _, leak := range leaks {
		if strings.Contains(string(a.Body), leak) || strings.Contains(a.Reason(), leak) {
			t.Errorf("the answer holds the model's own error text %q: %q %.200q", leak, a.Reason(), a.Body)
		}
	}
	if a.Status == http.StatusOK && a.Source() != "primary" && a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("cache-control of an answer by %s is %q, want no-store", a.Source(), a.Header.Get("Cache-Control"))
	}
}
