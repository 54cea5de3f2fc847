package install

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/safestate/safestate/e2e/dataplane"
)

// everyKind has a route of each kind, with a model in two versions behind it.
const everyKind = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: fraud, namespace: models}
spec:
  parentRefs: [{name: public}]
  rules:
  - name: score
    matches: [{path: {type: PathPrefix, value: /v2/models/fraud}}]
    backendRefs: [{name: fraud-v1, port: 80, weight: 100}, {name: fraud-v2, port: 80, weight: 0}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: scoring, namespace: models}
spec:
  parentRefs: [{name: public}]
  rules:
  - name: infer
    matches: [{method: {service: inference.GRPCInferenceService}}]
    backendRefs: [{name: scoring-v1, port: 80, weight: 100}, {name: scoring-v2, port: 80, weight: 0}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: rank, namespace: models}
spec:
  hosts: [rank.models.svc.cluster.local]
  http:
  - name: rank
    route:
    - {destination: {host: rank.models.svc.cluster.local, subset: v1, port: {number: 80}}, weight: 100}
    - {destination: {host: rank.models.svc.cluster.local, subset: v2, port: {number: 80}}, weight: 0}
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: fraud, namespace: models}
spec: {protocol: OpenInferenceV2, versions: [{name: v1, backendRef: {name: fraud-v1, port: 80}}, {name: v2, backendRef: {name: fraud-v2, port: 80}}]}
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: scoring, namespace: models}
spec: {protocol: OpenInferenceV2, versions: [{name: v1, backendRef: {name: scoring-v1, port: 80}}, {name: v2, backendRef: {name: scoring-v2, port: 80}}]}
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: rank, namespace: models}
spec: {protocol: OpenInferenceV2, versions: [{name: v1, backendRef: {name: rank, port: 80, subset: v1}}, {name: v2, backendRef: {name: rank, port: 80, subset: v2}}]}
`

const fraudPolicy = `
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: fraud, namespace: models}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: fraud}]
  mode: Enforce
  deadline: 10s
  detect: {nonFinite: {}, broken: {}, late: {}}
  ladder:
  - safeDefault: {body: '{"model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.0]}]}'}
`

// scoringPolicy is one that no proxy of a mesh carries: its route says so all the same.
const scoringPolicy = `
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: scoring, namespace: models}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: GRPCRoute, name: scoring}]
  mode: Enforce
  deadline: 2s
  detect: {nonFinite: {}}
  ladder:
  - safeDefault: {body: '{"model_name":"scoring","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.0]}]}'}
