package integrations

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/crds/apiserver"
)

const root = "../.."

// definitions are where the kinds of the files are defined: module and path in it.
var definitions = [][2]string{
	{"github.com/safestate/safestate", "istio/crds/safestate.dev_models.yaml"},
	{"github.com/fluxcd/flagger", "artifacts/flagger/crd.yaml"},
	{"github.com/argoproj/argo-rollouts", "manifests/crds/analysis-template-crd.yaml"},
	{"github.com/argoproj/argo-rollouts", "manifests/crds/rollout-crd.yaml"},
	{"istio.io/api", "kubernetes/customresourcedefinitions.gen.yaml"},
}

// newServer has the kinds as those who own them publish them.
func newServer(t testing.TB) apiserver.Server {
	t.Helper()
	s := apiserver.Server{}
	for _, d := range definitions {
		for _, text := range documents(t, filepath.Join(moduleDir(t, d[0]), d[1])) {
			if err := s.Add(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}

// moduleDir is where a module's files are.
func moduleDir(t testing.TB, module string) string {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil || len(dir) == 0 {
		t.Fatalf("where %s is: %v", module, err)
	}
	return strings.TrimSpace(string(dir))
}

// documents are those of a YAML file that say anything.
func documents(t testing.TB, name string) [][]byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	out, err := apiserver.Documents(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return out
}
