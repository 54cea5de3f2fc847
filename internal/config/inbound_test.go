package config_test

import (
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/config"
)

const inboundModel = `
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: fraud}
spec:
  protocol: OpenInferenceV2
  versions:
  - {name: v1, backendRef: {name: fraud-v1, port: 80}}
  - {name: v2, backendRef: {name: fraud-v2, port: 80}}
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: elsewhere}
spec: {protocol: OpenInferenceV2, versions: [{name: v1, endpoints: [{address: 127.0.0.1, port: 80}]}]}
---
`

func inboundPolicy(name, targets string) string {
	return `
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: ` + name + `}
spec:
  targetRefs: [` + targets + `]
  deadline: 80ms
  ladder:
  - safeDefault: {body: '{"model_name": "fraud", "outputs": [{"name": "score", "datatype": "FP32", "shape": [1], "data": [0.0]}]}'}
---`
}

// TestInboundTargets: a policy may name a Model in a mesh, and its versions one by one;
// each has one policy.
func TestInboundTargets(t *testing.T) {
	const whole, v1, v2 = "{group: safestate.dev, kind: Model, name: fraud}", "{group: safestate.dev, kind: Model, name: fraud, sectionName: v1}", "{group: safestate.dev, kind: Model, name: fraud, sectionName: v2}"
	for name, c := range map[string]struct{ objects, want string }{
		"whole":       {inboundPolicy("a", whole), ""},
		"one each":    {inboundPolicy("a", v1) + inboundPolicy("b", v2), ""},
		"twice":       {inboundPolicy("a", v1+", "+whole), "spec.targetRefs[1]: is version v1 of Model default/fraud, which the policy targets already; want each once"},
		"two":         {inboundPolicy("a", whole) + inboundPolicy("b", v2), "spec.targetRefs[0]: is version v2 of Model default/fraud, which has FailSafePolicy default/a already"},
		"missing":     {inboundPolicy("a", "{group: safestate.dev, kind: Model, name: nobody}"), `spec.targetRefs[0].name: is "nobody", and no Model in namespace default has that name; there are elsewhere and fraud`},
		"no version":  {inboundPolicy("a", "{group: safestate.dev, kind: Model, name: fraud, sectionName: v3}"), `spec.targetRefs[0].sectionName: is "v3", and Model default/fraud has no version of that name; there are v1 and v2`},
		"no Service":  {inboundPolicy("a", "{group: safestate.dev, kind: Model, name: elsewhere}"), "spec.targetRefs[0]: is version v1 of Model default/elsewhere, which has no backendRef"},
		"other group": {inboundPolicy("a", "{group: apps, kind: Model, name: fraud}"), `spec.targetRefs[0].group: is "apps"; want safestate.dev`},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := config.ParseMesh(nil, nil, config.File{Name: "mesh.yaml", Data: []byte(inboundModel + c.objects)})
			errs := problems.Errors()
			switch {
			case c.want == "" && len(errs) > 0:
				t.Errorf("%v", errs)
			case c.want != "" && (len(errs) != 1 || !strings.Contains(errs[0].String(), c.want)):
				t.Errorf("got %v, want %s", errs, c.want)
			}
		})
	}
}
