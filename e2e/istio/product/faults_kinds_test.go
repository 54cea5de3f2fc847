package product

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/safestate/safestate/e2e/dataplane"
)

// otherPolicy is policy with another last rung, by which it is told that it was read.
var otherPolicy = strings.ReplaceAll(policy, `"data":[0.0]`, `"data":[0.75]`)

// TestKindsDeleted: definitions of safestate's kinds are deleted while it serves, and
// with them all objects. What held stays, also while the definitions are there again
// and the objects are not yet.
func TestKindsDeleted(t *testing.T) {
	s := newStand(t)
	s.guarded()
	s.halfway()
	s.command("rollout", "pause", "models/fraud", "--reason", "so that it stays")
	load := s.load(50)
	killSwitch := `
apiVersion: safestate.dev/v1alpha1
kind: KillSwitch
metadata: {name: other, namespace: models}
spec: {target: {scope: Route, route: other, rule: rule-0}, reason: to have one}
`
	for _, kinds := range [][]string{
		{"models"}, {"failsafepolicies"}, {"killswitches"}, {"staterecords"}, {"models", "failsafepolicies", "killswitches", "staterecords"},
	} {
		s.part(strings.Join(kinds, " "), func(s *stand) {
			s.apply(policy + "---" + killSwitch)
			s.inspects("0.0")
			before, weights := s.filters(), s.weights()
			var definitions []*unstructured.Unstructured
			for _, k := range kinds {
				definitions = append(definitions, s.deleteKind(k+".safestate.dev"))
			}
			if !slices.Equal(kinds, []string{"staterecords"}) { // of those the configuration does not depend on
				s.admits("is not installed any more")
			}
			if slices.Equal(kinds, []string{"models"}) || slices.Equal(kinds, []string{"killswitches"}) {
				s.says("FailSafePolicy", "fraud", "Programmed", "False Reconciling a kind of safestate's is not installed any more")
			}
			s.lasting(4*time.Second, "what held stays", func() bool { return slices.Equal(names(s.filters()), names(before)) })
			s.inspects("0.0")
			for _, d := range definitions {
				s.applyKind(d)
			}
			s.lasting(4*time.Second, "what held stays without the objects", func() bool { return slices.Equal(names(s.filters()), names(before)) })
			s.apply(otherPolicy + "---" + killSwitch)
			s.inspects("0.75")
			s.admits("")
			if now := s.weights(); !slices.Equal(now, weights) {
				t.Errorf("weights %v, were %v", now, weights)
			}
			dataplane.Eventually(t, patience, "its state is stored", func() bool { return s.stored("models/models/fraud") != nil })
			s.says("Model", "fraud", "Accepted", "True ")
		})
	}
	s.command("rollout", "abort", "models/fraud", "--reason", "enough")
	s.moves("it is decided and written as before", func(w []int64) bool { return w[1] == 0 })
	s.unharmed(load)
	if s.safestate.Exited() {
		t.Error("safestate has ended")
	}
}

// TestOthersKindsDeleted: definitions of Istio's or of the Gateway API are deleted.
// What is gone with them nobody can hold: what safestate needs is said, and written
// again when it can be.
func TestOthersKindsDeleted(t *testing.T) {
	s := newStand(t)
	s.guarded()
	s.halfway()
	s.command("rollout", "pause", "models/fraud", "--reason", "so that it stays")
	s.part("EnvoyFilter", func(s *stand) {
		load, before := s.load(50), s.filters()
		d := s.deleteKind("envoyfilters.networking.istio.io")
		if len(s.filters()) > 0 {
			t.Fatal("the EnvoyFilters are still there")
		}
		s.says("FailSafePolicy", "fraud", "Programmed", "False Reconciling EnvoyFilter")
		s.troubled("what holds cannot be written: EnvoyFilter")
		s.applyKind(d)
		s.restored(before, routeFilter)
		s.inspects("0.0")
		s.says("FailSafePolicy", "fraud", "Programmed", "True ")
		// What was on its way to the processor when istiod took that away may have
		// failed, and what a model answered was not inspected: nobody can help it.
		t.Log(load.stop())
		client.CloseIdleConnections() // those from between keep the listener that they came by
	})
	s.part("VirtualService", func(s *stand) {
		load, before := s.load(50), s.filters()
		d := s.deleteKind("virtualservices.networking.istio.io")
		s.lasting(4*time.Second, "what held stays", func() bool { return slices.Equal(names(s.filters()), names(before)) })
		s.apply(otherPolicy)
		s.inspects("0.75") // the others go on
		s.applyKind(d)
		s.apply(policy)
		s.inspects("0.0")
		s.unharmed(load)
	})
	s.part("HTTPRoute", func(s *stand) {
		route, had := s.object(kindHTTPRoute, "fraud"), s.weights()
		d := s.deleteKind("httproutes.gateway.networking.k8s.io")
		s.says("FailSafePolicy", "fraud", "Accepted", "False ")
		s.applyKind(d)
		s.applyAs("argocd", withWeights(t, route, 100, 0))
		s.inspects("0.0")
		s.moves("the weights that were decided", func(w []int64) bool { return slices.Equal(w, had) })
	})
	if s.safestate.Exited() {
		t.Error("safestate has ended")
	}
}

