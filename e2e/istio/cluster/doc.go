// Package cluster starts what safestate meets in Kubernetes with Istio, without
// containers and on loopback: a real kube-apiserver with etcd inside, a real
// istiod, and stock Envoys that istiod configures as a gateway or as a sidecar.
// The binaries are built by make (see the Makefile's test-istio); a missing one
// fails the test and names its target.
//
// What is not there: no controller manager and no kubelet. So a namespace that
// is deleted stays Terminating, owned objects outlive their owner, a Service has
// the EndpointSlices that a test writes, and a Deployment is data. Envoy is not
// istio-proxy: no mutual TLS, no injection, no metadata exchange.
//
// Every process dies with the test, and what it logged is shown when the test
// failed.
package cluster
