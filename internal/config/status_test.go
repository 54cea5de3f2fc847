package config_test

import (
	"testing"

	"github.com/safestate/safestate/internal/config"
)

// TestStatusIsTaken: what `kubectl get -o yaml` prints is a configuration. The
// status in it is read as strictly as the rest, and means nothing.
func TestStatusIsTaken(t *testing.T) {
	const model = `apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: fraud, creationTimestamp: null}
spec:
  protocol: OpenInferenceV2
  versions: [{name: v1, endpoints: [{address: 127.0.0.1, port: 9101}]}]
status: `
	for status, want := range map[string]string{
		`{observedGeneration: 2, conditions: [{type: Accepted, status: "False", reason: Invalid, message: "", lastTransitionTime: null}]}`: "",
		`null`:          "",
		`{colour: red}`: "a.yaml:7: status.colour: is no field; want conditions or observedGeneration",
	} {
		_, problems := config.Parse(config.File{Name: "a.yaml", Data: []byte(model + status)})
		got := ""
		for _, p := range problems {
			got += p.String()
		}
		if got != want {
			t.Errorf("%s: got %q; want %q", status, got, want)
		}
	}
}