// withWeights is an HTTPRoute as somebody's Git has it, with other weights.
func withWeights(t *testing.T, route *unstructured.Unstructured, weights ...int64) string {
	t.Helper()
	spec := route.DeepCopy().Object["spec"].(map[string]any)
	refs := spec["rules"].([]any)[0].(map[string]any)["backendRefs"].([]any)
	for i, w := range weights {
		refs[i].(map[string]any)["weight"] = w
	}
	text, err := json.Marshal(map[string]any{
		"apiVersion": route.GetAPIVersion(), "kind": route.GetKind(),
		"metadata": map[string]any{"name": route.GetName(), "namespace": route.GetNamespace()}, "spec": spec,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// inspects waits until a bad answer is replaced by the last rung with a score.
func (s *stand) inspects(score string) {
	s.t.Helper()
	s.v1.nan.Store(true)
	defer s.v1.nan.Store(false)
	began := time.Now()
	s.until("a bad answer is replaced by "+score, func(a answer) bool { return a.source == "safe_default" && strings.Contains(a.body, "["+score+"]") })
	s.t.Logf("replaced by %s after %s", score, time.Since(began))
}

// admits waits until safestate is ready, and says of its configuration that something
// is wrong with it; empty: that nothing is.
func (s *stand) admits(what string) {
	s.t.Helper()
	began := time.Now()
	dataplane.Eventually(s.t, patience, "safestate says: "+what, func() bool {
		code, _ := get("http://" + s.http + "/readyz")
		problems := strings.Join(s.status().Configuration.Problems, " ")
		return code == http.StatusOK && strings.Contains(problems, what) && (what == "") == (problems == "")
	})
	s.t.Logf("said after %s: %q", time.Since(began), what)
}

// deleteKind deletes a definition, and returns what to apply to have it again.
func (s *stand) deleteKind(name string) *unstructured.Unstructured {
	s.t.Helper()
	o, err := s.api.Admin.Get(s.t.Context(), kindDefinition, "", name)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.api.Admin.Client.Delete(s.t.Context(), o.DeepCopy(), kube.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		s.t.Fatal(err)
	}
	dataplane.Eventually(s.t, patience, name+" is gone", func() bool {
		_, err := s.api.Admin.Get(s.t.Context(), kindDefinition, "", name)
		return apierrors.IsNotFound(err)
	})
	delete(o.Object, "status")
	o.Object["metadata"] = map[string]any{"name": name, "annotations": o.Object["metadata"].(map[string]any)["annotations"], "labels": o.Object["metadata"].(map[string]any)["labels"]}
	return o
}

func (s *stand) applyKind(o *unstructured.Unstructured) {
	s.t.Helper()
	if err := s.api.Admin.Client.Create(s.t.Context(), o.DeepCopy()); err != nil {
		s.t.Fatal(err)
	}
	dataplane.Eventually(s.t, patience, o.GetName()+" is served", func() bool {
		is, err := s.api.Admin.Get(s.t.Context(), kindDefinition, "", o.GetName())
		if err != nil {
			return false
		}
		kind, _, _ := unstructured.NestedString(o.Object, "spec", "names", "kind")
		group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
		versions, _, _ := unstructured.NestedSlice(is.Object, "spec", "versions")
		version := versions[0].(map[string]any)["name"].(string)
		_, err = s.api.Admin.Get(s.t.Context(), group+"/"+version+" "+kind, "models", "nobody")
		return apierrors.IsNotFound(err) && strings.Contains(err.Error(), `"nobody" not found`)
	})
}
