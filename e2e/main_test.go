// Package e2e holds the end-to-end tests: real Envoys, safestate as a process,
// and models that fail on command.
package e2e

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