`

const killOfRank = `
apiVersion: safestate.dev/v1alpha1
kind: KillSwitch
metadata: {name: rank-v2, namespace: models}
spec: {target: {scope: Version, model: rank, version: v2}, reason: scores are wrong}
`

// meddled is what somebody adds to the EnvoyFilter of that kill, by which it is for no
// proxy any more.
const meddled = `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: safestate-virtualservice-models-rank-sidec-5913bf2511da9f1d5be1, namespace: istio-system}
spec: {workloadSelector: {labels: {app: none}}}
`

// audited has the API server write down every request.
func audited(t *testing.T) (flags []string, log string) {
	t.Helper()
	dir := folder(t, map[string]string{"policy.yaml": "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n"})
	log = filepath.Join(dir, "audit.log")
	return []string{"--audit-policy-file=" + filepath.Join(dir, "policy.yaml"), "--audit-log-path=" + log}, log
}

// request is one that was answered.
type request struct {
	User      struct{ Username string }
	Verb      string
	ObjectRef struct{ Resource, APIGroup, Subresource, Namespace, Name string }
	Status    struct{ Code int } `json:"responseStatus"`
}

// right is a verb on a resource: cluster-wide, or in safestate's own namespace.
func (r *request) right() string {
	where := "cluster"
	if r.ObjectRef.Namespace == own && (r.ObjectRef.APIGroup == "coordination.k8s.io" || r.ObjectRef.Resource == "staterecords") {
		where = "own"
	}
	resource := strings.TrimSuffix(r.ObjectRef.Resource+"/"+r.ObjectRef.Subresource, "/")
	return fmt.Sprintf("%s %s %s.%s", where, r.Verb, resource, r.ObjectRef.APIGroup)
}

func requestsOf(t *testing.T, log, user string) (out []request) {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var r request
		if json.Unmarshal([]byte(line), &r) == nil && r.User.Username == user && r.ObjectRef.Resource != "" {
			out = append(out, r)
		}
	}
	return out
}

// granted are the rights that the chart's roles give the control plane.
func granted(t *testing.T, all []object) (out []string) {
	t.Helper()
	for where, kind := range map[string]string{"cluster": "ClusterRole", "own": "Role"} {
		for _, rule := range asList(find(t, all, kind, "safestate-control").at("rules")) {
			r := object(rule.(map[string]any))
			for _, verb := range asList(r.at("verbs")) {
				for _, resource := range asList(r.at("resources")) {
					out = append(out, fmt.Sprintf("%s %s %s.%s", where, verb, resource, r.at("apiGroups", 0)))
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// TestRightsAreThoseThatAreUsed has the control plane do all that it does, with no
// more than the chart's roles. Nothing that it asks for is denied, and it asks for
// everything that it is granted.
func TestRightsAreThoseThatAreUsed(t *testing.T) {
	flags, log := audited(t)
	c := newCell(t, flags...)
	c.api.Admin.Apply(t, "test", everyKind+"---"+fraudPolicy+"---"+scoringPolicy)
	p := c.control(0)
	c.doesEverything(p)
	c.stop(p)
	// A watch gives the list as well, but where a server does not do that.
	t.Setenv("KUBE_FEATURE_WatchListClient", "false")
	c.stop(c.control(1))
	used := map[string]bool{"cluster create envoyfilters.networking.istio.io": true} // an apply that makes an object asks for it besides: TestApplyNeedsCreate
	for _, r := range requestsOf(t, log, c.account.Name) {
		if r.Status.Code == 403 {
			t.Errorf("denied: %s %s/%s", r.right(), r.ObjectRef.Namespace, r.ObjectRef.Name)
		}
		used[r.right()] = true
	}
	for _, g := range granted(t, c.objects) {
		if !used[g] {
			t.Errorf("granted and not used: %s", g)
		}
		delete(used, g)
	}
	for u := range used {
		t.Errorf("used and not granted: %s", u)
	}
}

// doesEverything brings the control plane to all that it writes.
func (c *cell) doesEverything(p *pod) {
	t := c.t
	t.Helper()
	condition := func(kind, name, want string) {
		t.Helper()
		dataplane.Eventually(t, patience, kind+" "+name+": "+want, func() bool {
			o, err := c.api.Admin.Get(t.Context(), "safestate.dev/v1alpha1 "+kind, "models", name)
			return err == nil && strings.Contains(fmt.Sprint(o.Object["status"]), want)
		})
	}
	condition("FailSafePolicy", "fraud", "type:Programmed")
	condition("Model", "fraud", "type:Accepted")
	condition("FailSafePolicy", "scoring", "type:Programmed")
	for model, route := range map[string]string{
		"fraud": "gateway.networking.k8s.io/v1 HTTPRoute fraud", "scoring": "gateway.networking.k8s.io/v1 GRPCRoute scoring", "rank": "networking.istio.io/v1 VirtualService rank",
	} {
		kind, name := route[:strings.LastIndex(route, " ")], route[strings.LastIndex(route, " ")+1:]
		had := c.weights(kind, name)
		moved := func() bool { return !slices.Equal(c.weights(kind, name), had) }
		if out, err := c.command(p, "rollout", "start", "models/"+model, "v2", "--reason", "new", "--step", "10,10m,100", "--step", "100"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		dataplane.Eventually(t, patience, "the weights of "+route+" move", moved)
		if out, err := c.command(p, "rollout", "abort", "models/"+model, "--reason", "not now"); err != nil { // the second Event of its kind
			t.Fatalf("%v: %s", err, out)
		}
		dataplane.Eventually(t, patience, "the weights of "+route+" are back", func() bool { return !moved() })
	}
	c.api.Admin.Apply(t, "test", killOfRank)
	condition("KillSwitch", "rank-v2", "killed:true")
	dataplane.Eventually(t, patience, "the mesh is told", func() bool { return strings.Contains(c.filters(), "models-rank") })
	c.api.Admin.Apply(t, "test", meddled)
	dataplane.Eventually(t, patience, "what others add is taken out", func() bool { return !strings.Contains(c.filters(), "workloadSelector") })
	c.api.Admin.Delete(t, fraudPolicy+"---"+scoringPolicy)
	dataplane.Eventually(t, patience, "the policies are taken out of the mesh", func() bool { return !strings.Contains(c.filters(), "policy_signature") })
	c.api.Admin.Delete(t, everyKind)
	dataplane.Eventually(t, patience, "routes are as they were", func() bool { return !strings.Contains(c.filters(), "models-") })
}

// weights are those of a route's first rule.
func (c *cell) weights(kind, name string) (out []int64) {
	c.t.Helper()
	o, err := c.api.Admin.Get(c.t.Context(), kind, "models", name)
	if err != nil {
		c.t.Fatal(err)
	}
	rules, list := "rules", "backendRefs"
	if strings.HasSuffix(kind, "VirtualService") {
		rules, list = "http", "route"
	}
	for _, b := range asList(object(o.Object).at("spec", rules, 0, list)) {
		w, _, _ := unstructured.NestedInt64(b.(map[string]any), "weight")
		out = append(out, w)
	}
	return out
}
