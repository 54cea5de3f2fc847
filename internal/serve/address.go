package serve

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// cutUnix returns the path of an address like unix:/run/safestate.sock.
func cutUnix(address string) (path string, ok bool) { return strings.CutPrefix(address, "unix:") }

// inUse turns the error of a taken port into one line that says what to do.
func inUse(address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is in use: stop what listens there, or choose another address with the flag", address)
	}
	return fmt.Errorf("cannot listen on %s: %w", address, err)
}
