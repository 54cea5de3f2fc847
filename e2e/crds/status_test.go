package crds

import (
	"testing"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
)

// exported is a Model as `kubectl get -o yaml` prints it.
const exported = `
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata:
  name: fraud
  namespace: default
  creationTimestamp: "2026-01-02T03:04:05Z"
  generation: 2
  resourceVersion: "17"
  uid: 6f1f9a34-0000-4000-8000-000000000000
spec:
  protocol: OpenInferenceV2
  versions:
  - name: v1
    endpoints: [{address: 127.0.0.1, port: 9101}]
status:
  observedGeneration: 2
  conditions:
  - type: Accepted
    status: "True"
    reason: Accepted
    message: ""
    observedGeneration: 2
    lastTransitionTime: "2026-01-02T03:04:05Z"
`

// TestExported: an object that came from a cluster is a file that safestate
// takes, status and all, and goes back.
func TestExported(t *testing.T) {
	if _, problems := compile.Files(config.File{Name: "a.yaml", Data: []byte(exported)}); len(problems) > 0 {
		t.Error(problems)
	}
	if _, refused := newServer(t).file(t.Context(), []byte(exported)); len(refused) > 0 {
		t.Error(refused)
	}
}
