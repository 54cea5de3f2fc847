// Package conformance holds what safestate does beside plain Envoy against what it
// does in an Istio mesh: each feature is one case, which runs before an Envoy that
// safestate configures itself, before a gateway of Istio's and before a sidecar, with
// the same Models and FailSafePolicies word for word. What became of it is the table
// docs/conformance.md, which `go test ./e2e/istio/conformance -update` writes; the
// test fails where the table is another one.
package conformance
