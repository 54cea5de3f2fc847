// Package crds holds the custom resource definitions of istio/crds against
// what safestate itself refuses and takes, by the API server's own code: the
// same files, both judges. It is a module of its own, so that the API server's
// dependencies are none of safestate's. See `make test-crds`.
package crds
