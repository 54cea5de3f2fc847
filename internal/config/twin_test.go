package config

import (
	"strings"
	"testing"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// TestTwins: two routes of a mesh whose rules are called the same take nothing from each
// other but the policy of the second.
func TestTwins(t *testing.T) {
	port := gatewayv1.PortNumber(80)
	rule := func(kind string) Rule {
		return Rule{Kind: kind, Namespace: "default", Route: "fraud", Name: "rule-0", HTTP: &gatewayv1.HTTPRouteRule{}, Backends: []Backend{{
			BackendRef: gatewayv1.BackendRef{BackendObjectReference: gatewayv1.BackendObjectReference{Name: "fraud-v1", Port: &port}},
		}}}
	}
	model := File{Name: "model", Data: []byte(`{apiVersion: safestate.dev/v1alpha1, kind: Model, metadata: {name: fraud},
spec: {protocol: OpenInferenceV2, versions: [{name: v1, backendRef: {name: fraud-v1, port: 80}}]}}`)}
	policy := func(group, kind string) File {
		return File{Name: kind, Data: []byte(`{apiVersion: safestate.dev/v1alpha1, kind: FailSafePolicy, metadata: {name: p}, spec: {deadline: 1s,
targetRefs: [{group: ` + group + `, kind: ` + kind + `, name: fraud}], ladder: [{safeDefault: {body: '{"model_name": "fraud", "outputs": [{"name": "s", "datatype": "FP32", "shape": [1], "data": [0]}]}'}}]}}`)}
	}
	rules := []Rule{rule(KindVirtualService), rule(KindHTTPRoute)}
	rules[0].Born = time.Unix(1, 0) // the second is older
	world, problems := ParseMesh(rules, nil, model, policy(groupOf(KindHTTPRoute), KindHTTPRoute))
	if problems.Failed() || len(world.Rules()) != 1 || world.Rules()[0].Kind != KindHTTPRoute {
		t.Errorf("%v: %v", world.Rules(), problems.Errors())
	}
	if got := texts(problems.Warnings()); !strings.Contains(got, "VirtualService default/fraud: warning: spec.rules[0].name: is \"rule-0\", and so is that of") {
		t.Error(problems)
	}
	// A route of somebody's with a short timeout takes no policy off it.
	short := gatewayv1.Duration("10ms")
	rules[1].HTTP.Timeouts = &gatewayv1.HTTPRouteTimeouts{Request: &short}
	_, problems = ParseMesh(rules, nil, model, policy(groupOf(KindHTTPRoute), KindHTTPRoute))
	if problems.Failed() || !strings.Contains(texts(problems.Warnings()), "over the request timeout of") {
		t.Error(problems)
	}
	_, problems = ParseMesh(rules, nil, model, policy(GroupIstio, KindVirtualService))
	errs := problems.Errors()
	if len(errs) != 1 || errs[0].File != KindVirtualService || !strings.Contains(errs[0].Message, "is called the same") {
		t.Error(errs)
	}
}

func texts(problems Problems) string {
	var out []string
	for _, p := range problems {
		out = append(out, p.String())
	}
	return strings.Join(out, "\n")
}
