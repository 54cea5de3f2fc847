package main

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/wasm/emulator"
)

// module is what `make wasm` builds.
const module = "./wasm"

// fraud is the route of the fraud sample, as Envoy tells the filter of it.
var fraud = sync.OnceValues(func() (emulator.Route, error) {
	snapshot, problems := compile.Dir(filepath.Join(dataplane.Root(), "docs", "samples", "fraud"))
	if snapshot == nil {
		return emulator.Route{}, fmt.Errorf("the fraud sample: %v", problems)
	}
	r := snapshot.Routes[0]
	return emulator.Route{
		Name: r.Name, Cluster: r.Backends[0].Cluster,
		Metadata: map[string]map[string]string{policy.MetadataNamespace: {
			policy.MetadataPolicy: r.PolicyJSON, policy.MetadataPolicyDigest: policy.Digest(r.PolicyJSON),
		}},
	}, nil
})

func fraudRoute(t testing.TB) emulator.Route {
	t.Helper()
	r, err := fraud()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// question is a request that the fraud model answers.
var question = emulator.Request{
	Path:    "/v2/models/fraud/infer",
	Headers: [][2]string{{"content-type", "application/json"}},
	Body:    `{"id":"1","parameters":{"amount":250.0,"account_age_days":900.0},"inputs":[{"name":"features","shape":[1,2],"datatype":"FP32","data":[1,2]}]}`,
}

// scored is the model's answer with a score.
func scored(score string) emulator.Answer {
	return emulator.Answer{
		Headers: [][2]string{{"content-type", "application/json"}},
		Body: `{"model_name":"fraud","id":"1","outputs":[` +
			`{"name":"score","shape":[1],"datatype":"FP32","data":[` + score + `]},` +
			`{"name":"label","shape":[1],"datatype":"INT64","data":[0]},` +
			`{"name":"probabilities","shape":[1,2],"datatype":"FP32","data":[0.9,0.1]}]}`,
	}
}
