package product

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
)

// theirs is an HTTPRoute as somebody's Git has it, with all that is none of
// safestate's: other rules, filters, an annotation, and fields of a newer Gateway API.
const theirs = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: fraud, namespace: models, annotations: {team: risk}, labels: {app: fraud}}
spec:
  parentRefs: [{name: public}]
  hostnames: [fraud.example.com]
  tomorrow: {shape: round}
  rules:
  - matches: [{path: {type: PathPrefix, value: /v2/models/fraud}}]
    tomorrow: {retries: [1, 2.5, {deep: true}]}
    filters:
    - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-team, value: risk}]}}
    backendRefs:
    - {name: fraud-v1, port: OUT_PORT, weight: 100, tomorrow: yes-please}
    - {name: fraud-v2, port: OUT_PORT, weight: 0}
  - matches: [{path: {type: PathPrefix, value: /other}}]
    backendRefs:
    - {name: fraud, port: OUT_PORT, weight: 3}
    - {name: gw, port: 80, weight: 7}
`

// TestOthersWeights: another manager owns the weights of an HTTPRoute. A rollout takes
// them over; what the other writes back stays until the next decision, and is told.
func TestOthersWeights(t *testing.T) {
	s := newStand(t)
	s.newerKind("httproutes.gateway.networking.k8s.io", "spec", "spec.rules.[]", "spec.rules.[].backendRefs.[]")
	s.applyAs("argocd", theirs)
	s.guarded()
	load := s.load(100)
	before := s.foreignPart(kindHTTPRoute, "fraud", "rules", "backendRefs")
	if strings.Count(before, "tomorrow") != 3 {
		t.Fatalf("the newer fields are not there: %s", before)
	}

	s.rollout("5,1m", "100")
	s.moves("fraud-v2 5", func(w []int64) bool { return w[1] == 5 })
	s.told("WeightsTaken", "argocd")
	s.says("Model", "fraud", "WeightsHeld", "True ")
	s.leaves(before)

	s.applyAs("argocd", theirs)
	s.says("Model", "fraud", "WeightsHeld", "False Overwritten argocd has written")
	s.untouched(20*time.Second, kindHTTPRoute, "fraud")
	if w := s.weights(); w[1] != 0 {
		t.Errorf("weights %v, want those of argocd", w)
	}
	s.told("WeightsOverwritten", "argocd")
	s.troubled("argocd has written other weights into HTTPRoute models/fraud")

	s.safestate.Kill() // nor does who starts anew
	s.serve()
	s.says("Model", "fraud", "WeightsHeld", "False Overwritten argocd has written")
	s.untouched(12*time.Second, kindHTTPRoute, "fraud")

	version := s.object(kindHTTPRoute, "fraud").GetGeneration()
	s.command("rollout", "promote", "models/fraud", "--reason", "it is good")
	s.moves("v2 has most of it", func(w []int64) bool { return w[1] > 90 })
	s.says("Model", "fraud", "WeightsHeld", "True ")
	s.untouched(5*time.Second, kindHTTPRoute, "fraud")
	if now := s.object(kindHTTPRoute, "fraud").GetGeneration(); now != version+1 {
		t.Errorf("the next decision was written %d times", now-version)
	}
	s.leaves(before)
	s.unharmed(load)
}

// TestAppliedWeights: the same for a VirtualService by kubectl apply, as people do it.
func TestAppliedWeights(t *testing.T) {
	s := newStand(t)
	s.serve()
	objects := s.filled(virtualService)
	at := strings.Index(objects, "\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService")
	end := strings.Index(objects[at+5:], "\n---") + at + 5
	mine := objects[at:end] + `
    retries: {attempts: 1, perTryTimeout: 1.5s}
    mirrorPercentage: {value: 0.1}
  - name: other
    match: [{uri: {prefix: /other}}]
    route: [{destination: {host: fraud}, weight: 3}, {destination: {host: gw}, weight: 97}]
