package compile

import (
	"path/filepath"
	"testing"

	"github.com/safestate/safestate/internal/policy"
)

// samples are the ready policies of docs/samples.
var samples = []string{"ads", "fraud", "pricing", "recommendation", "search"}

func TestSamplesAreValidAndEnforce(t *testing.T) {
	t.Chdir(filepath.Join("..", "..")) // refreshed files are named from there
	for _, name := range samples {
		t.Run(name, func(t *testing.T) {
			snapshot, problems := Dir(filepath.Join("docs", "samples", name))
			for _, p := range problems {
				t.Error(p)
			}
			if snapshot == nil {
				t.FailNow()
			}
			for _, r := range snapshot.Routes {
				if r.Policy == nil || !r.Policy.FullyEnforced() {
					t.Errorf("route %s is not enforced", r.Name)
				}
				if _, err := policy.Parse(r.PolicyJSON); err != nil {
					t.Errorf("route %s: %v", r.Name, err)
				}
			}
		})
	}
}
