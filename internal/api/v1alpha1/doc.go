// Package v1alpha1 holds the kinds of safestate.dev/v1alpha1: Model says what
// is served and where, FailSafePolicy what happens to an answer that is no
// answer, and in Kubernetes KillSwitch what gets no traffic. Routes are the
// Gateway API's own HTTPRoute and GRPCRoute, unchanged. StateRecord is what
// safestate keeps its own state in there: users write none.
//
// The types carry what a person wrote and nothing else: an omitted field is a
// nil pointer or a zero value, and package compile fills in the default that
// the field's comment gives. They decode with encoding/json, so that the same
// text works as a file and as a custom resource. Durations are Go's duration
// text ("80ms", "1m30s"). Enumerations are closed and spelled in PascalCase.
//
// The markers behind the comments are what `make crds` writes istio/crds from:
// bounds, defaults, and rules in CEL over one object. Package config has the
// same bounds for files, and e2e/crds holds the two against each other.
//
// +kubebuilder:object:generate=true
// +groupName=safestate.dev
package v1alpha1

// Group and Version name this package's kinds in apiVersion.
const (
	Group      = "safestate.dev"
	Version    = "v1alpha1"
	APIVersion = Group + "/" + Version
)

// The kinds.
const (
	KindModel          = "Model"
	KindFailSafePolicy = "FailSafePolicy"
	KindKillSwitch     = "KillSwitch"
	KindStateRecord    = "StateRecord" // internal: users write none
)
