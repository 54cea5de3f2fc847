package install

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
)

// may reports whether a user may do something: verb resource.group[/subresource]
// namespace name, the last two "-" where there is none.
func may(t *testing.T, u *cluster.User, what string) bool {
	t.Helper()
	f := strings.Fields(what)
	resource, group, _ := strings.Cut(f[1], ".")
	group, _, _ = strings.Cut(group, "/")
	_, sub, _ := strings.Cut(f[1], "/")
	resource, _, _ = strings.Cut(resource, "/")
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
		Verb: f[0], Resource: resource, Group: group, Subresource: sub, Namespace: strings.Trim(f[2], "-"), Name: strings.Trim(f[3], "-"),
	}}}
	if err := u.Client.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// denied is what nobody of safestate's may do. The own namespace is no exception.
var denied = []string{
	"get secrets - -", "list secrets safestate-system -", "get secrets safestate-system safestate-control-tls", "watch secrets istio-system -", "create secrets safestate-system -",
	"list pods - -", "get pods safestate-system safestate-control-0", "create pods/exec safestate-system safestate-control-0", "create pods safestate-system -",
	"get configmaps safestate-system safestate-access", "update configmaps istio-system istio", "get services models fraud", "patch services models fraud", "list namespaces - -", "list nodes - -", "get endpoints models fraud",
	"create serviceaccounts/token safestate-system safestate-control", "impersonate users - -", "list serviceaccounts safestate-system -",
	"update deployments.apps safestate-system safestate-processor", "patch statefulsets.apps safestate-system safestate-control", "list deployments.apps models -", "update deployments.apps/scale models fraud",
	"create models.safestate.dev models -", "update models.safestate.dev models fraud", "patch models.safestate.dev models fraud", "delete models.safestate.dev models fraud",
	"patch failsafepolicies.safestate.dev models fraud", "delete failsafepolicies.safestate.dev models fraud", "create failsafepolicies.safestate.dev models -",
	"create killswitches.safestate.dev models -", "patch killswitches.safestate.dev models fraud", "delete killswitches.safestate.dev models fraud", "update models.safestate.dev/status models fraud",
	"list staterecords.safestate.dev models -", "create staterecords.safestate.dev istio-system -", "patch staterecords.safestate.dev safestate-system x", "deletecollection staterecords.safestate.dev safestate-system -",
	"get leases.coordination.k8s.io kube-system kube-scheduler", "update leases.coordination.k8s.io kube-system kube-controller-manager", "list leases.coordination.k8s.io - -",
	"create httproutes.gateway.networking.k8s.io models -", "delete httproutes.gateway.networking.k8s.io models fraud", "update httproutes.gateway.networking.k8s.io models fraud", "patch httproutes.gateway.networking.k8s.io/status models fraud",
	"delete grpcroutes.gateway.networking.k8s.io models scoring", "patch gateways.gateway.networking.k8s.io models public", "get gatewayclasses.gateway.networking.k8s.io - istio", "get referencegrants.gateway.networking.k8s.io models team-a", "patch referencegrants.gateway.networking.k8s.io models team-a",
	"create virtualservices.networking.istio.io models -", "delete virtualservices.networking.istio.io models rank", "update virtualservices.networking.istio.io models rank",
	"deletecollection envoyfilters.networking.istio.io istio-system -", "list destinationrules.networking.istio.io - -", "patch destinationrules.networking.istio.io models fraud",
	"list gateways.networking.istio.io - -", "create sidecars.networking.istio.io models -", "patch peerauthentications.security.istio.io istio-system default", "create authorizationpolicies.security.istio.io models -", "create wasmplugins.extensions.istio.io models -",
	"list customresourcedefinitions.apiextensions.k8s.io - -", "get customresourcedefinitions.apiextensions.k8s.io - staterecords.safestate.dev", "get customresourcedefinitions.apiextensions.k8s.io - virtualservices.networking.istio.io",
	"delete customresourcedefinitions.apiextensions.k8s.io - models.safestate.dev", "patch customresourcedefinitions.apiextensions.k8s.io - models.safestate.dev",
	"bind clusterroles.rbac.authorization.k8s.io - cluster-admin", "escalate clusterroles.rbac.authorization.k8s.io - safestate-control", "update clusterroles.rbac.authorization.k8s.io - safestate-control", "create rolebindings.rbac.authorization.k8s.io safestate-system -",
	"list events.events.k8s.io models -", "delete events.events.k8s.io models x", "create events models -",
	"create validatingwebhookconfigurations.admissionregistration.k8s.io - -", "create mutatingwebhookconfigurations.admissionregistration.k8s.io - -", "approve certificatesigningrequests.certificates.k8s.io - x",
}

