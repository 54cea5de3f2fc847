// Package kill tries on a real Envoy, with the real processor, what a kill means
// for a proxy: whatever the mode, the protocol and the scope, nothing reaches the
// model once the proxy shows that it works with the kill, and traffic is back
// after the revive.
package kill

import (
	"os"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
)

// soon is far beyond what anything here takes on a busy machine.
const soon = 40 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	dataplane.Cleanup()
	os.Exit(code)
}
