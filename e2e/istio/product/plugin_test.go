package product

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
)

// TestKubectlPlugin: kubectl finds the same binary under its name, and what it is told
// is answered as safestate answers.
func TestKubectlPlugin(t *testing.T) {
	kubectl := os.Getenv("KUBECTL")
	if kubectl == "" {
		kubectl = filepath.Join(dataplane.Root(), ".cache", "kubectl", "bin", "kubectl")
	}
	dir := t.TempDir()
	if err := os.Symlink(dataplane.Program(t, "safestate"), filepath.Join(dir, "kubectl-safestate")); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), kubectl, append([]string{"safestate"}, args...)...)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("kill", "--help"); err != nil || !strings.Contains(out, "kubectl safestate kill") {
		t.Errorf("%v: %s", err, out)
	}
	s := newStand(t)
	s.serve()
	s.apply(policy)
	s.until("the policy is at the gateway", func(a answer) bool { return a.source == "primary" })
	dataplane.Eventually(t, patience, "status lists the model and the gateway", func() bool {
		s.infer()
		out, _ := run("status", "--server", "http://"+s.http) // its exit status says how well all is
		return strings.Contains(out, "models/fraud") && strings.Contains(out, "1 of 1 proxy up to date")
	})
	out, _ := run("status", "--server", "http://"+s.http)
	t.Log(out)
}
