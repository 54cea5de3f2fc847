// Package tlsmesh tries safestate serve, as a process, on data planes that are
// set up in other ways than by its bootstrap on one machine: Envoys with
// certificates, Envoys with a listener of their own, and gRPC clients without an
// Envoy.
package tlsmesh

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
