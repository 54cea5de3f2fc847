package kill

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
)

// stopWorker stops one worker of an Envoy where it is, as a debugger does: its main
// thread and its other worker go on. resume lets it go on too; it is called at the end
// of the test at the latest.
func stopWorker(t *testing.T, p *dataplane.Process, name string) (resume func()) {
	t.Helper()
	thread, err := threadOf(p.PID(), name)
	if err != nil {
		t.Fatal(err)
	}
	stopped, over, ended := make(chan error, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // the kernel takes orders from the thread that attached
		defer runtime.UnlockOSThread()
		err := syscall.PtraceAttach(thread)
		if err == nil {
			_, err = syscall.Wait4(thread, nil, syscall.WALL, nil)
		}
		stopped <- err
		if err == nil {
			<-over
			_ = syscall.PtraceDetach(thread) // of an Envoy that is gone there is nothing to detach from
		}
	}()
	if err := <-stopped; err != nil {
		t.Fatalf("the worker cannot be stopped: %v (the test needs ptrace of its own children)", err)
	}
	resume = sync.OnceFunc(func() {
		close(over)
		<-ended
	})
	t.Cleanup(resume)
	return resume
}

// threadOf finds a thread by its name.
func threadOf(pid int, name string) (int, error) {
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/comm", pid))
	for _, file := range all {
		text, readErr := os.ReadFile(file)
		if err = errors.Join(err, readErr); strings.TrimSpace(string(text)) == name {
			return strconv.Atoi(filepath.Base(filepath.Dir(file)))
		}
	}
	return 0, fmt.Errorf("process %d has no thread %q: %w", pid, name, err)
}
