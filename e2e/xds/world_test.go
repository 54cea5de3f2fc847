package xds

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
)

const (
	modelPath = "/score"
	modelName = "score"
)

// share is what one version gets of the traffic.
type share struct {
	version string
	port    int
	weight  int // percent
}

// world renders a route to one model, without a policy: what is tested here is
// the way to the proxies, and not what answers fail.
func world(t testing.TB, o envoy.Options, shares ...share) *envoy.Resources {
	t.Helper()
	r, err := envoy.Render(compiled(t, shares...), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func compiled(t testing.TB, shares ...share) *compile.Snapshot {
	t.Helper()
	text := `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: score, namespace: default}
spec:
  parentRefs: [{name: inference}]
  rules:
  - name: all
    matches: [{path: {type: PathPrefix, value: ` + modelPath + `}}]
    backendRefs:
` + backendRefs(shares) + modelObject("JSON", shares)
	s, problems := compile.Files(config.File{Name: "world.yaml", Data: []byte(text)})
	if s == nil {
		t.Fatal(problems)
	}
	return s
}

func backendRefs(shares []share) string {
	var out strings.Builder
	for _, s := range shares {
		fmt.Fprintf(&out, "    - {name: score-%s, port: 80, weight: %d}\n", s.version, s.weight)
	}
	return out.String()
}

func modelObject(protocol string, shares []share) string {
	var out strings.Builder
	fmt.Fprintf(&out, `---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: %s, namespace: default}
spec:
  protocol: %s
  failureDomain: a
  connectTimeout: 10s
  versions:
`, modelName, protocol)
	for _, s := range shares {
		fmt.Fprintf(&out, "  - name: %s\n    backendRef: {name: score-%s, port: 80}\n    endpoints: [{address: 127.0.0.1, port: %d, grpcPort: %d}]\n",
			s.version, s.version, s.port, s.port)
	}
	return out.String()
}

// clusterOf is the name of a version's cluster.
func clusterOf(version string) string { return "default/" + modelName + "/" + version }

// clusterNames are those of a configuration, in order.
func clusterNames(r *envoy.Resources) []string {
	var out []string
	for _, c := range r.Clusters {
		out = append(out, c.GetName())
	}
	slices.Sort(out)
	return out
}
