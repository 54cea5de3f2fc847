// Package install holds istio/install: that the Helm chart and the kustomize base say
// the same, that a real API server takes every object of theirs, that the control plane
// works with the rights that it is given and with none fewer, and that the steps of
// docs/istio.md leave traffic as it was. It is a module of its own, so that Helm's
// dependencies are none of safestate's.
package install
