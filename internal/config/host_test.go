package config_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/config"
)

// TestSetHost: a host that is set for a whole folder holds for every policy, and
// is held against each.
func TestSetHost(t *testing.T) {
	w, problems := config.Load(filepath.Join("..", "compile", "testdata", "example"))
	if problems.Failed() || len(w.Policies) == 0 {
		t.Fatalf("%d policies, %v", len(w.Policies), problems)
	}
	if problems := config.SetHost(w, v1alpha1.HostWASM); problems.Failed() || len(problems) != 1 { // its cache is warned of
		t.Errorf("the example cannot be inside Envoy: %v", problems)
	}
	n := int32(1)
	w.Policies[0].Value.Spec.MaxConcurrent = &n
	problems = config.SetHost(w, v1alpha1.HostWASM)
	if len(problems) != 2 || !strings.Contains(problems[0].String(), "spec.maxConcurrent: counts in the processor") {
		t.Errorf("got %v", problems)
	}
	if problems := config.SetHost(w, v1alpha1.HostBoth); len(problems) > 0 || w.Policies[0].Value.Spec.Host != v1alpha1.HostBoth {
		t.Errorf("got %v, host %q", problems, w.Policies[0].Value.Spec.Host)
	}
	if problems := config.SetHost(w, v1alpha1.HostProcessor); len(problems) > 0 {
		t.Errorf("got %v", problems)
	}
}
