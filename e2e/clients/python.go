package clients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
)

// script is a Python program that answers every line of JSON with one. It is
// safe for concurrent use and answers one call at a time.
type script struct {
	name string

	mu     sync.Mutex
	in     *json.Encoder
	out    *bufio.Reader
	stderr bytes.Buffer // read once the process has ended
}

// python starts a program of this folder. It ends with the test.
func python(t testing.TB, name, address string) *script {
	t.Helper()
	home := filepath.Join(dataplane.Root(), "e2e", "clients", name)
	s := &script{name: name}
	cmd := exec.Command(filepath.Join(dataplane.Root(), ".cache", "clients", "bin", "python"), "-u", home, address)
	cmd.Stderr = &s.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 2 * time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v: `make setup` sets the clients up", name, err)
	}
	s.in, s.out = json.NewEncoder(in), bufio.NewReaderSize(out, 1<<20)
	t.Cleanup(func() {
		_ = in.Close() // the program ends at the end of its input
		timer := time.AfterFunc(2*time.Second, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		err := cmd.Wait()
		if t.Failed() && s.stderr.Len() > 0 {
			t.Logf("---- %s (%v)\n%s", name, err, s.stderr.String())
		}
	})
	return s
}

// call sends one line and reads one.
func (s *script) call(t testing.TB, q, outcome any) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.in.Encode(q); err != nil {
		t.Fatalf("%s takes no call: %v", s.name, err)
	}
	line, err := s.out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("%s has no answer: %v", s.name, err)
	}
	if err := json.Unmarshal(line, outcome); err != nil {
		t.Fatalf("%s: %v in %.300s", s.name, err, line)
	}
}
