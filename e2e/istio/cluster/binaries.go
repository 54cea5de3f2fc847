package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
)

// program is a binary that make puts below .cache, unless a variable names
// another.
type program struct{ variable, path, target string }

var (
	kubeAPIServer  = program{"KUBE_APISERVER", "bin/kube-apiserver", "setup-kube"}
	kubectl        = program{"KUBECTL", "kubectl/bin/kubectl", "setup-kube"}
	pilotDiscovery = program{"PILOT_DISCOVERY", "bin/pilot-discovery", "setup-istio"}
	istioctl       = program{"ISTIOCTL", "bin/istioctl", "setup-istio"}
)

// find returns the binary's path, and fails the test where there is none.
func (p program) find(t testing.TB) string {
	t.Helper()
	if path := os.Getenv(p.variable); path != "" {
		return path
	}
	path := filepath.Join(dataplane.Root(), ".cache", p.path)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no .cache/%s: run `make %s` (once, some minutes), or name one by %s", p.path, p.target, p.variable)
	}
	return path
}

func (p program) run(t testing.TB, input string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.find(t), args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Istioctl runs istioctl without a cluster, such as `validate -f -` with YAML as
// its input, and returns what it printed and its error. It fails the test where
// the binary is missing.
func Istioctl(t testing.TB, input string, args ...string) (string, error) {
	t.Helper()
	return istioctl.run(t, input, args...)
}

// Kubectl runs kubectl as a user, such as `apply -k istio/install` or
// `get models`, and returns what it printed and its error. It fails the test
// where the binary is missing.
func Kubectl(t testing.TB, u *User, input string, args ...string) (string, error) {
	t.Helper()
	return kubectl.run(t, input, append([]string{"--kubeconfig", u.Kubeconfig}, args...)...)
}

// module is the folder of a Go module that the product requires.
func module(t testing.TB, path string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", path)
	cmd.Dir = dataplane.Root()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -m %s: %v", path, err)
	}
	dir := strings.TrimSpace(string(out))
	if dir == "" {
		t.Fatalf("the module %s is not downloaded: run `go mod download`", path)
	}
	return dir
}
