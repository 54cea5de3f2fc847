package integrations

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	argov1 "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/fluxcd/flagger/pkg/client/clientset/versioned/fake"
	"github.com/fluxcd/flagger/pkg/router"
	"go.uber.org/zap"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	safestatev1 "github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/compile"
)

// versions are the version of a file's Model behind each of its Services. Nobody but
// the tool moves the model's weights.
func versions(t *testing.T, file string) map[string]string {
	t.Helper()
	m := objects[safestatev1.Model](t, file, "safestate.dev/v1alpha1 Model")[0]
	if m.Namespace+"/"+m.Name != model || m.Spec.Rollout == nil || m.Spec.Rollout.Weights != safestatev1.WeightsExternal {
		t.Errorf("%s: the model is %s/%s, with the rollout %+v", file, m.Namespace, m.Name, m.Spec.Rollout)
	}
	out := map[string]string{}
	for _, v := range m.Spec.Versions {
		out[v.BackendRef.Name] = v.Name
	}
	return out
}

// TestCanaryIsAboutTheModel: its Services are those that Flagger makes, and it asks
// about the version behind the canary's.
func TestCanaryIsAboutTheModel(t *testing.T) {
	c, of := canary(t), versions(t, filepath.Join(flaggerFolder, "canary.yaml"))
	_, primaryService, canaryService := c.GetServiceNames()
	if len(of) != 2 || of[primaryService] == "" || of[canaryService] != candidate {
		t.Errorf("Flagger makes %s and %s, and the model has %v", primaryService, canaryService, of)
	}
	for _, m := range c.Spec.Analysis.Metrics {
		v := m.TemplateVariables
		if v["route"] == "fraud" && len(v) == 1 || v["model"] == "fraud" && v["version"] == candidate && len(v) == 2 {
			continue
		}
		t.Errorf("%s is about %v", m.Name, v)
	}
	marked(t, filepath.Join(flaggerFolder, "canary.yaml"))
}

// marked: whoever gives the version another name finds all places.
func marked(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(text), "\n") {
		if strings.Contains(line, candidate) != strings.Contains(line, " # VERSION") {
			t.Errorf("%s:%d: %s", file, i+1, line)
		}
	}
}

// policyOf is a policy for a route of the model.
const policyOf = `
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: fraud, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: fraud}]
  mode: Enforce
  deadline: 300ms
  detect: {nonFinite: {}}
  ladder:
  - safeDefault: {body: '{"model_name": "fraud", "outputs": [{"name": "score", "datatype": "FP32", "shape": [1], "data": [1.0]}]}'}
`

// TestFlaggersRouteCarriesAPolicy: what Flagger makes of the Canary is a route that
// safestate takes, with the weights that Flagger sets and the label that the latency
// is asked for by.
func TestFlaggersRouteCarriesAPolicy(t *testing.T) {
	c, client := canary(t), fake.NewSimpleClientset()
	mesh := router.NewFactory(nil, nil, client, nil, "", "", zap.NewNop().Sugar(), client, false).MeshRouter(c.Spec.Provider, "app")
	if err := mesh.Reconcile(c); err != nil {
		t.Fatal(err)
	}
	if err := mesh.SetRoutes(c, 95, 5, false); err != nil {
		t.Fatal(err)
	}
	route, err := client.GatewayapiV1().HTTPRoutes("default").Get(t.Context(), "fraud", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	route.APIVersion, route.Kind = "gateway.networking.k8s.io/v1", "HTTPRoute"
	text, err := yaml.Marshal(route)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string][]byte{"model": documents(t, filepath.Join(flaggerFolder, "canary.yaml"))[0], "policy": []byte(policyOf), "route": text} {
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	snapshot, problems := compile.Dir(dir)
	if snapshot == nil {
		t.Fatalf("%v\n%s", problems, text)
	}
	if len(snapshot.Routes) != 1 || snapshot.Routes[0].Policy == nil || !strings.HasPrefix(snapshot.Routes[0].Name, "default/fraud/") {
		t.Errorf("the routes are %+v", snapshot.Routes)
	}
	for _, v := range snapshot.Models[0].Versions {
		if want := map[string]int{"primary": 95, candidate: 5}[v.Name]; v.Weight != want {
			t.Errorf("%s has the weight %d, want %d", v.Name, v.Weight, want)
		}
	}
}

// TestRolloutIsAboutTheModel: it names what is in the file, and gives its templates all
// that they ask for.
func TestRolloutIsAboutTheModel(t *testing.T) {
	file := filepath.Join(argoFolder, "rollout.yaml")
	of := versions(t, file)
	canary := objects[argov1.Rollout](t, file, "argoproj.io/v1alpha1 Rollout")[0].Spec.Strategy.Canary
	if len(of) != 2 || of[canary.StableService] == "" || of[canary.CanaryService] != candidate {
		t.Errorf("the Services are %s and %s, and the model has %v", canary.StableService, canary.CanaryService, of)
	}
	service := objects[istiov1.VirtualService](t, file, "networking.istio.io/v1 VirtualService")[0]
	to := canary.TrafficRouting.Istio.VirtualService
	if to.Name != service.Name || !slices.Equal(to.Routes, []string{service.Spec.Http[0].Name}) || to.Routes[0] == "" {
		t.Errorf("it moves the weights of %+v, and there is %s with the route %q", to, service.Name, service.Spec.Http[0].Name)
	}
	for _, destination := range service.Spec.Http[0].Route {
		if of[destination.Destination.Host] == "" {
			t.Errorf("the model has no version behind %s", destination.Destination.Host)
		}
	}
	uses := []argov1.RolloutAnalysis{canary.Analysis.RolloutAnalysis}
	for _, step := range canary.Steps {
		if step.Analysis != nil {
			uses = append(uses, *step.Analysis)
		}
	}
	if len(uses) != 2 {
		t.Errorf("%d analyses", len(uses))
	}
	for _, use := range uses {
		given := map[string]string{}
		for _, arg := range use.Args {
			given[arg.Name] = arg.Value
		}
		for _, template := range use.Templates {
			asksFor(t, template.TemplateName, given)
		}
	}
	marked(t, file)
}

// asksFor holds what an analysis is given against what its template asks for.
func asksFor(t *testing.T, name string, given map[string]string) {
	t.Helper()
	templates := objects[argov1.AnalysisTemplate](t, filepath.Join(argoFolder, "analysis.yaml"), "argoproj.io/v1alpha1 AnalysisTemplate")
	i := slices.IndexFunc(templates, func(a *argov1.AnalysisTemplate) bool { return a.Name == name })
	if i < 0 {
		t.Fatalf("there is no AnalysisTemplate %s", name)
	}
	want := map[string]string{"model": "fraud", "route": "fraud", "version": candidate}
	for _, arg := range templates[i].Spec.Args {
		if arg.Value == nil && arg.ValueFrom == nil && given[arg.Name] != want[arg.Name] {
			t.Errorf("%s is given the %s %q, want %q", name, arg.Name, given[arg.Name], want[arg.Name])
		}
	}
}
