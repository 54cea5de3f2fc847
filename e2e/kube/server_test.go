package kube

import (
	"context"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/safestate/safestate/e2e/istio/cluster"
)

const role = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: writer, namespace: models}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, create, patch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: writer, namespace: models}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: writer}
subjects: [{kind: ServiceAccount, name: robot, namespace: models}]
`

const note = `
apiVersion: v1
kind: ConfigMap
metadata: {name: note, namespace: models}
data: {text: kept}
`

// TestTheServerIsReal: the ground that the other tests stand on decides by
// RBAC, has our kinds, and keeps what it took over a stop and over a crash.
func TestTheServerIsReal(t *testing.T) {
	api := cluster.StartAPI(t, cluster.Options{
		CRDs:       []cluster.CRDs{cluster.Safestate, cluster.GatewayAPI, cluster.Istio},
		Namespaces: []string{"models"},
		Users:      map[string][]string{"nobody": nil},
	})
	robot := api.ServiceAccount(t, "models", "robot")
	if err := robot.TryApply(t.Context(), "test", note); !apierrors.IsForbidden(err) {
		t.Fatalf("a service account without a binding wrote: %v", err)
	}
	api.Admin.Apply(t, "test", role)
	robot.Apply(t, "test", note)
	if err := api.As("nobody").TryApply(t.Context(), "test", note); !apierrors.IsForbidden(err) {
		t.Fatalf("a user without a binding wrote: %v", err)
	}

	api.Stop()
	api.Start()
	kept(t, robot)
	api.Kill()
	api.Start()
	kept(t, robot)

	api.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := robot.Get(ctx, "v1 ConfigMap", "models", "note"); err == nil {
		t.Fatal("a frozen server answered")
	}
	api.Thaw()
	api.WaitReady()
	kept(t, robot)
}

func kept(t *testing.T, u *cluster.User) {
	t.Helper()
	object, err := u.Get(t.Context(), "v1 ConfigMap", "models", "note")
	if err != nil {
		t.Fatal(err)
	}
	data, ok := object.Object["data"].(map[string]any)
	if !ok || data["text"] != "kept" {
		t.Fatalf("after a start: %v", object.Object)
	}
}

// TestTheServerHoldsOurKinds: what istio/crds says is refused is refused.
func TestTheServerHoldsOurKinds(t *testing.T) {
	api := cluster.StartAPI(t, cluster.Options{CRDs: []cluster.CRDs{cluster.Safestate}})
	err := api.Admin.TryApply(t.Context(), "test", "apiVersion: safestate.dev/v1alpha1\nkind: KillSwitch\nmetadata: {name: empty, namespace: default}\nspec: {}\n")
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec") {
		t.Fatalf("an empty KillSwitch: %v", err)
	}
	if out, err := cluster.Kubectl(t, api.Admin, "", "get", "killswitches"); err != nil || !strings.Contains(out, "No resources found") {
		t.Fatalf("kubectl get killswitches: %v %s", err, out)
	}
}
