package compile

import (
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/config"
)

// base is a policy over a JSON model with places for a mode, detectors and
// rungs.
const base = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec: {rules: [{backendRefs: [{name: m-v1, port: 80}]}]}
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: m}
spec:
  protocol: OpenInferenceV2
  failureDomain: a
  versions: [{name: v1, backendRef: {name: m-v1, port: 80}, endpoints: [{address: 127.0.0.1, port: 9100}]}]
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: small}
spec:
  protocol: OpenInferenceV2
  failureDomain: b
  versions: [{name: v1, endpoints: [{address: 127.0.0.1, port: 9101}]}]
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: p}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}]
  deadline: 80ms
  mode: MODE
  detect: {DETECT}
  ladder:
  - {RUNG}
  - safeDefault:
      body: '{"model_name": "m", "outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [0]}]}'
`

func fill(mode, detect, rung string) config.File {
	text := strings.ReplaceAll(base, "MODE", mode)
	text = strings.ReplaceAll(text, "DETECT", detect)
	if rung == "" {
		text = strings.ReplaceAll(text, "  - {RUNG}\n", "")
	}
	return config.File{Name: "x.yaml", Data: []byte(strings.ReplaceAll(text, "RUNG", rung))}
}

func TestNeedsRequestBody(t *testing.T) {
	const table = `rules: {score: [{when: WHEN, add: 1, reason: r}], template: '{"model_name": "m", "outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [VALUE]}]}'}`
	rules := func(when, value string) string {
		return strings.NewReplacer("WHEN", when, "VALUE", value).Replace(table)
	}
	for _, tc := range []struct {
		name, mode, detect, rung string
		want                     bool
	}{
		{"nothing", "Enforce", "", "", false},
		{"a condition on the answer", "Enforce", `cel: [{name: a, expression: "response.x > 1.0 && request_headers['a'] == 'b'"}]`, "", false},
		{"a condition on the request", "Enforce", `cel: [{name: a, expression: "response.x > request.x"}]`, "", true},
		{"the same, disabled", "Enforce", `cel: [{name: a, mode: Disabled, expression: "response.x > request.x"}]`, "", false},
		{"a condition on the request, observed", "Observe", `cel: [{name: a, expression: "response.x > request.x"}]`, "", true},
		{"a dependency by the request", "Enforce", `dependencies: [{name: a, expression: "request.x > 1.0"}]`, "", true},
		{"a disabled dependency by the request", "Enforce", `dependencies: [{name: a, mode: Disabled, expression: "request.x > 1.0"}]`, "", false},
		{"a request check", "Enforce", `request: [{field: request.x}]`, "", true},
		{"a request check, disabled", "Enforce", `request: [{mode: Disabled, field: request.x}]`, "", false},
		{"the id's echo", "Enforce", `contract: {idEcho: true}`, "", true},
		{"constant answers", "Enforce", `constant: {}`, "", true},
		{"a cache", "Enforce", "", "cache: {ttl: 5m}", true},
		{"a cache, observed", "Observe", "", "cache: {ttl: 5m}", false},
		{"a fallback", "Enforce", "", "fallback: {model: small, deadline: 30ms}", true},
		{"rules on the status", "Enforce", "", rules("status == 503", "{{score}}"), false},
		{"rules on the request", "Enforce", "", rules("request.x > 1.0", "{{score}}"), true},
		{"a template with the request", "Enforce", "", rules("status == 503", "{{request.x}}"), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			snapshot, problems := Files(fill(tc.mode, tc.detect, tc.rung))
			if snapshot == nil {
				t.Fatal(problems)
			}
			if got := snapshot.Routes[0].Policy.Needs.RequestBody; got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestModelTimeout(t *testing.T) {
	for _, tc := range []struct {
		name, mode, detect, rung string
		model, whole, reserve    string
	}{
		{name: "enforced", mode: "Enforce", model: "75ms", whole: "100ms", reserve: "5ms"},
		{name: "with a fallback", mode: "Enforce", rung: "fallback: {model: small, deadline: 30ms}", model: "45ms", whole: "100ms", reserve: "35ms"},
		{name: "lateness observed", mode: "Enforce", detect: "late: {mode: Observe}", model: "0s", whole: "0s", reserve: "5ms"},
		{name: "lateness off", mode: "Enforce", detect: "late: {mode: Disabled}", model: "0s", whole: "0s", reserve: "5ms"},
		{name: "observed", mode: "Observe", model: "0s", whole: "0s", reserve: "5ms"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			snapshot, problems := Files(fill(tc.mode, tc.detect, tc.rung))
			if snapshot == nil {
				t.Fatal(problems)
			}
			r := snapshot.Routes[0]
			if r.ModelTimeout.String() != tc.model || r.MaxDuration.String() != tc.whole || r.Policy.Reserve.D().String() != tc.reserve {
				t.Errorf("got %s, %s, %s; want %s, %s, %s",
					r.ModelTimeout, r.MaxDuration, r.Policy.Reserve.D(), tc.model, tc.whole, tc.reserve)
			}
		})
	}
}
