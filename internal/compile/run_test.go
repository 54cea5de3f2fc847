package compile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/policy"
)

func filesWith(t *testing.T, detectors, rung string) (*Snapshot, config.Problems) {
	t.Helper()
	text := fmt.Sprintf(runnable, detectors, rung)
	return Files(config.File{Name: "x.yaml", Data: []byte(text)})
}

const runnable = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec: {rules: [{backendRefs: [{name: m-v1, port: 80}]}]}
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: m}
spec:
  protocol: OpenInferenceV1
  versions: [{name: v1, backendRef: {name: m-v1, port: 80}, endpoints: [{address: 127.0.0.1, port: 9100}]}]
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: p}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}]
  mode: Enforce
  deadline: 100ms
  detect: {%s}
  ladder:
  %s
  - safeDefault: {body: '{"predictions": [0]}'}
`

// TestConstantLimits: the most that validation lets pass is the most that the
// detector takes.
func TestConstantLimits(t *testing.T) {
	for text, want := range map[string]string{
		"minRequests: 65536, minInputs: 4096": "",
		"minRequests: 65537, minInputs: 4096": "is 65537; want 2 to 65536",
		"minRequests: 65536, minInputs: 4097": "is 4097; want 2 to 4096",
	} {
		_, problems := filesWith(t, "constant: {"+text+"}", "")
		got := ""
		if len(problems) > 0 {
			got = problems[0].Message
		}
		if len(problems) > 1 || got != want {
			t.Errorf("%s: got %v, want %q", text, problems, want)
		}
	}
}

// TestRunPolicy: what validation let pass and no host can run is a problem of
// its field.
func TestRunPolicy(t *testing.T) {
	good := func() *policy.Policy {
		return &policy.Policy{Protocol: policy.OpenInferenceV1, Limits: policy.Limits{BodyBytes: 1024}}
	}
	for name, c := range map[string]struct {
		change func(*policy.Policy)
		want   string
	}{
		"nothing": {func(*policy.Policy) {}, ""},
		"constant": {func(p *policy.Policy) {
			p.Detect.Constant = &policy.Constant{Mode: policy.Enforce, Window: 1, MinRequests: 10000, MinInputs: 5000}
		}, "spec.detect.constant.minInputs: cannot be run: 5000 is not between 1 and 4096"},
		"confidence": {func(p *policy.Policy) {
			p.Detect.Confidence = []policy.Confidence{{Mode: policy.Enforce, Value: "response.a", Aggregate: "least"}}
		}, `spec.detect.confidence.aggregate: cannot be run: "least" is none of min, mean, max and margin`},
		"output": {func(p *policy.Policy) {
			p.Detect.Contract = &policy.Contract{Outputs: []policy.Output{{Name: "a"}, {Name: "b", Datatype: "FLOAT"}}}
		}, `spec.detect.outputs[1].datatype: cannot be run: "FLOAT" is none of the Open Inference Protocol's`},
		"condition behind a disabled one": {func(p *policy.Policy) {
			p.Detect.CEL = []policy.Expression{{Mode: policy.Enforce, Name: "second", Program: []byte(`["none"]`)}}
		}, "spec.detect.cel[1]: cannot be run: second: "},
		"fallback": {func(p *policy.Policy) {
			p.Ladder = []policy.Rung{{Fallback: &policy.Fallback{Protocol: "SMTP"}}}
		}, "spec.ladder[0].fallback: cannot be run: "},
		"protocol": {func(p *policy.Policy) { p.Protocol = "SMTP" }, "spec.detect: cannot be run: "},
		"rules": {func(p *policy.Policy) {
			p.Ladder = []policy.Rung{{Rules: &policy.Rules{MaxScore: 1e-10, Template: "0"}}}
		}, "spec.ladder[0].rules: cannot be run: maxScore is 1e-10"},
		"template": {func(p *policy.Policy) {
			p.Ladder = []policy.Rung{{SafeDefault: &policy.SafeDefault{Template: "{{what}}"}}}
		}, "spec.ladder[0].safeDefault.template: cannot be run: {{what}}: unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			object := &config.Object[v1alpha1.FailSafePolicy]{Value: &v1alpha1.FailSafePolicy{}}
			object.Value.Spec.Detect.CEL = []v1alpha1.Expression{{Mode: v1alpha1.Disabled, Name: "first"}, {Name: "second"}}
			comp := newCompiler(&config.World{})
			p := good()
			c.change(p)
			comp.runPolicy(object, p)
			got := ""
			for _, p := range comp.problems {
				got += p.Field + ": " + p.Message
			}
			if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestNobodyRevalidatesForTenants: a cache whose answers are a tenant's has no
// origin, and one for all has.
func TestNobodyRevalidatesForTenants(t *testing.T) {
	for tenants, want := range map[string]bool{"": true, ", tenantHeaders: [x-tenant]": false} {
		s, problems := filesWith(t, "", "- cache: {ttl: 1m, staleWhileRevalidate: 1m, when: First"+tenants+"}")
		if s == nil {
			t.Fatal(problems)
		}
		if got := s.Routes[0].Policy.Ladder[0].Cache.Origin != nil; got != want || len(problems.Warnings()) != map[bool]int{true: 0, false: 1}[want] {
			t.Errorf("tenants %q: origin %v, problems %v", tenants, got, problems)
		}
	}
}
