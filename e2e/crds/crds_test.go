package crds

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
)

// ours lists the files of istio/crds.
func ours(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, "istio", "crds", "*.yaml"))
	if err != nil || len(names) != 4 {
		t.Fatalf("found %q, err %v; want Model, FailSafePolicy, KillSwitch and StateRecord", names, err)
	}
	return names
}

// TestDefinitionsAreValid: the API server takes them, what their CEL may cost
// included.
func TestDefinitionsAreValid(t *testing.T) {
	for _, name := range ours(t) {
		crd := definition(t, name)
		crd.Status.StoredVersions = []string{"v1alpha1"}
		for _, err := range validation.ValidateCustomResourceDefinition(t.Context(), crd) {
			t.Errorf("%s: %v", filepath.Base(name), err)
		}
	}
}

// TestDefinitionsAreFresh: they are what controller-gen makes of the types now,
// and so are the deep copies.
func TestDefinitionsAreFresh(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", "-C", root, "crds", "CRDS="+dir, "DEEPCOPY="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	fresh := func(is, wanted string) {
		a, err := os.ReadFile(is)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(wanted)
		if err != nil {
			t.Fatal(err)
		}
		if string(a) != string(b) {
			t.Errorf("%s is stale: run make crds", strings.TrimPrefix(is, root+"/"))
		}
	}
	names := ours(t)
	for _, name := range names {
		fresh(name, filepath.Join(dir, filepath.Base(name)))
	}
	fresh(filepath.Join(root, "internal/api/v1alpha1/zz_generated.deepcopy.go"), filepath.Join(dir, "zz_generated.deepcopy.go"))
	if made, _ := filepath.Glob(filepath.Join(dir, "*.yaml")); len(made) != len(names) {
		t.Errorf("istio/crds has %d files and controller-gen makes %d: run make crds", len(names), len(made))
	}
}

// TestPolicyAttachment: tools find the kind of policy by this label, GEP-713.
func TestPolicyAttachment(t *testing.T) {
	for _, name := range ours(t) {
		crd := definition(t, name)
		want := map[bool]string{true: "Direct"}[strings.HasSuffix(crd.Spec.Names.Kind, "Policy")]
		if got := crd.Labels["gateway.networking.k8s.io/policy"]; got != want {
			t.Errorf("%s has label %q; want %q", crd.Name, got, want)
		}
	}
}
