// Package dataplane starts the real data plane for end-to-end tests, on free
// ports of 127.0.0.1: safestate as a process, Envoy from the binary that ENVOY
// names or that `make setup` installed, Redis, and plain Envoys to compare
// with. What they log is shown only when a test fails. Every process dies with
// the test, also when the test is killed.
package dataplane
