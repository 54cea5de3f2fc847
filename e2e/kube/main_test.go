// Package kube tries what needs a Kubernetes API server and no mesh, on a real
// kube-apiserver: see e2e/istio/cluster. `make test-kube` runs it.
package kube

import (
	"os"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
)

func TestMain(m *testing.M) {
	code := m.Run()
	dataplane.Cleanup()
	os.Exit(code)
}
