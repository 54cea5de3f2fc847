// Package istio tries safestate's ground on a real istiod, a real
// kube-apiserver and stock Envoys: what istiod makes of routes and of
// EnvoyFilters, by the names that safestate counts on. `make test-istio` runs
// it.
package istio

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