`
	if out, err := cluster.Kubectl(t, s.api.Admin, mine, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.apply(objects[:at] + objects[end:])
	ask := func() answer { return infer(s.classic, "classic.example.com") }
	dataplane.Eventually(t, patience, "the policy is at the gateway", func() bool { return ask().source == "primary" })
	before := s.foreignPart(kindVirtualService, "fraud", "http", "route")

	s.rollout("50,1m", "100")
	dataplane.Eventually(t, patience, "v2 gets traffic", func() bool { ask(); return s.v2.asked.Load() > 0 })
	s.told("WeightsTaken", "kubectl-client-side-apply")
	if now := s.foreignPart(kindVirtualService, "fraud", "http", "route"); now != before {
		t.Errorf("what is others' has changed:\n%s\n%s", before, now)
	}
	if out, err := cluster.Kubectl(t, s.api.Admin, mine, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.says("Model", "fraud", "WeightsHeld", "False Overwritten kubectl-client-side-apply has written")
	s.untouched(12*time.Second, kindVirtualService, "fraud")
	s.told("WeightsOverwritten", "kubectl-client-side-apply")
}

// newerKind gives a kind a field "tomorrow" that no Go type of ours knows, at paths of
// its schema.
func (s *stand) newerKind(name string, at ...string) {
	s.t.Helper()
	o, err := s.api.Admin.Get(s.t.Context(), kindDefinition, "", name)
	if err != nil {
		s.t.Fatal(err)
	}
	versions, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
	for _, path := range at {
		fields := []string{"schema", "openAPIV3Schema"}
		for _, step := range strings.Split(path, ".") {
			if step == "[]" {
				fields = append(fields, "items")
			} else {
				fields = append(fields, "properties", step)
			}
		}
		for _, v := range versions {
			if err := unstructured.SetNestedMap(v.(map[string]any), map[string]any{"x-kubernetes-preserve-unknown-fields": true}, append(fields, "properties", "tomorrow")...); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	if err := unstructured.SetNestedSlice(o.Object, versions, "spec", "versions"); err != nil {
		s.t.Fatal(err)
	}
	if err := s.api.Admin.Client.Update(s.t.Context(), o); err != nil {
		s.t.Fatal(err)
	}
	dataplane.Eventually(s.t, patience, "the API server knows the new field", func() bool {
		return s.api.Admin.TryApply(s.t.Context(), "argocd", s.filled(theirs)) == nil && strings.Count(s.foreignPart(kindHTTPRoute, "fraud", "rules", "backendRefs"), "tomorrow") == len(at)
	})
}

// applyAs writes YAML as the administrator, by a field manager of the given name.
func (s *stand) applyAs(manager, text string) {
	s.t.Helper()
	s.api.Admin.Apply(s.t, manager, s.filled(text))
}

// foreignPart is what of an object is none of safestate's: all but the weights of the
// first rule, and what says who wrote when.
func (s *stand) foreignPart(kind, name, rules, destinations string) string {
	s.t.Helper()
	o := s.object(kind, name).DeepCopy()
	delete(o.Object, "status")
	for _, field := range []string{"managedFields", "resourceVersion", "generation"} {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(o.Object, "metadata", "annotations", "safestate.dev/weights")
	all, _, _ := unstructured.NestedSlice(o.Object, "spec", rules)
	for _, d := range all[0].(map[string]any)[destinations].([]any) {
		delete(d.(map[string]any), "weight")
	}
	if err := unstructured.SetNestedSlice(o.Object, all, "spec", rules); err != nil {
		s.t.Fatal(err)
	}
	text, err := json.MarshalIndent(o.Object, "", " ")
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// leaves fails where what is others' of the HTTPRoute has changed.
func (s *stand) leaves(before string) {
	s.t.Helper()
	if now := s.foreignPart(kindHTTPRoute, "fraud", "rules", "backendRefs"); now != before {
		s.t.Errorf("what is others' has changed:\n%s\n%s", before, now)
	}
}

// moves waits until the weights are as wanted.
func (s *stand) moves(what string, holds func([]int64) bool) {
	s.t.Helper()
	dataplane.Eventually(s.t, patience, what, func() bool { return holds(s.weights()) })
}

// untouched fails where an object's spec is written within a while. Its status is
// istiod's to write.
func (s *stand) untouched(d time.Duration, kind, name string) {
	s.t.Helper()
	before := s.object(kind, name).GetGeneration()
	s.lasting(d, fmt.Sprintf("%s %s is left alone", kind, name), func() bool { return s.object(kind, name).GetGeneration() == before })
}
