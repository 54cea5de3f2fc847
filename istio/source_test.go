package istio_test

import (
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/istio"
)

// TestBackendsOfEveryKind: an InferencePool is a version as a Service is, by the
// Service that istiod makes of it; what is another kind is nobody's here, whatever it
// is called, and another namespace's is in that.
func TestBackendsOfEveryKind(t *testing.T) {
	var route gatewayv1.HTTPRoute
	if err := yaml.Unmarshal([]byte(`
metadata: {name: chat, namespace: models}
spec:
  rules:
  - backendRefs:
    - {name: chat-v1, port: 80, weight: 1}
    - {group: inference.networking.k8s.io, kind: InferencePool, name: chat-v2, weight: 2}
    - {name: chat-v1, port: 80, namespace: other, weight: 4}
    - {group: example.com, kind: Bucket, name: chat-v1, port: 80, weight: 8}
    - {name: chat-v1, weight: 16}
`), &route); err != nil {
		t.Fatal(err)
	}
	got := istio.HTTPRouteRules(&route)[0].Backends
	if len(got) != 3 || got[2].In("models") != "other" || got[1].In("models") != "models" || got[0].Name != "chat-v1" || *got[0].Port != 80 || got[1].Name != "chat-v2-ip-519899da" || *got[1].Port != 54321 {
		t.Errorf("got %+v", got)
	}
	_, problems := config.ParseMesh(istio.HTTPRouteRules(&route), nil, config.File{Name: "a.yaml", Data: []byte(`
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: chat, namespace: models}
spec:
  protocol: OpenAI
  versions:
  - {name: v1, backendRef: {name: chat-v1, port: 80}}
  - {name: v2, backendRef: {kind: InferencePool, name: chat-v2, port: 8000}}
`)})
	if problems.Failed() {
		t.Fatal(problems)
	}
}
