package serve

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// listen opens the address of a flag: a TCP address, or a Unix socket where it
// starts with "unix:". Its errors are one line that names both.
func listen(flag, address string) (net.Listener, error) {
	path, ok := cutUnix(address)
	if !ok {
		l, err := net.Listen("tcp", address)
		return l, cannotListen(flag, address, err)
	}
	l, err := net.Listen("unix", path)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, cannotListen(flag, address, err)
	}
	if err := removeAbandoned(path); err != nil {
		return nil, fmt.Errorf("%s: %w, or choose another address with %s", address, err, flag)
	}
	l, err = net.Listen("unix", path)
	return l, cannotListen(flag, address, err)
}

// cutUnix returns the path of an address like unix:/run/safestate.sock, which
// Envoy also knows as unix:///run/safestate.sock.
func cutUnix(address string) (path string, ok bool) {
	path, ok = strings.CutPrefix(address, "unix:")
	return strings.TrimPrefix(path, "//"), ok
}

// dialTimeout bounds the question whether somebody listens on a socket.
const dialTimeout = time.Second

// removeAbandoned removes a socket on which nobody listens: a process that is
// killed leaves its own behind. What is no socket, or is in use, stays.
func removeAbandoned(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil // its owner has just removed it
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return errors.New("there is a file that is no socket: remove it")
	}
	conn, err := net.DialTimeout("unix", path, dialTimeout)
	if err == nil {
		_ = conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return errors.New("is in use: stop what listens there")
	}
	return os.Remove(path)
}

// cannotListen turns the error of a listener into one line that says what to
// do; nil stays nil.
func cannotListen(flag, address string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is in use: stop what listens there, or choose another address with %s", address, flag)
	}
	return fmt.Errorf("cannot listen on %s (%s): %w", address, flag, err)
}
