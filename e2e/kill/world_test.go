package kill

import (
	"fmt"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
)

// versions are the servers of a row's two versions. The first has all the weight
// unless a test says otherwise.
type versions [2]*model

// asked is what reached them.
func (v versions) asked() int64 { return v[0].asked.Load() + v[1].asked.Load() }

// extra is what a test adds to a row's objects, each as a line of YAML.
type extra struct {
	rule    string // of the route
	model   string
	address string // of the endpoints; empty: 127.0.0.1
	weights [2]int // zero: 100 and 0
}

// route is one rule to a row's model, which is told from the others by the path or,
// over gRPC, by a header.
func (r *row) route(x extra) string {
	kind, match := "HTTPRoute", "{path: {type: PathPrefix, value: /"+r.name+"}}"
	if r.lastRung != "" {
		kind, match = "GRPCRoute", "{headers: [{name: x-route, value: "+r.name+"}]}"
	}
	if x.weights == [2]int{} {
		x.weights = [2]int{100, 0}
	}
	return fmt.Sprintf(`---
apiVersion: gateway.networking.k8s.io/v1
kind: %s
metadata: {name: %s, namespace: default}
spec:
  parentRefs: [{name: inference}]
  rules:
  - name: all
    matches: [%[3]s]
    %[4]s
    backendRefs: [{name: %[2]s-v1, port: 80, weight: %[5]d}, {name: %[2]s-v2, port: 80, weight: %[6]d}]
`, kind, r.name, match, x.rule, x.weights[0], x.weights[1])
}

func (r *row) objects(v versions, x extra) string {
	spec := r.spec
	if spec == "" {
		spec = string(r.protocol)
	}
	if x.address == "" {
		x.address = "127.0.0.1"
	}
	var out strings.Builder
	out.WriteString(r.route(x))
	fmt.Fprintf(&out, `---
apiVersion: safestate.dev/v1alpha1
kind: Model
metadata: {name: %s, namespace: default}
spec:
  protocol: %s
  failureDomain: a
  connectTimeout: 10s
  %s
  versions:
`, r.name, spec, x.model)
	for i, m := range v {
		fmt.Fprintf(&out, "  - {name: v%d, backendRef: {name: %s-v%[1]d, port: 80}, endpoints: [{address: %[3]s, port: %[4]d}]}\n", i+1, r.name, x.address, m.port)
	}
	if r.standard != "" {
		out.WriteString(r.policy())
	}
	return out.String()
}

// policy has a deadline for a busy machine.
func (r *row) policy() string {
	kind, rung := "HTTPRoute", ""
	if r.lastRung != "" {
		kind, rung = "GRPCRoute", "grpcLastRung: "+r.lastRung
	}
	return fmt.Sprintf(`---
apiVersion: safestate.dev/v1alpha1
kind: FailSafePolicy
metadata: {name: %s, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: %s, name: %[1]s, sectionName: all}]
  mode: Enforce
  deadline: 10s
  detect: {broken: {}, nonFinite: {mode: Disabled}}
  ladder:
  - safeDefault: {body: '%[3]s'}
  %[4]s
`, r.name, kind, r.standard, rung)
}

func compiled(t testing.TB, text string) *compile.Snapshot {
	t.Helper()
	s, problems := compile.Files(config.File{Name: "world.yaml", Data: []byte(text)})
	if s == nil {
		t.Fatal(problems)
	}
	return s
}
