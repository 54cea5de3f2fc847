package config_test

import (
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/config"
)

// TestFilesOfAMesh: each field of an object that names a file of the processor, which
// in a mesh has to be one of the object's own namespace.
func TestFilesOfAMesh(t *testing.T) {
	const (
		model = `
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: fraud, namespace: models}
spec:
  protocol: OpenInferenceV2
  versions: [{name: v1, endpoints: [{address: 127.0.0.1, port: 9101}]}]
`
		refresh = `
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: fraud, namespace: models}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: none}]
  deadline: 80ms
  ladder:
  - safeDefault: {body: '{"model_name": "fraud", "outputs": [{"name": "score", "datatype": "FP32", "shape": [1], "data": [0.0]}]}', refresh: {file: `
		below = "; want a file below /etc/safestate/files/models/, written without . and .."
	)
	for name, c := range map[string]struct{ text, field string }{
		"credentials": {model + "  credentials: {authorizationFile: %}\n", "spec.credentials.authorizationFile"},
		"authorities": {model + "  tls: {caFile: %}\n", "spec.tls.caFile"},
		"certificate": {model + "  tls: {certFile: %, keyFile: /etc/safestate/files/models/key}\n", "spec.tls.certFile"},
		"key":         {model + "  tls: {certFile: /etc/safestate/files/models/cert, keyFile: %}\n", "spec.tls.keyFile"},
		"default":     {refresh + "%}}\n", "spec.ladder[0].safeDefault.refresh.file"},
	} {
		for file, taken := range map[string]bool{
			"/etc/safestate/files/models/x":           true,
			"/etc/safestate/files/models/deep/x":      true,
			"/etc/safestate/files/payments/x":         false,
			"/etc/safestate/files/models/../payments": false,
			"/etc/safestate/files/models/":            false,
			"/etc/safestate/tls/tls.key":              false,
			"x":                                       false,
		} {
			text := config.File{Name: "a.yaml", Data: []byte(strings.Replace(c.text, "%", file, 1))}
			_, problems := config.ParseMesh(nil, nil, text)
			want := `is "` + file + `"` + below
			if taken {
				want = ""
			}
			got := ""
			for _, p := range problems {
				if p.Field == c.field { // a warning as well: no file of the processor is here
					got += p.Message
				}
			}
			if got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
			_, problems = config.Parse(text)
			for _, p := range problems {
				if p.Field == c.field && !p.Warning {
					t.Errorf("%s beside plain Envoy: %s", name, p)
				}
			}
		}
	}
}
