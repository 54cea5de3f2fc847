package install

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
)

func TestMain(m *testing.M) {
	code := m.Run()
	dataplane.Cleanup()
	os.Exit(code)
}

// foreign are the kinds of others that the chart has objects of, as they publish them.
func foreign(t testing.TB) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join("testdata", "foreign", "*.yaml"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no definitions: %v", err)
	}
	return found
}

// variants are ways to install.
var variants = map[string]values{
	"as it is": nil,
	"with everything": {
		"image":        values{"digest": "sha256:" + strings.Repeat("0", 64), "pullSecrets": []any{values{"name": "pull"}}},
		"certificates": values{"certManager": values{"enabled": true}},
		"monitoring":   values{"enabled": true, "labels": values{"release": "prometheus"}},
		"control": values{
			"replicas": 3, "accessSecret": "access", "notifySecret": "notify", "auditAnchors": []any{"https://anchor.example/heads"}, "policyKeyAge": "2160h",
			"extraArgs": []any{"--log-level=debug"}, "podLabels": values{"team": "ml"}, "podAnnotations": values{"a": "b"}, "priorityClassName": "system-cluster-critical",
			"nodeSelector": values{"disk": "ssd"}, "tolerations": []any{values{"key": "ml", "operator": "Exists"}},
			"persistence": values{"storageClass": "fast", "size": "5Gi"},
		},
		"processor": values{
			"autoscaling": values{"enabled": true}, "redis": "redis://redis.cache:6379", "redisPasswordSecret": "redis", "longestStreamSeconds": 3600,
			"extraVolumes":      []any{values{"name": "keys", "secret": values{"secretName": "fallbacks"}}},
			"extraVolumeMounts": []any{values{"name": "keys", "mountPath": "/etc/safestate/files/models/keys"}},
			"affinity":          values{"nodeAffinity": values{}},
		},
		"spread": values{"whenUnsatisfiable": "DoNotSchedule"},
		"networkPolicy": values{
			"proxies":         []any{values{"namespaceSelector": values{"matchLabels": values{"kubernetes.io/metadata.name": "gateways"}}}},
			"controlEgress":   []any{values{"ports": []any{values{"port": 9090}}}},
			"processorEgress": []any{values{"ports": []any{values{"port": 8000}}}},
		},
	},
	"beside gateways, nothing kept": {
		"processor": values{"enabled": false, "address": "unix:/var/run/safestate/grpc.sock", "answers": "unix:/var/run/safestate/answers.sock"},
		"control":   values{"persistence": values{"enabled": false}}, "certificates": values{"certManager": values{"enabled": true, "issuer": values{"kind": "ClusterIssuer", "name": "own"}}},
		"networkPolicy": values{"enabled": false}, "roles": values{"create": false}, "monitoring": values{"enabled": true},
	},
}

func startAPI(t *testing.T) *cluster.API {
	t.Helper()
	api := cluster.StartAPI(t, cluster.Options{CRDs: []cluster.CRDs{cluster.Safestate, cluster.GatewayAPI, cluster.Istio, foreign}, Namespaces: []string{cluster.RootNamespace}})
	api.Admin.Apply(t, "test", read(t, "istio/install/kustomize/namespace.yaml"))
	return api
}

// dryRun has the API server say what it thinks of objects, and keeps none. A field
// that it does not know is a refusal too.
func dryRun(t *testing.T, api *cluster.API, text string) (string, error) {
	t.Helper()
	return cluster.Kubectl(t, api.Admin, text, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-")
}

// TestTheAPIServerTakesIt: every object of every way to install, and its pods under
// the namespace's restricted profile.
func TestTheAPIServerTakesIt(t *testing.T) {
	api := startAPI(t)
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			all := render(t, v)
			out, err := dryRun(t, api, textOf(t, all))
			if err != nil || strings.Contains(out, "Warning") {
				t.Fatalf("%v: %s", err, out)
			}
			if n := strings.Count(out, "serverside-applied"); n != len(all) {
				t.Errorf("%d of %d objects were taken:\n%s", n, len(all), out)
			}
			for _, o := range all {
				if o.kind() != "StatefulSet" && o.kind() != "Deployment" {
					continue
				}
				if out, err := dryRun(t, api, textOf(t, []object{podOf(o)})); err != nil {
					t.Errorf("a pod of %s: %v: %s", o, err, out)
				}
			}
		})
	}
	for _, dir := range []string{"kustomize", "kustomize/both"} {
		folder := filepath.Join(dataplane.Root(), "istio", "install", dir)
		if dir == "kustomize/both" {
			folder = withComponents(t)
		}
		if out, err := cluster.Kubectl(t, api.Admin, "", "apply", "--server-side", "--dry-run=server", "--validate=strict", "-k", folder); err != nil || strings.Contains(out, "Warning") {
			t.Errorf("apply -k %s: %v: %s", dir, err, out)
		}
	}
}

// withComponents is a kustomization as a team writes it.
func withComponents(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	base, err := filepath.Rel(folder, filepath.Join(dataplane.Root(), "istio", "install", "kustomize"))
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("resources: [%s]\ncomponents: [%s/cert-manager, %s/monitoring]\nimages: [{name: safestate, newName: mirror/safestate, newTag: 1.2.3}]\n", base, base, base)
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// podOf is a pod as the controller of a workload makes it.
func podOf(o object) object {
	template, _ := o.at("spec", "template").(map[string]any)
	spec, _ := template["spec"].(map[string]any)
	for _, c := range asList(o.at("spec", "volumeClaimTemplates")) {
		name := object(c.(map[string]any)).name()
		volumes, _ := spec["volumes"].([]any)
		spec["volumes"] = append(volumes, map[string]any{"name": name, "persistentVolumeClaim": map[string]any{"claimName": name}})
	}
	return object{
		"apiVersion": "v1", "kind": "Pod", "spec": spec,
		"metadata": map[string]any{"name": o.name() + "-0", "namespace": own, "labels": template["metadata"].(map[string]any)["labels"]},
	}
}

func asList(v any) []any {
	l, _ := v.([]any)
	return l
}

// TestTheAPIServerLooks: what the other test relies on being refused is.
func TestTheAPIServerLooks(t *testing.T) {
	api := startAPI(t)
	all := render(t, variants["with everything"])
	for name, c := range map[string]struct {
		change func() object
		want   string
	}{
		"a pod as root": {func() object {
			o := podOf(find(t, all, "Deployment", "safestate-processor"))
			o.at("spec", "securityContext").(map[string]any)["runAsNonRoot"] = false
			return o
		}, "violates PodSecurity"},
		"a field that no Deployment has": {func() object {
			o := find(t, all, "Deployment", "safestate-processor")
			o.at("spec").(map[string]any)["replica"] = 3
			return o
		}, "replica"},
		"a field that no ServiceMonitor has": {func() object {
			o := find(t, all, "ServiceMonitor", "safestate-control")
			o.at("spec", "endpoints", 0).(map[string]any)["intervall"] = "1s"
			return o
		}, "intervall"},
		"an alert without an expression": {func() object {
			o := find(t, all, "PrometheusRule", "safestate")
			delete(o.at("spec", "groups", 0, "rules", 0).(map[string]any), "expr")
			return o
		}, "expr"},
		"a certificate without an issuer": {func() object {
			o := find(t, all, "Certificate", "safestate-control")
			delete(o.at("spec").(map[string]any), "issuerRef")
			return o
		}, "issuerRef"},
	} {
		if out, err := dryRun(t, api, textOf(t, []object{c.change()})); err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}
