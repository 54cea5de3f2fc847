// Package gen is where controller-gen writes the custom resource definitions
// of istio/crds and the deep copies of internal/api/v1alpha1 from: a module of
// its own, so that a generator's dependencies are none of safestate's. See
// `make crds`.
package gen