// TestEverythingElseIsDenied asks the API server for what neither half of safestate
// needs. The processors, which need nothing, may do nothing at all.
func TestEverythingElseIsDenied(t *testing.T) {
	c := newCell(t)
	for _, what := range denied {
		if may(t, c.account, what) {
			t.Errorf("the control plane may %s", what)
		}
	}
	processor := c.api.ServiceAccount(t, own, "safestate-processor")
	for _, what := range append(slices.Clone(denied), c.rights()...) {
		if may(t, processor, what) {
			t.Errorf("a processor may %s", what)
		}
	}
}

// rights are those of the chart's roles, as may has them.
func (c *cell) rights() (out []string) {
	for _, g := range granted(c.t, c.objects) {
		f := strings.Fields(g) // where verb resource[/sub].group
		resource, group, _ := strings.Cut(f[2], ".")
		plain, sub, _ := strings.Cut(resource, "/")
		name, namespace := "-", map[string]string{"cluster": "models", "own": own}[f[0]]
		if plain == "customresourcedefinitions" {
			name, namespace = "models.safestate.dev", "-"
		}
		out = append(out, strings.TrimSuffix(fmt.Sprintf("%s %s.%s/%s", f[1], plain, group, sub), "/")+" "+namespace+" "+name)
	}
	return out
}

// TestEachRightIsGrantedOnce takes each verb away, by itself: then the request that
// TestRightsAreThoseThatAreUsed has seen is denied.
func TestEachRightIsGrantedOnce(t *testing.T) {
	c := newCell(t)
	for _, what := range c.rights() {
		dataplane.Eventually(t, patience, "the control plane may "+what, func() bool { return may(t, c.account, what) })
	}
	for _, kind := range []string{"ClusterRole", "Role"} {
		role := find(t, c.objects, kind, "safestate-control")
		for n := range asList(role.at("rules")) {
			for v := range asList(role.at("rules", n, "verbs")) {
				less := objects(t, "roles", textOf(t, c.objects))
				rule := find(t, less, kind, "safestate-control").at("rules", n).(map[string]any)
				verb := fmt.Sprint(asList(rule["verbs"])[v])
				if rule["verbs"] = slices.Delete(asList(rule["verbs"]), v, v+1); len(asList(rule["verbs"])) == 0 {
					clear(rule) // a rule without verbs is refused, one that allows nothing is not
					rule["nonResourceURLs"], rule["verbs"] = []any{"/none"}, []any{"get"}
				}
				lost := lostRights(c.rights(), (&cell{t: t, objects: less}).rights())
				c.api.Admin.Apply(t, "helm", textOf(t, []object{find(t, less, kind, "safestate-control")}))
				for _, what := range lost {
					dataplane.Eventually(t, patience, "denied: "+what, func() bool { return !may(t, c.account, what) })
				}
				if len(lost) == 0 {
					t.Errorf("%s: %s is granted twice", kind, verb)
				}
			}
		}
		c.api.Admin.Apply(t, "helm", textOf(t, []object{role}))
	}
}

func lostRights(all, less []string) []string {
	had := map[string]int{}
	for _, r := range all {
		had[r]++
	}
	for _, r := range less {
		had[r]--
	}
	maps.DeleteFunc(had, func(_ string, n int) bool { return n == 0 })
	return slices.Sorted(maps.Keys(had))
}

// TestApplyNeedsCreate: to apply an object that is not there takes the right to make
// one, which no request in the API server's log tells of.
func TestApplyNeedsCreate(t *testing.T) {
	c := newCell(t)
	const filter = "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: safestate, namespace: istio-system}\nspec: {}\n"
	role := find(t, c.objects, "ClusterRole", "safestate-control")
	for _, r := range asList(role.at("rules")) {
		if rule := r.(map[string]any); slices.Contains(asList(rule["resources"]), any("envoyfilters")) {
			rule["verbs"] = slices.DeleteFunc(asList(rule["verbs"]), func(v any) bool { return v == "create" })
		}
	}
	dataplane.Eventually(t, patience, "with the right, an object is made", func() bool { return c.account.TryApply(t.Context(), "safestate", filter) == nil })
	c.api.Admin.Delete(t, filter)
	c.api.Admin.Apply(t, "helm", textOf(t, []object{role}))
	dataplane.Eventually(t, patience, "an apply that makes an object is denied", func() bool {
		err := c.account.TryApply(t.Context(), "safestate", filter)
		if err == nil {
			c.api.Admin.Delete(t, filter)
		}
		return err != nil && strings.Contains(err.Error(), `cannot create resource "envoyfilters"`)
	})
}
