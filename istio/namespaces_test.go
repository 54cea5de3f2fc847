package istio_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/istio"
)

// twoTeams has a model in namespace models, and beside one of its own that is called
// the same the routes of team-a that lead to it.
const twoTeams = `
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: fraud, namespace: models}
spec:
  protocol: OpenInferenceV2
  versions:
  - {name: v1, backendRef: {name: fraud-v1, port: 80}}
  - {name: v2, backendRef: {name: fraud-v2, port: 80}}
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: fraud, namespace: team-a}
spec: {protocol: OpenInferenceV2, versions: [{name: own, backendRef: {name: fraud-v1, port: 80}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: fraud, namespace: team-a}
spec:
  parentRefs: [{name: public}]
  rules:
  - name: score
    backendRefs:
    - {name: fraud-v1, namespace: models, port: 80, weight: 100}
    - {name: fraud-v2, namespace: models, port: 80, weight: 0}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: fraud, namespace: team-a}
spec:
  hosts: [fraud.example.com]
  http:
  - name: rank
    route:
    - {destination: {host: fraud-v1.models.svc.cluster.local}, weight: 100}
    - {destination: {host: fraud-v2.models, port: {number: 80}}, weight: 0}
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: fraud, namespace: team-a}
spec:
  targetRefs:
  - {group: gateway.networking.k8s.io, kind: HTTPRoute, name: fraud}
  - {group: networking.istio.io, kind: VirtualService, name: fraud}
  mode: Enforce
  deadline: 1s
  detect: {nonFinite: {}, outputs: [{name: score, min: 0, max: 1}]}
  ladder:
  - safeDefault: {body: '{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.0]}]}'}
`

const grants = `---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: team-a, namespace: models}
spec:
  from:
  - {group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: team-a}
  - {group: networking.istio.io, kind: VirtualService, namespace: team-a}
  to: [{group: "", kind: Service}]
`

func folder(t *testing.T, text string) (*compile.Snapshot, config.Problems) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, problems := istio.Folder(dir, istio.Options{})
	if problems.Failed() {
		t.Fatal(problems)
	}
	return s, problems
}

// TestGranted: to routes of another namespace a model is what it is to its own: its
// versions, its weights, its kills.
func TestGranted(t *testing.T) {
	s, problems := folder(t, twoTeams+grants)
	if len(problems) > 0 {
		t.Error(problems)
	}
	released := s.WithReleases(map[string]compile.Release{
		"models/fraud": {Generation: 3, Weights: map[string]int{"v1": 75, "v2": 25}}, "team-a/fraud": {Generation: 1, Weights: map[string]int{"own": 0}},
	})
	for i, c := range []struct{ object, before, after string }{
		{
			"HTTPRoute", `{"spec":{"rules":[{"backendRefs":[{"name":"fraud-v1","namespace":"models","port":80,"weight":100},{"name":"fraud-v1","port":80,"weight":7},{"name":"fraud-v2","namespace":"models","port":80}]}]}}`,
			`{"spec":{"rules":[{"backendRefs":[{"name":"fraud-v1","namespace":"models","port":80,"weight":75},{"name":"fraud-v1","port":80,"weight":7},{"name":"fraud-v2","namespace":"models","port":80,"weight":25}]}]}}`,
		},
		{
			"VirtualService", `{"spec":{"http":[{"route":[{"destination":{"host":"fraud-v1.models.svc.cluster.local"}},{"destination":{"host":"fraud-v1"},"weight":7},{"destination":{"host":"fraud-v2.models"}}]}]}}`,
			`{"spec":{"http":[{"route":[{"destination":{"host":"fraud-v1.models.svc.cluster.local"},"weight":75},{"destination":{"host":"fraud-v1"},"weight":7},{"destination":{"host":"fraud-v2.models"},"weight":25}]}]}}`,
		},
	} {
		r := routeOf(t, released, c.object)
		if p := r.Policy; p == nil || p.Model != "models/fraud" || p.Versions["outbound|80||fraud-v2.models.svc.cluster.local"].Name != "v2" {
			t.Fatalf("%s: policy %+v", c.object, p)
		}
		w, err := istio.WeightsOf(released, r)
		if err != nil {
			t.Fatal(err)
		}
		object := parsed(t, c.before)
		if changed, err := istio.SetWeights(object, r, w, istio.DefaultClusterDomain); !changed || err != nil || written(t, object) != written(t, parsed(t, c.after)) {
			t.Errorf("%d: changed %v, err %v, %s", i, changed, err, written(t, object))
		}
		for target, stopped := range map[kill.Target]bool{
			kill.ForVersion("models/fraud", "v2"): true, kill.ForModel("models/fraud"): true, kill.ForModel("team-a/fraud"): false,
		} {
			if is := stops(t, s, target, r.Name); is != stopped {
				t.Errorf("%s, %s killed: it is stopped: %v", r.Name, target, is)
			}
		}
	}
}

// TestUngranted: what a route may not name is no version to it. It keeps its traffic,
// and what is wrong is said.
func TestUngranted(t *testing.T) {
	_, rest, _ := strings.Cut(twoTeams, "kind: HTTPRoute") // without a model of its own
	models, _, _ := strings.Cut(twoTeams, "---")
	s, problems := folder(t, models+"---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute"+rest)
	var said []string
	for _, p := range problems {
		said = append(said, p.String())
	}
	for _, want := range []string{
		"HTTPRoute team-a/fraud: warning: rule score names Service models/fraud-v1 and Service models/fraud-v2; want a ReferenceGrant in models for HTTPRoutes of team-a",
		"VirtualService team-a/fraud: warning: rule rank names Service models/fraud-v1 and Service models/fraud-v2; want a ReferenceGrant in models for VirtualServices of team-a",
	} {
		if !strings.Contains(strings.Join(said, "\n"), want) {
			t.Errorf("nothing says %q in\n%s", want, strings.Join(said, "\n"))
		}
	}
	for _, kind := range []string{"HTTPRoute", "VirtualService"} {
		r := routeOf(t, s, kind)
		if r.Policy != nil || len(r.Backends) > 0 {
			t.Errorf("%s: policy %v, leads to %v", kind, r.Policy, r.Backends)
		}
		for target, stopped := range map[kill.Target]bool{
			kill.ForModel("models/fraud"): false, kill.ForRoute(r.Name): true, kill.Everything: true,
		} {
			if is := stops(t, s, target, r.Name); is != stopped {
				t.Errorf("%s, %s killed: it is stopped: %v", r.Name, target, is)
			}
		}
	}
	if objects := render(t, s, istio.Options{}); len(objects.Filters) > 0 || objects.Err() != nil {
		t.Errorf("it is %s, err %v", outline(objects), objects.Err())
	}
}

func routeOf(t *testing.T, s *compile.Snapshot, kind string) *compile.Route {
	t.Helper()
	for i := range s.Routes {
		if s.Routes[i].Object.Kind == kind {
			return &s.Routes[i]
		}
	}
	t.Fatalf("no %s", kind)
	return nil
}

// stops reports whether a route is stopped, or a version of it, while a target is
// killed.
func stops(t *testing.T, s *compile.Snapshot, target kill.Target, route string) bool {
	t.Helper()
	now := time.Now()
	state := kill.Kill(kill.New(target), kill.Order{ID: "1", At: now, By: "ann", Reason: "wrong"})
	text, err := render(t, s.WithKills(kill.NewSet(state), now), istio.Options{}).YAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range strings.Split(string(text), "---\n") {
		if strings.Contains(f, "name: "+route+"\n") && strings.Contains(f, "safestate.stop:") {
			return true
		}
	}
	return false
}
