package config_test

import (
	"strings"
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/safestate/safestate/internal/config"
)

const grantedModel = `apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: chat, namespace: models}
spec:
  protocol: OpenAI
  versions:
  - {name: v1, backendRef: {name: chat-v1, port: 80}}
  - {name: v2, backendRef: {kind: InferencePool, name: chat-v2, port: 8000}}
`

// TestGrants: a route of another namespace leads to a version where a ReferenceGrant
// lets it, of that kind, from there, to what stands behind the version.
func TestGrants(t *testing.T) {
	const httpRoute, pool = "gateway.networking.k8s.io/HTTPRoute", "inference.networking.k8s.io/InferencePool"
	for _, c := range []struct {
		name            string
		kind, namespace string // of the rule
		in, from, of    string // of the grant: its namespace, and whom it lets
		to, only        string // what they may name, and by which name
		service         string
		granted         bool
	}{
		{"its own namespace", config.KindHTTPRoute, "models", "", "", "", "", "", "chat-v1", true},
		{"no grant", config.KindHTTPRoute, "team-a", "", "", "", "", "", "chat-v1", false},
		{"a grant", config.KindHTTPRoute, "team-a", "models", httpRoute, "team-a", "/Service", "", "chat-v1", true},
		{"by name", config.KindHTTPRoute, "team-a", "models", httpRoute, "team-a", "/Service", "chat-v1", "chat-v1", true},
		{"by another name", config.KindHTTPRoute, "team-a", "models", httpRoute, "team-a", "/Service", "chat-v2", "chat-v1", false},
		{"in another namespace", config.KindHTTPRoute, "team-a", "team-a", httpRoute, "team-a", "/Service", "", "chat-v1", false},
		{"from another namespace", config.KindHTTPRoute, "team-a", "models", httpRoute, "team-b", "/Service", "", "chat-v1", false},
		{"from another kind", config.KindGRPCRoute, "team-a", "models", httpRoute, "team-a", "/Service", "", "chat-v1", false},
		{"from another group", config.KindHTTPRoute, "team-a", "models", "networking.istio.io/HTTPRoute", "team-a", "/Service", "", "chat-v1", false},
		{"a GRPCRoute's", config.KindGRPCRoute, "team-a", "models", "gateway.networking.k8s.io/GRPCRoute", "team-a", "/Service", "", "chat-v1", true},
		{"a VirtualService's", config.KindVirtualService, "team-a", "models", "networking.istio.io/VirtualService", "team-a", "/Service", "", "chat-v1", true},
		{"to another kind", config.KindHTTPRoute, "team-a", "models", httpRoute, "team-a", "/Secret", "", "chat-v1", false},
		{"to another group", config.KindHTTPRoute, "team-a", "models", httpRoute, "team-a", "apps/Service", "", "chat-v1", false},
		{"a pool", config.KindHTTPRoute, "team-a", "models", httpRoute, "team-a", pool, "chat-v2", "pool", true},
		{"a pool is no Service", config.KindHTTPRoute, "team-a", "models", httpRoute, "team-a", "/Service", "", "pool", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			namespace, port := gatewayv1.Namespace("models"), gatewayv1.PortNumber(80)
			ref := gatewayv1.BackendRef{BackendObjectReference: gatewayv1.BackendObjectReference{Namespace: &namespace, Name: gatewayv1.ObjectName(c.service), Port: &port}}
			if c.service == "pool" {
				group, kind := gatewayv1.Group(config.GroupInference), gatewayv1.Kind("InferencePool")
				ref.Group, ref.Kind, ref.Name, ref.Port = &group, &kind, "chat-v2", nil
			}
			ref, ok := config.Served(ref)
			if !ok {
				t.Fatal("it is no Service")
			}
			rule := config.Rule{Kind: c.kind, Namespace: c.namespace, Route: "chat", Name: "score", Backends: []config.Backend{{BackendRef: ref}}, HTTP: &gatewayv1.HTTPRouteRule{}}
			var grants []*gatewayv1.ReferenceGrant
			if c.in != "" {
				group, kind, _ := strings.Cut(c.from, "/")
				toGroup, toKind, _ := strings.Cut(c.to, "/")
				to := gatewayv1.ReferenceGrantTo{Group: gatewayv1.Group(toGroup), Kind: gatewayv1.Kind(toKind)}
				if c.only != "" {
					name := gatewayv1.ObjectName(c.only)
					to.Name = &name
				}
				g := &gatewayv1.ReferenceGrant{Spec: gatewayv1.ReferenceGrantSpec{
					From: []gatewayv1.ReferenceGrantFrom{{Group: gatewayv1.Group(group), Kind: gatewayv1.Kind(kind), Namespace: gatewayv1.Namespace(c.of)}},
					To:   []gatewayv1.ReferenceGrantTo{to},
				}}
				g.Namespace, g.Name = c.in, "g"
				grants = append(grants, g)
			}
			w, problems := config.ParseMesh([]config.Rule{rule}, grants, config.File{Name: "a.yaml", Data: []byte(grantedModel)})
			if problems.Failed() {
				t.Fatal(problems)
			}
			if m, _ := w.Behind(&w.Mesh[0], &w.Mesh[0].Backends[0]); (m != nil) != c.granted {
				t.Errorf("it leads to a model: %v", m != nil)
			}
			said := w.Ungranted()
			if (len(said) == 0) != c.granted {
				t.Errorf("said: %v", said)
			}
			if len(said) == 1 && !strings.Contains(said[0].String(), "want a ReferenceGrant in models for "+c.kind+"s of team-a") {
				t.Errorf("said: %s", &said[0])
			}
		})
	}
}

