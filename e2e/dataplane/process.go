package dataplane

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a running child. Its methods are safe for concurrent use.
type Process struct {
	Name string

	cmd  *exec.Cmd
	log  logBuffer
	done chan struct{}
	err  error // valid once done is closed
}

// logBuffer keeps the last megabyte of what a child wrote.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const logKept = 1 << 20

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buf.Len() > logKept {
		l.buf.Next(l.buf.Len() - logKept/2)
	}
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Spawn starts a program. It is killed when the test ends, or when the test's
// own process dies; its log is shown if the test failed.
func Spawn(t testing.TB, name, path string, args ...string) *Process {
	t.Helper()
	return SpawnEnv(t, name, nil, path, args...)
}

// SpawnEnv is Spawn with variables added to the test's own environment.
func SpawnEnv(t testing.TB, name string, env []string, path string, args ...string) *Process {
	t.Helper()
	p := &Process{Name: name, done: make(chan struct{})}
	p.cmd = exec.Command(path, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.cmd.WaitDelay = 2 * time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("---- log of %s\n%s", name, tail(p.log.String(), 16<<10))
		}
	})
	return p
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n:]
}

// PID is the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log is what it wrote until now.
func (p *Process) Log() string { return p.log.String() }

// Signal sends a signal to the child's group.
func (p *Process) Signal(s syscall.Signal) error {
	select {
	case <-p.done:
		return os.ErrProcessDone
	default:
		return syscall.Kill(-p.PID(), s)
	}
}

// Kill ends it and waits until it is gone.
func (p *Process) Kill() {
	_ = p.Signal(syscall.SIGKILL) // gone already is as good
	<-p.done
}

// Exited reports whether it is gone.
func (p *Process) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// WaitExit waits for its end and returns its error.
func (p *Process) WaitExit(d time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(d):
		return fmt.Errorf("%s still runs after %s", p.Name, d)
	}
}

// State is the letter that the kernel has for the process's state in
// /proc/PID/stat: T is stopped, Z a zombie.
func (p *Process) State() (string, error) {
	fields, err := p.stat()
	if err != nil {
		return "", err
	}
	return fields[0], nil
}

// stat returns the fields of /proc/PID/stat from the third on: the second is a
// name that may hold anything, in parentheses.
func (p *Process) stat() ([]string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return nil, err
	}
	i := bytes.LastIndexByte(raw, ')')
	if i < 0 {
		return nil, fmt.Errorf("%s: /proc/PID/stat is %q", p.Name, raw)
	}
	return strings.Fields(string(raw[i+1:])), nil
}

// RSS is the resident memory in bytes.
func (p *Process) RSS() (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		rest, ok := strings.CutPrefix(line, "VmRSS:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		return kib << 10, err
	}
	return 0, fmt.Errorf("%s: no VmRSS", p.Name)
}

// Eventually waits for a condition and fails the test when it does not come.
func Eventually(t testing.TB, within time.Duration, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}
