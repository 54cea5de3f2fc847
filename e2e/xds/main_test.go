// Package xds tries the control plane's xDS server on real data planes: Envoys,
// and gRPC's own client. It runs with the other end-to-end tests in a shorter
// form; make xds-shifts and make xds-away run the long ones.
package xds

import (
	"flag"
	"os"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
)

var (
	shifts = flag.Int("shifts", 200, "changes of weights under load")
	away   = flag.Duration("away", 5*time.Second, "how long the control plane is gone")
)

func TestMain(m *testing.M) {
	code := m.Run()
	dataplane.Cleanup()
	os.Exit(code)
}