// TestGrantsInFiles: files have ReferenceGrants as a cluster has them, of either
// version, and what they let a route name needs no other word.
func TestGrantsInFiles(t *testing.T) {
	for _, version := range []string{"v1", "v1beta1"} {
		w, problems := config.Parse(config.File{Name: "a.yaml", Data: []byte(grantedModel + `---
apiVersion: gateway.networking.k8s.io/` + version + `
kind: ReferenceGrant
metadata: {name: team-a, namespace: models, creationTimestamp: null}
spec:
  from:
  - {group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: team-a}
  - {group: gateway.networking.k8s.io, kind: Gateway, namespace: team-b}
  to: [{group: "", kind: Service, name: chat-v1}, {group: "", kind: Secret}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: chat, namespace: team-a}
spec: {rules: [{backendRefs: [{name: chat-v1, namespace: models, port: 80}, {name: chat-v1, port: 80}]}]}
---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: own, namespace: team-a}
spec: {protocol: OpenAI, versions: [{name: v1, backendRef: {name: chat-v1, port: 80}}]}
---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: chat, namespace: team-a}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: chat}]
  deadline: 1s
  detect: {broken: {}}
  ladder:
  - safeDefault: {body: '{"id":"x","object":"chat.completion","created":1,"model":"chat","choices":[{"index":0,"message":{"role":"assistant","content":"Not now."},"finish_reason":"stop"}]}'}
`)})
		if problems.Failed() {
			t.Errorf("%s: %v", version, problems)
			continue
		}
		rules := w.Rules()
		if m, index := w.Behind(&rules[0], &rules[0].Backends[0]); m == nil || m.Key() != "models/chat" || index != 0 {
			t.Errorf("%s: it leads to %v", version, m)
		}
		if m, _ := w.Behind(&rules[0], &rules[0].Backends[1]); m == nil || m.Key() != "team-a/own" {
			t.Errorf("%s: its own leads to %v", version, m)
		}
		var back gatewayv1.ReferenceGrant
		if text, err := yaml.Marshal(w.Grants[0].Value); err != nil || yaml.UnmarshalStrict(text, &back) != nil || len(back.Spec.From) != 2 {
			t.Errorf("%s: read as %s, err %v", version, text, err)
		}
	}
}
