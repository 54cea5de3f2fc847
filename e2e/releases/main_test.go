// Package releases holds the end-to-end tests of releases and rollback: real
// Envoys, safestate as a process, and models that turn bad on command.
package releases

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
